"""The lock that keeps a process from replacing a database that another has open."""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from vlm_engine.errors import StoreError
from vlm_engine.store.recovery import beside, explained, repair, tells_damage

_ATTEMPT_S = 0.02
_DISTRUSTED = b"damaged"

if sys.platform == "win32":
    # An open file cannot be renamed there, which is all the protection needed.
    def _lock(_: BinaryIO, *, alone: bool) -> bool:
        return True

else:
    import fcntl

    def _lock(file: BinaryIO, *, alone: bool) -> bool:
        try:
            fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            # A file system without such locks, as some network shares are.
            return True
        return True


class SharedLock:
    """A share in the database at ``path``: take it before opening, release it after closing.

    The first process to take one checks the file, and replaces it where it is damaged. It does not
    check again what its last user left untouched since. A lock file beside the database holds that
    state. Blocks. Raises ``StoreError``.

    ``repaired``: whether this lock has replaced a damaged file, so that what could not be read is
    no longer there.
    """

    def __init__(self, path: Path, *, busy_s: float = 30.0) -> None:
        self._path = path
        self.repaired = False
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = beside(path, ".lock").open("a+b")
        try:
            with explained(path):
                if _lock(self._file, alone=True):
                    self._check(busy_s)
            self._share(busy_s)
        except BaseException:
            self._file.close()
            raise

    def release(self) -> None:
        """Let go; the last one notes the state of the file. A second call does nothing."""
        if self._file.closed:
            return
        # A note that cannot be written costs the next user a check.
        with suppress(OSError), self._file:
            if _lock(self._file, alone=True) and self._noted() != _DISTRUSTED:
                self._note(self._state())

    @contextmanager
    def using(self) -> Iterator[None]:
        """Raise what goes wrong with the database in the block as ``StoreError``.

        Where the file turns out to be damaged, the next process to open it checks all of it.
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
        self.repaired = repair(self._path, busy_s, thorough=noted == _DISTRUSTED)
        self._note(b"")

    def _share(self, busy_s: float) -> None:
        deadline = time.monotonic() + busy_s
        while not _lock(self._file, alone=False):
            if time.monotonic() > deadline:
                raise StoreError(
                    f"database {self._path}: another task is mending it."
                    " Wait for it to end, and start again"
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
        """Return what changes when the file changes; nothing while changes wait beside it."""
        wal, status = beside(self._path, "-wal"), self._path.stat() if self._path.exists() else None
        if status is None or not status.st_size or (wal.exists() and wal.stat().st_size):
            return b""
        return b"%d %d" % (status.st_size, status.st_mtime_ns)
