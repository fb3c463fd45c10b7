"""The journal's connection: one file, transactions, and SQLite's errors made ours."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from haven_stash.errors import JournalError
from haven_stash.journal import schema

_BUSY_S = 30.0
Row = tuple[Any, ...]


class JournalDatabase:
    """Opens (and creates) the journal's tables in the file at ``path``. Raises ``JournalError`` when it cannot be used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self.explained():
            # One caller at a time is the journal's contract, so the thread may change.
            self._db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            with self.explained():
                self._prepare()
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def rows(self, sql: str, *values: object) -> list[Row]:
        """All rows of a query."""
        with self.explained():
            return self._db.execute(sql, values).fetchall()

    def write(self, sql: str, *values: object) -> int:
        """One change, on disk when this returns. Returns the number of the row that was inserted."""
        with self.writing():
            return self._db.execute(sql, values).lastrowid or 0

    def execute(self, sql: str, *values: object) -> int:
        """One change within ``writing``. Returns how many rows it changed."""
        return self._db.execute(sql, values).rowcount

    def execute_each(self, sql: str, rows: Iterable[Row]) -> None:
        """The same change for each of ``rows``, within ``writing``."""
        self._db.executemany(sql, rows)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A transaction: on disk, even if the power fails, when the block ends; nothing of it when it raises."""
        with self.explained():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Maps SQLite's errors."""
        try:
            yield
        except sqlite3.Error as error:
            remedy = "see that its folder exists and can be written, and that the disk is not full"
            raise JournalError(f"the journal {self.path} cannot be used ({error}): {remedy}") from error

    def _prepare(self) -> None:
        if self._db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            self._db.execute("PRAGMA journal_mode = WAL")
        # A plan must survive a power cut that follows it, not only a kill.
        self._db.execute("PRAGMA synchronous = FULL")
        with self.writing():
            try:
                schema.prepare(self._db)
            except schema.NewerSchemaError as error:
                raise JournalError(f"{self.path} was written by a newer version of this plugin: update the plugin") from error
            except (ValueError, KeyError) as error:
                remedy = "put a copy of it back, or move it away: then the plugin no longer knows what in Stash is its own"
                raise JournalError(f"the journal {self.path} is damaged, a plan in it cannot be read: {remedy}") from error
