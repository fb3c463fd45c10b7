"""Locks between processes that end with their holder, however it ends."""

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
    """A file that at most one holder has locked. The operating system lets go of it when the holder's process is killed.

    SQLite does the locking: it knows how on every system. The file stays empty. Blocking; the thread may change.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None

    @property
    def name(self) -> str:
        """The file's name."""
        return self._path.name

    def take(self, patience_s: float = 0.0) -> bool:
        """Takes the lock; False when somebody else had it for ``patience_s`` seconds. Raises ``sqlite3.Error``."""
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

    def let_go(self) -> None:
        """Lets go of the lock, if it is held."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def forget(self) -> None:
        """Lets go of the lock and removes its file."""
        self.let_go()
        self._path.unlink(missing_ok=True)

    def is_held(self) -> bool:
        """Whether somebody holds it, be it this object."""
        if self._db is not None:
            return True
        if not self._path.exists():
            return False
        if not self.take():
            return True
        self.let_go()
        return False


_log = logging.getLogger(__name__)
_BUSY_S = 30.0
Row = tuple[Any, ...]


class JournalDatabase:
    """Opens (and creates) the journal's tables in the file at ``path``. Raises ``JournalError`` when it cannot be used.

    A damaged file is set aside, and what can be read of it is kept; the log says what that is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with ExitStack() as opening:
            with _created_by_us():
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
            self._tell_what_is_left()

    def close(self) -> None:
        """Closes the file."""
        self._open.close()

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
        """A transaction: on disk, even if the power fails, when the block ends; nothing of it when it raises.

        Raises ``JournalError`` where the file has been deleted or replaced: what is written into it nobody would find again.
        """
        self._check_that_it_is_there()
        with self.explained(), writing(self._db):
            yield

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Maps what SQLite and the system complain of."""
        with _created_by_us(), self._hold.using():
            yield

    def _check_that_it_is_there(self) -> None:
        try:
            now = _file_at(self.path)
        except FileNotFoundError:
            what = "deleted or moved away"
        except OSError as error:
            what = f"put out of reach ({error.strerror})"
        else:
            if now == self._file:
                return
            what = "replaced by another file"
        remedy = "Put it back where it was, or, if it is lost for good, start the task again: then a new one is begun"
        raise JournalError(
            f"{self.path} was {what} while the task was at work, and nothing is changed in Stash without it. {remedy}"
        )

    def unreadable_plan(self) -> JournalError:
        """To be raised where the text of a plan is none any more."""
        remedy = "put a copy of it back, or move it away: then the plugin no longer knows what in Stash is its own"
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

    def _tell_what_is_left(self) -> None:
        tables = ("journal_markers", "journal_tags")
        markers, tags = (
            self.rows(f"SELECT count(*) FROM {table} WHERE gone IS NULL AND ours")[0][0]
            for table in tables
        )
        known = f"{markers} markers and {tags} tags" if markers or tags else "nothing in Stash"
        _log.warning(
            "The journal was in the damaged file. It knows %s as the plugin's own now; whatever else the plugin had made counts"
            " as made by people: no task changes it or takes it off, and what was done to it cannot be undone.",
            known,
        )


def _file_at(path: Path) -> tuple[int, int] | None:
    """What tells one file from another of the same name; None where the file system does not."""
    status = path.stat()
    return (status.st_dev, status.st_ino) if status.st_ino else None


@contextmanager
def _created_by_us() -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        raise JournalError(str(error)) from error
