"""Locks between processes that end with their holder, however it ends."""

from __future__ import annotations

import sqlite3
from pathlib import Path


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
