"""Files that several processes may write: whole or not at all, one process at a time."""

from __future__ import annotations

import logging
import os
import re
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

_log = logging.getLogger(__name__)
_PART = re.compile(r"\.haven-(report-)?[0-9a-f]{32}\.part")
_LEFT_OVER_S = 3600.0
_TASK = "task-*.lock"
_PATIENCE_S = 3.0


def write_whole(path: Path, text: str, *, mode: int = 0o666) -> None:
    """Write a file so that at any moment it is as before or whole. Raise ``OSError``.

    ``mode``: its permissions, less what the process's umask takes away.
    """
    part = path.with_name(f".haven-{uuid.uuid4().hex}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        _replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def remove_left_over(folder: Path) -> None:
    """Remove the partial files of processes that were killed. Raise ``OSError``."""
    for path in folder.iterdir():
        if _PART.fullmatch(path.name):
            with suppress(FileNotFoundError):  # another process has just finished it
                if time.time() - path.stat().st_mtime > _LEFT_OVER_S:
                    path.unlink()


def try_lock(file: IO[bytes]) -> bool:
    """Take the lock of an open file. Return False if another has the file open and locked.

    Closing the file, and the end of the process, release it.
    """
    return _try_lock(file)


@contextmanager
def task_under_way(folder: Path) -> Iterator[None]:
    """Tell other processes that a task is under way, until the block ends or the process does."""
    for path in folder.glob(_TASK):
        if not _is_locked(path):  # its process was killed
            with suppress(OSError):  # on Windows, while another process looks as well
                path.unlink()
    path = folder / _TASK.replace("*", uuid.uuid4().hex)
    with path.open("ab") as file:
        try_lock(file)
        yield
    with suppress(OSError):
        path.unlink()


def is_task_under_way(folder: Path) -> bool:
    """Return True if some process carries out a task, also one that only looks."""
    return any(map(_is_locked, folder.glob(_TASK)))


def _is_locked(path: Path) -> bool:
    try:
        with path.open("r+b") as file:  # which makes no file if it has just gone
            return not try_lock(file)
    except OSError:
        return False


if sys.platform == "win32":

    def _replace(part: Path, path: Path) -> None:
        give_up_s = time.monotonic() + _PATIENCE_S
        while True:
            try:
                part.replace(path)
                return
            except PermissionError:  # refused while another program reads the file
                if time.monotonic() > give_up_s:
                    raise
            time.sleep(0.01)

    def _try_lock(lock: IO[bytes]) -> bool:
        import msvcrt

        try:
            lock.seek(0)
            msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:

    def _replace(part: Path, path: Path) -> None:
        part.replace(path)

    def _try_lock(lock: IO[bytes]) -> bool:
        import fcntl

        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:  # some network disks know no locks
            _log.debug("No lock on %s: %s", lock.name, error)
        return True
