"""What SQLite and the system complain of, as ``StoreError``: each message names the file and the remedy."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vlm_engine.errors import StoreError

_KEPT = "What was answered before is kept"
_NO_ROOM = f"its disk is full. Make room there, and start again. {_KEPT}"
_FAILING = (
    f"its disk is full or fails. Make room there, or see to the disk, and start again. {_KEPT}"
)
_NOT_OURS = "it cannot be written. Let the user that runs this write to the file and to its folder, or keep it in another folder"
_LOCKED = f"another program keeps it locked. End that program (a backup, a database browser), and start again. {_KEPT}"
_DAMAGED = "the file is damaged. Start again: it is then set aside under another name, and all that can be read of it is kept"

_COMPLAINTS = {
    sqlite3.SQLITE_FULL: _NO_ROOM,
    sqlite3.SQLITE_IOERR: _FAILING,
    sqlite3.SQLITE_READONLY: _NOT_OURS,
    sqlite3.SQLITE_CANTOPEN: _NOT_OURS,
    sqlite3.SQLITE_PERM: _NOT_OURS,
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_PROTOCOL: _LOCKED,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
}


@contextmanager
def explained(path: Path | None) -> Iterator[None]:
    """What goes wrong inside with the database at ``path`` becomes a ``StoreError``."""
    try:
        yield
    except sqlite3.Error as error:
        complaint = _COMPLAINTS.get(_code(error), "it cannot be used")
        raise StoreError(f"database {path}: {complaint} ({error})") from error
    except OSError as error:
        raise StoreError(f"database {path}: {_of_system(error)} ({error})") from error


def tells_damage(error: sqlite3.Error) -> bool:
    """Whether the file itself is at fault, and not what is around it."""
    return _code(error) in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def readable(text: bytes) -> str:
    """For ``Connection.text_factory``: text that has rotted is odd text, and no reason to stop."""
    return text.decode("utf-8", "replace")


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary code; 0 for errors that Python's driver raises by itself."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _of_system(error: OSError) -> str:
    import errno

    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return _NO_ROOM
    return _FAILING if error.errno == errno.EIO else _NOT_OURS
