"""Errors of the database as ``StoreError``, and recovery of a damaged file.

A damaged file is set aside, and what can be read of it goes on in a new one.
"""

from __future__ import annotations

import errno
import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from vlm_engine.errors import StoreError
from vlm_engine.store.schema import drop_orphans

_log = logging.getLogger(__name__)
_WIDEST_GAP = 1 << 40
_LET_GO_S = 1.0

_KEPT = "What was answered before is kept"
_NO_ROOM = f"its disk is full. Make room there, and start again. {_KEPT}"
_FAILING = (
    f"its disk is full or fails. Make room there, or see to the disk, and start again. {_KEPT}"
)
_NOT_OURS = (
    "it cannot be written. Let the user that runs this write to the file and to its folder,"
    " or keep it in another folder"
)
_LOCKED = (
    "another program keeps it locked. End that program (a backup, a database browser),"
    f" and start again. {_KEPT}"
)
_DAMAGED = (
    "the file is damaged. Start again: it is then set aside under another name,"
    " and all that can be read of it is kept"
)

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
_OF_SYSTEM = dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _NO_ROOM) | {
    errno.EIO: _FAILING
}


@contextmanager
def explained(path: Path | None) -> Iterator[None]:
    """Raise errors of the database at ``path`` as ``StoreError``, with file and remedy."""
    try:
        yield
    except sqlite3.Error as error:
        complaint = _COMPLAINTS.get(_code(error), "it cannot be used")
        raise StoreError(f"database {path}: {complaint} ({error})") from error
    except OSError as error:
        complaint = _OF_SYSTEM.get(error.errno or 0, _NOT_OURS)
        raise StoreError(f"database {path}: {complaint} ({error})") from error


def tells_damage(error: sqlite3.Error) -> bool:
    """Return whether the file itself is at fault, and not its surroundings."""
    return _code(error) in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def _code(error: sqlite3.Error) -> int:
    """Return SQLite's primary code; 0 for errors that Python's driver raises by itself."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def readable(text: bytes) -> str:
    """Decode text for ``Connection.text_factory``: rotten text is odd, and no reason to stop."""
    return text.decode("utf-8", "replace")


def repair(path: Path, busy_s: float, *, thorough: bool) -> bool:
    """Check the database at ``path`` and replace it where it is damaged; return whether it was.

    Create it where there is none.

    No other process may have it open. Tables number their rows from 1 on; a reference to a row that
    was lost becomes 0.

    Takes about two seconds for a gigabyte, ``thorough`` a multiple of it. Raises ``sqlite3.Error``
    and ``OSError``; then nothing is lost, and the next call goes on from there.
    """
    if _replacement(path).exists() or (path.exists() and not _is_sound(path, busy_s, thorough)):
        _replace(path)
        return True
    if not path.exists() or not path.stat().st_size:
        _create(path)
    return False


def beside(path: Path, ending: str) -> Path:
    """Return the path with ``ending`` after its whole name."""
    return path.with_name(path.name + ending)


def _create(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        # Only before the first table can a file be made to give room back.
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL")


class _DamageIgnored:
    """Suppresses the errors that damage of the file causes, and no others."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        return isinstance(error, sqlite3.Error) and tells_damage(error)


def _is_sound(path: Path, busy_s: float, thorough: bool) -> bool:
    check = f"PRAGMA {'integrity_check' if thorough else 'quick_check'}(1)"
    with closing(sqlite3.connect(path, timeout=busy_s)) as db, _DamageIgnored():
        return db.execute(check).fetchall() == [("ok",)]
    return False


def _replacement(path: Path) -> Path:
    """Return the name of what takes the damaged file's place.

    With this name it is complete: after a kill, the next call goes on.
    """
    return beside(path, ".mended")


def _replace(path: Path) -> None:
    if path.exists():
        _refuse_if_open(path)
    if not _replacement(path).exists():
        _log.warning("%s is damaged; reading what can be read of it.", path)
        copy = beside(path, ".mending")
        for leftover in (copy, beside(copy, "-wal"), beside(copy, "-shm")):
            leftover.unlink(missing_ok=True)
        rows = _salvage(path, copy)
        copy.replace(_replacement(path))
        _log.warning(
            "%s: %d rows could be read and are kept; what could not be read is lost.", path, rows
        )
    aside, wal = _free_name(path), beside(path, "-wal")
    # The log of changes goes first: beside another database it would destroy that.
    if wal.exists() and wal.stat().st_size:
        wal.replace(beside(aside, "-wal"))
    if path.exists():
        path.replace(aside)
        _log.warning(
            "%s: the damaged file is now %s. Nothing uses it any more; delete it when you like.",
            path,
            aside,
        )
    for leftover in (wal, beside(path, "-shm")):
        leftover.unlink(missing_ok=True)
    _replacement(path).replace(path)


