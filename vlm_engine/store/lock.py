"""Who has the database open: nobody sets a file aside under another's feet, and nobody checks one that is in use."""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from vlm_engine.errors import StoreError
from vlm_engine.store.faults import explained, tells_damage
from vlm_engine.store.recovery import beside, repair

_BUSY_S = 30.0
_ATTEMPT_S = 0.02
_DISTRUSTED = b"damaged"

if sys.platform == "win32":
    # An open file cannot be renamed there, which is all the protection needed.
    def _taken(_: BinaryIO, *, alone: bool) -> bool:
        return True

else:
    import fcntl

    def _taken(file: BinaryIO, *, alone: bool) -> bool:
        try:
            fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            # A file system without such locks, as some network shares are.
            return True
        return True


class SharedLock:
    """A share in the database at ``path``, to be taken before it is opened and released after it was closed.

    The first to take one finds the file sound, or sets it aside and mends it; what its last user left untouched since
    is not checked again. A lock file beside the database knows all that. Blocks. Raises ``StoreError``.

    ``mended``: whether this one has set a damaged file aside, so that what could not be read is no longer there.
    """

    def __init__(self, path: Path, *, busy_s: float = _BUSY_S) -> None:
        self._path = path
        self.mended = False
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = beside(path, ".lock").open("a+b")
        try:
            with explained(path):
                if _taken(self._file, alone=True):
                    self._check(busy_s)
            self._share(busy_s)
        except BaseException:
            self._file.close()
            raise

    def release(self) -> None:
        """Lets go; the last one notes how it leaves the file. Doing it twice does nothing."""
        if self._file.closed:
            return
        # A note that cannot be written costs the next user a check.
        with suppress(OSError), self._file:
            if _taken(self._file, alone=True) and self._noted() != _DISTRUSTED:
                self._note(self._state())

    @contextmanager
    def using(self) -> Iterator[None]:
        """For whatever is done with the database: what goes wrong with it becomes a ``StoreError``.

        Where the file turns out to be damaged, whoever comes first the next time looks at all of it.
        """
        with explained(self._path):
            try:
                yield
            except sqlite3.Error as error:
                if tells_damage(error):
                    with suppress(OSError):
                        self._note(_DISTRUSTED)
                raise

    def _check(self, busy_s: float) -> None:
        noted = self._noted()
        if noted and noted == self._state():
            return
        self.mended = repair(self._path, busy_s, thorough=noted == _DISTRUSTED)
        self._note(b"")

    def _share(self, busy_s: float) -> None:
        deadline = time.monotonic() + busy_s
        while not _taken(self._file, alone=False):
            if time.monotonic() > deadline:
                raise StoreError(
                    f"database {self._path}: another task is mending it. Wait for it to end, and start again"
                )
            time.sleep(_ATTEMPT_S)

    def _noted(self) -> bytes:
        self._file.seek(0)
        return self._file.read()

    def _note(self, state: bytes) -> None:
        self._file.truncate(0)
        self._file.write(state)
        self._file.flush()

    def _state(self) -> bytes:
        """What tells that the file was changed; nothing while changes wait beside it."""
        wal, status = beside(self._path, "-wal"), self._path.stat() if self._path.exists() else None
        if status is None or not status.st_size or (wal.exists() and wal.stat().st_size):
            return b""
        return b"%d %d" % (status.st_size, status.st_mtime_ns)
