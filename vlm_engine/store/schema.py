"""The store's tables, and how those of older versions become these.

Other tables in the same file have versions of their own, so each part migrates alone.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vlm_engine.errors import StoreError
from vlm_engine.store.records import packed
from vlm_engine.types import Verdict

VERSION = 2

_TABLES = """
CREATE TABLE answer_subject (
    id INTEGER PRIMARY KEY, media TEXT NOT NULL, model TEXT NOT NULL, wording TEXT NOT NULL, used REAL NOT NULL,
    UNIQUE (media, model, wording)
);
CREATE TABLE answer (
    id INTEGER PRIMARY KEY, subject INTEGER NOT NULL REFERENCES answer_subject, look_ms INTEGER NOT NULL,
    frame_s REAL NOT NULL, form TEXT NOT NULL, max_side INTEGER NOT NULL, quality INTEGER NOT NULL, said BLOB NOT NULL,
    endpoint TEXT NOT NULL, served_by TEXT NOT NULL, prompt_tokens INTEGER NOT NULL, answer_tokens INTEGER NOT NULL,
    written REAL NOT NULL
);
CREATE INDEX answer_by_subject ON answer (subject);
CREATE TABLE answer_search (
    id INTEGER PRIMARY KEY, subject INTEGER NOT NULL REFERENCES answer_subject, tags TEXT NOT NULL,
    settings TEXT NOT NULL
);
CREATE INDEX answer_search_by_subject ON answer_search (subject)
"""


@contextmanager
def writing(db: sqlite3.Connection) -> Iterator[None]:
    """One transaction: all that is written inside, or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        # After some errors SQLite has rolled back by itself.
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def prepare(db: sqlite3.Connection, path: Path | None) -> None:
    """Makes the tables what this version wants. Raises ``StoreError``, and changes nothing, where a newer one wrote them."""
    if _version(db, path) == VERSION:
        return
    with writing(db):
        version = _version(db, path)
        if version is None:
            _make_tables(db)
        for older in range(version or VERSION, VERSION):
            _STEPS[older](db)
        db.execute("CREATE TABLE IF NOT EXISTS answer_schema (version INTEGER NOT NULL)")
        db.execute("DELETE FROM answer_schema")
        db.execute("INSERT INTO answer_schema VALUES (?)", (VERSION,))


def _version(db: sqlite3.Connection, path: Path | None) -> int | None:
    """The version of the tables that are there; None where there are none."""
    tables = _tables(db)
    row = (
        db.execute("SELECT version FROM answer_schema").fetchone()
        if "answer_schema" in tables
        else None
    )
    if row is not None and row[0] > VERSION:
        raise StoreError(
            f"database {path}: a newer version of this program wrote it (its tables are version {row[0]}, this one knows"
            f" {VERSION}). Update this program, or move the file away to begin a new one"
        )
    return _guessed(tables) if row is None else int(row[0])


def _guessed(tables: set[str]) -> int | None:
    """For a file that does not say: version 1 could be killed before it said so, and damage may have taken that row."""
    if "answer_subject" in tables:
        return 2
    return 1 if "answer" in tables else None


def _tables(db: sqlite3.Connection) -> set[str]:
    return {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def drop_orphans(db: sqlite3.Connection) -> None:
    """Takes out what is about no subject any more: else it would be about whoever gets that number next."""
    for table in (
        _tables(db) & {"answer", "answer_search"} if "answer_subject" in _tables(db) else ()
    ):
        db.execute(f"DELETE FROM {table} WHERE subject NOT IN (SELECT id FROM answer_subject)")


def _make_tables(db: sqlite3.Connection) -> None:
    for statement in _TABLES.split(";"):
        db.execute(statement)


def _from_1(db: sqlite3.Connection) -> None:
    """Version 1 repeated the subject in every row, and kept verdicts and reply as plain text."""
    db.create_function("packed", 2, _packed_1, deterministic=True)
    db.execute("DROP INDEX IF EXISTS answer_by_media")
    db.execute("ALTER TABLE answer RENAME TO answer_1")
    _make_tables(db)
    db.execute(
        "INSERT INTO answer_subject (media, model, wording, used)"
        " SELECT media, model, wording, max(written) FROM answer_1 GROUP BY media, model, wording"
    )
    db.execute(
        "INSERT INTO answer SELECT old.id, answer_subject.id, look_ms, frame_s, form, max_side, quality, packed(verdicts, raw),"
        " endpoint, served_by, prompt_tokens, answer_tokens, written"
        " FROM answer_1 AS old JOIN answer_subject USING (media, model, wording) ORDER BY old.id"
    )
    db.execute("DROP TABLE answer_1")


def _packed_1(verdicts: str, raw: str) -> bytes:
    return packed({tag: Verdict(*told) for tag, told in json.loads(verdicts).items()}, raw)


_STEPS: dict[int, Callable[[sqlite3.Connection], None]] = {1: _from_1}
"""From each older version to the one after it."""