def _refuse_if_open(path: Path) -> None:
    """Raise ``sqlite3.Error`` where a program has the file open without a ``SharedLock``.

    What that program writes would be lost.
    """
    with (
        closing(sqlite3.connect(path, timeout=_LET_GO_S, isolation_level=None)) as db,
        _DamageIgnored(),
    ):
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("BEGIN EXCLUSIVE")


def _free_name(path: Path) -> Path:
    stem = f".damaged-{time.strftime('%Y%m%d-%H%M%S')}"
    names = (
        beside(path, stem + more) for more in ("", *(f"-{number}" for number in range(2, 1000)))
    )
    return next(name for name in names if not name.exists() and not beside(name, "-wal").exists())


def _salvage(damaged: Path, fresh: Path) -> int:
    """Copy every table and what can be read of its rows; return how many rows."""
    _create(fresh)
    source = f"{damaged.absolute().as_uri()}?mode=ro"
    with (
        closing(sqlite3.connect(source, uri=True, isolation_level=None)) as old,
        closing(sqlite3.connect(fresh, isolation_level=None)) as new,
    ):
        old.text_factory = readable
        new.execute("BEGIN")
        parts = _parts(old)
        rows = sum(_copy_table(old, new, name, sql) for kind, name, sql in parts if kind == "table")
        for kind, _, sql in parts:
            if kind != "table":
                new.execute(sql)
        drop_orphans(new)
        _unlink(new)
        new.execute("COMMIT")
        new.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return rows


def _parts(db: sqlite3.Connection) -> list[tuple[str, str, str]]:
    """Return (kind, name, SQL) of everything in the database; nothing where it cannot say."""
    with _DamageIgnored():
        return db.execute(
            "SELECT type, name, sql FROM sqlite_master"
            " WHERE sql NOT NULL AND name NOT LIKE 'sqlite_%'"
        ).fetchall()
    return []


def _copy_table(old: sqlite3.Connection, new: sqlite3.Connection, name: str, sql: str) -> int:
    new.execute(sql)
    columns = len(new.execute(f'PRAGMA table_info("{name}")').fetchall())
    insert = f'INSERT OR IGNORE INTO "{name}" VALUES ({", ".join("?" * columns)})'
    count = 0
    for row in _readable_rows(old, name):
        try:
            count += new.execute(insert, row).rowcount
        except sqlite3.IntegrityError as error:
            _log.debug("A row of %s makes no sense any more: %s", name, error)
    return count


def _unlink(db: sqlite3.Connection) -> None:
    """Set references to lost rows to 0: the next row with the number is another."""
    for table, rowid, _, number in db.execute("PRAGMA foreign_key_check").fetchall():
        column = next(
            row[3] for row in db.execute(f'PRAGMA foreign_key_list("{table}")') if row[0] == number
        )
        db.execute(f'UPDATE "{table}" SET "{column}" = 0 WHERE rowid = ?', (rowid,))


def _readable_rows(db: sqlite3.Connection, table: str) -> Iterator[tuple[Any, ...]]:
    """Yield the rows in order, around whatever cannot be read."""
    first: int | None = 1
    while first is not None:
        with _DamageIgnored():
            for rowid, *row in db.execute(_rows_from(table), (first,)):
                if rowid >= first:  # damage may lead back
                    first = rowid + 1
                    yield tuple(row)
            return
        # The driver reads ahead, so the last row before the damage was not given yet.
        for rowid, *row in _one_row(db, table, first) or ():
            first = max(first, rowid) + 1
            yield tuple(row)
        first = _beyond(db, table, first)


def _beyond(db: sqlite3.Connection, table: str, unreadable: int) -> int | None:
    """Return the least number above ``unreadable`` whose row can be read, or None.

    The step doubles until a row can be read; then the gap is halved until its end is found.
    """
    step = 1
    while _one_row(db, table, unreadable + step) is None:
        step *= 2
        if step > _WIDEST_GAP:
            return None
    low, high = unreadable + step // 2, unreadable + step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _one_row(db, table, middle) is None else (low, middle)
    return high


def _one_row(db: sqlite3.Connection, table: str, first: int) -> list[tuple[Any, ...]] | None:
    """Return the first row from that number on, if there is one; None where it cannot be read."""
    with _DamageIgnored():
        return db.execute(f"{_rows_from(table)} LIMIT 1", (first,)).fetchall()
    return None


def _rows_from(table: str) -> str:
    return f'SELECT rowid, * FROM "{table}" WHERE rowid >= ? ORDER BY rowid'
