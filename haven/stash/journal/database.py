"""The journal's file: its connection and transactions, errors mapped to ``JournalError``, and locks
between processes.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from haven.stash.errors import JournalError
from haven.stash.journal import schema
from vlm_engine import SharedLock, StoreError, readable, writing


class Lock:
    """A file that at most one holder has locked. The operating system releases it when the holder
    is killed.

    SQLite does the locking, since it knows how on every system. The file stays empty. Calls block;
    the thread may change.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None

    @property
    def name(self) -> str:
        """The file's name."""
        return self._path.name

    def acquire(self, patience_s: float = 0.0) -> bool:
        """Acquire the lock. Return False if another holder kept it for ``patience_s`` seconds.
        Raises ``sqlite3.Error``.
        """
        db = sqlite3.connect(
            self._path, timeout=patience_s, isolation_level=None, check_same_thread=False
        )
        try:
            db.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            db.close()
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                return False
            raise
        except BaseException:
            db.close()
            raise
        self._db = db
        return True

    def release(self) -> None:
        """Release the lock, if it is held."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def remove(self) -> None:
        """Release the lock and remove its file."""
        self.release()
        self._path.unlink(missing_ok=True)

    def is_held(self) -> bool:
        """Return True if anybody holds it, this object included."""
        if self._db is not None:
            return True
        if not self._path.exists():
            return False
        if not self.acquire():
            return True
        self.release()
        return False


_log = logging.getLogger(__name__)
_BUSY_S = 30.0
Row = tuple[Any, ...]


class JournalDatabase:
    """The journal's tables in the file at ``path``, which are created if missing.

    A damaged file is set aside, what can be read of it is kept, and the log says how much that is.
    Raises ``JournalError`` when the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with ExitStack() as opening:
            with _store_errors_mapped():
                self._hold = SharedLock(path, busy_s=_BUSY_S)
            opening.callback(self._hold.release)
            with self.explained():
                # One caller at a time is the journal's contract, so the thread may change.
                self._db = sqlite3.connect(
                    path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
                )
            opening.callback(self._db.close)
            self._db.text_factory = readable
            with self.explained():
                self._prepare()
            self._open = opening.pop_all()
        if self._hold.repaired:
            self._log_what_is_left()

    def close(self) -> None:
        """Close the file."""
        self._open.close()

    def rows(self, sql: str, *values: object) -> list[Row]:
        """Return all rows of a query."""
        with self.explained():
            return self._db.execute(sql, values).fetchall()

    def write(self, sql: str, *values: object) -> int:
        """Make one change, on disk when this returns. Return the number of the inserted row."""
        with self.writing():
            return self._db.execute(sql, values).lastrowid or 0

    def execute(self, sql: str, *values: object) -> int:
        """Make one change within ``writing``. Return the number of changed rows."""
        return self._db.execute(sql, values).rowcount

    def execute_insert(self, sql: str, *values: object) -> int:
        """Insert one row within ``writing``, and return its number."""
        return self._db.execute(sql, values).lastrowid or 0

    def execute_each(self, sql: str, rows: Iterable[Row]) -> None:
        """Make the same change for each of ``rows``, within ``writing``."""
        self._db.executemany(sql, rows)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Open a transaction: on disk, even if the power fails, when the block ends; undone if it
        raises.

        Raises ``JournalError`` if the file has been deleted or replaced, since nobody would find
        the changes again.
        """
        self._check_same_file()
        with self.explained(), writing(self._db):
            yield

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Map errors of SQLite and of the system to ``JournalError``."""
        with _store_errors_mapped(), self._hold.using():
            yield

    def _check_same_file(self) -> None:
        try:
            now = _file_at(self.path)
        except FileNotFoundError:
            fate = "deleted or moved away"
        except OSError as error:
            fate = f"put out of reach ({error.strerror})"
        else:
            if now == self._file:
                return
            fate = "replaced by another file"
        remedy = (
            "Put it back where it was, or, if it is lost for good, start the task again:"
            " then a new one is begun"
        )
        raise JournalError(
            f"{self.path} was {fate} while the task was at work, and nothing is changed in Stash "
            f"without it. {remedy}"
        )

    def unreadable_plan(self) -> JournalError:
        """Return the error to raise when the text of a plan is no plan any more."""
        remedy = (
            "put a copy of it back, or move it away:"
            " then the plugin no longer knows what in Stash is its own"
        )
        return JournalError(
            f"the journal {self.path} is damaged, a plan in it cannot be read: {remedy}"
        )

    def _prepare(self) -> None:
        if self._db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            self._db.execute("PRAGMA journal_mode = WAL")
        # A plan must survive a power cut that follows it, not only a kill.
        self._db.execute("PRAGMA synchronous = FULL")
        self._file = _file_at(self.path)
        with self.writing():
            try:
                schema.prepare(self._db)
            except schema.NewerSchemaError as error:
                raise JournalError(
                    f"{self.path} was written by a newer version of this plugin: update the plugin"
                ) from error
            except (ValueError, KeyError, TypeError) as error:
                raise self.unreadable_plan() from error

    def _log_what_is_left(self) -> None:
        tables = ("journal_markers", "journal_tags")
        markers, tags = (
            self.rows(f"SELECT count(*) FROM {table} WHERE gone IS NULL AND ours")[0][0]
            for table in tables
        )
        known = f"{markers} markers and {tags} tags" if markers or tags else "nothing in Stash"
        _log.warning(
            "The journal was in the damaged file. It knows %s as the plugin's own now;"
            " whatever else the plugin had made counts as made by people: no task changes it"
            " or takes it off, and what was done to it cannot be undone.",
            known,
        )


def _file_at(path: Path) -> tuple[int, int] | None:
    """Return what distinguishes a file from another of the same name; None if the file system does
    not tell.
    """
    status = path.stat()
    return (status.st_dev, status.st_ino) if status.st_ino else None


@contextmanager
def _store_errors_mapped() -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        raise JournalError(str(error)) from error
