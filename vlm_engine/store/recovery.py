"""A damaged database is set aside, never thrown away, and what can be read of it goes on in a new one."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from vlm_engine.store.faults import readable, tells_damage
from vlm_engine.store.schema import drop_orphans

_log = logging.getLogger(__name__)
_WIDEST_GAP = 1 << 40
_LET_GO_S = 1.0


def repair(path: Path, busy_s: float, *, thorough: bool) -> bool:
    """Checks the database at ``path`` and mends it if need be. Nobody else may have it open. Makes a new one where none is.

    Returns whether it was mended. Tables number their rows from 1 on: what refers to a row that was lost refers to 0 then.

    Takes about two seconds for a gigabyte, ``thorough`` a multiple of it. Raises ``sqlite3.Error`` and ``OSError``;
    then nothing is lost, and the next call goes on from there.
    """
    if _mended(path).exists() or (path.exists() and not _is_sound(path, busy_s, thorough)):
        _mend(path)
        return True
    if not path.exists() or not path.stat().st_size:
        _create(path)
    return False


def beside(path: Path, ending: str) -> Path:
    """The path with ``ending`` after its whole name."""
    return path.with_name(path.name + ending)


def _create(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        # Only before the first table can a file be made to give room back.
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL")


def _is_sound(path: Path, busy_s: float, thorough: bool) -> bool:
    with closing(sqlite3.connect(path, timeout=busy_s)) as db:
        try:
            return db.execute(
                f"PRAGMA {'integrity_check' if thorough else 'quick_check'}(1)"
            ).fetchall() == [("ok",)]
        except sqlite3.Error as error:
            if tells_damage(error):
                return False
            raise


def _mended(path: Path) -> Path:
    """What takes the damaged file's place. Once it has this name, it is complete: whoever is killed now is followed up."""
    return beside(path, ".mended")


def _mend(path: Path) -> None:
    if path.exists():
        _refuse_if_open(path)
    if not _mended(path).exists():
        _log.warning("%s is damaged; reading what can be read of it.", path)
        making = beside(path, ".mending")
        for leftover in (making, beside(making, "-wal"), beside(making, "-shm")):
            leftover.unlink(missing_ok=True)
        rows = _salvage(path, making)
        making.replace(_mended(path))
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
    _mended(path).replace(path)


def _refuse_if_open(path: Path) -> None:
    """For those who opened it without a ``Hold``: what they write would go where nobody looks. Raises ``sqlite3.Error``."""
    with closing(sqlite3.connect(path, timeout=_LET_GO_S, isolation_level=None)) as db:
        try:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            if not tells_damage(error):
                raise


def _free_name(path: Path) -> Path:
    stem = f".damaged-{time.strftime('%Y%m%d-%H%M%S')}"
    names = (
        beside(path, stem + more) for more in ("", *(f"-{number}" for number in range(2, 1000)))
    )
    return next(name for name in names if not name.exists() and not beside(name, "-wal").exists())


def _salvage(damaged: Path, fresh: Path) -> int:
    """Copies every table and what can be read of its rows; returns how many."""
    _create(fresh)
    with (
        closing(_reading(damaged)) as old,
        closing(sqlite3.connect(fresh, isolation_level=None)) as new,
    ):
        new.execute("BEGIN")
        rows = sum(
            _copy_table(old, new, name, sql) for kind, name, sql in _parts(old) if kind == "table"
        )
        for kind, _, sql in _parts(old):
            if kind != "table":
                new.execute(sql)
        drop_orphans(new)
        _unlink(new)
        new.execute("COMMIT")
        new.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return rows


def _reading(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    db.text_factory = readable
    return db


def _parts(db: sqlite3.Connection) -> list[tuple[str, str, str]]:
    """(kind, name, SQL) of everything that the database says it has; nothing where it cannot say."""
    try:
        return db.execute(
            "SELECT type, name, sql FROM sqlite_master WHERE sql NOT NULL AND name NOT LIKE 'sqlite_%'"
        ).fetchall()
    except sqlite3.Error as error:
        if not tells_damage(error):
            raise
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
    """What refers to a row that was lost would refer to whatever gets that number next."""
    for table, rowid, _, number in db.execute("PRAGMA foreign_key_check").fetchall():
        column = next(
            row[3] for row in db.execute(f'PRAGMA foreign_key_list("{table}")') if row[0] == number
        )
        db.execute(f'UPDATE "{table}" SET "{column}" = 0 WHERE rowid = ?', (rowid,))


def _readable_rows(db: sqlite3.Connection, table: str) -> Iterator[tuple[Any, ...]]:
    """The rows in order, around whatever cannot be read."""
    first: int | None = 1
    while first is not None:
        try:
            for rowid, *row in db.execute(_rows_from(table), (first,)):
                if rowid >= first:  # damage may lead back
                    first = rowid + 1
                    yield tuple(row)
            return
        except sqlite3.Error as error:
            if not tells_damage(error):
                raise
        # The driver reads ahead, so the last row before the damage was not given yet.
        for rowid, *row in _one_row(db, table, first) or ():
            first = max(first, rowid) + 1
            yield tuple(row)
        first = _beyond(db, table, first)


def _beyond(db: sqlite3.Connection, table: str, unreadable: int) -> int | None:
    """The least number above ``unreadable`` from which on rows can be read again; None where there is none."""
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
    """The first row from that number on, if there is one; None where it cannot be read."""
    try:
        return db.execute(f"{_rows_from(table)} LIMIT 1", (first,)).fetchall()
    except sqlite3.Error as error:
        if not tells_damage(error):
            raise
        return None


def _rows_from(table: str) -> str:
    return f'SELECT rowid, * FROM "{table}" WHERE rowid >= ? ORDER BY rowid'
