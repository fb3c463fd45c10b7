"""The library's tables: SQLite in memory, shared by the server's thread and the test's."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

Row = dict[str, Any]

_DATED = "created_at TEXT NOT NULL, updated_at TEXT NOT NULL"
_ITEM = (
    "id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT NOT NULL, organized INTEGER NOT NULL "
    f"DEFAULT 0, {_DATED}"
)
_TABLES = f"""
CREATE TABLE tags (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, description TEXT NOT NULL DEFAULT '',
    ignore_auto_tag INTEGER NOT NULL DEFAULT 0, {_DATED});
CREATE TABLE tag_aliases (
    tag_id INTEGER NOT NULL REFERENCES tags(id) ON DELETE CASCADE, alias TEXT NOT NULL
);
CREATE TABLE tags_relations (
    parent_id INTEGER REFERENCES tags(id) ON DELETE CASCADE,
    child_id INTEGER REFERENCES tags(id) ON DELETE CASCADE,
    PRIMARY KEY (parent_id, child_id));
CREATE TABLE files (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, path TEXT NOT NULL UNIQUE,
    source TEXT NOT NULL,
    zip_file_id INTEGER REFERENCES files(id), mod_time TEXT, size INTEGER, format TEXT,
    width INTEGER, height INTEGER,
    duration REAL, video_codec TEXT, audio_codec TEXT, frame_rate REAL, bit_rate INTEGER);
CREATE TABLE fingerprints (
    file_id INTEGER REFERENCES files(id) ON DELETE CASCADE, type TEXT, value TEXT
);
CREATE TABLE scenes ({_ITEM});
CREATE TABLE images ({_ITEM});
CREATE TABLE galleries ({_ITEM}, folder TEXT);
CREATE TABLE thumbnails (
    image_id INTEGER PRIMARY KEY REFERENCES images(id) ON DELETE CASCADE, content BLOB NOT NULL
);
CREATE TABLE scene_markers (
    id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT NOT NULL,
    seconds REAL NOT NULL, end_seconds REAL,
    primary_tag_id INTEGER NOT NULL REFERENCES tags(id),
    scene_id INTEGER NOT NULL REFERENCES scenes(id) ON DELETE CASCADE,
    {_DATED});
CREATE TABLE custom_fields (
    kind TEXT NOT NULL, item_id INTEGER NOT NULL, field TEXT NOT NULL, value BLOB,
    PRIMARY KEY (kind, item_id, field)
);
CREATE TABLE marker_previews (
    marker_id INTEGER PRIMARY KEY REFERENCES scene_markers(id) ON DELETE CASCADE
);
"""
_JOINS = {
    "scenes_tags": ("scenes", "scene_id", "tags", "tag_id"),
    "images_tags": ("images", "image_id", "tags", "tag_id"),
    "galleries_tags": ("galleries", "gallery_id", "tags", "tag_id"),
    "scene_markers_tags": ("scene_markers", "scene_marker_id", "tags", "tag_id"),
    "galleries_images": ("galleries", "gallery_id", "images", "image_id"),
    "scenes_files": ("scenes", "scene_id", "files", "file_id"),
    "images_files": ("images", "image_id", "files", "file_id"),
    "galleries_files": ("galleries", "gallery_id", "files", "file_id"),
}


class RefusedError(Exception):
    """The server refuses what it was asked; the message is in the server's own words."""


class Database:
    """One SQLite database in memory that several threads may use; a transaction is one thread's
    alone.

    ``ahead_s``: how far the server's clock, by which rows are dated, is ahead of this machine's.
    """

    def __init__(self) -> None:
        self.ahead_s = 0.0
        self._lock = threading.RLock()
        self._depth = 0
        self._connection = sqlite3.connect(
            ":memory:", check_same_thread=False, isolation_level=None
        )
        self._connection.row_factory = sqlite3.Row
        self._connection.create_collation("NATURAL_CI", _natural_order)
        self._connection.create_function("regexp", 2, _matches, deterministic=True)
        self._connection.executescript("PRAGMA foreign_keys = ON;" + _TABLES)
        for table, (left, left_id, right, right_id) in _JOINS.items():
            self._connection.execute(
                f"CREATE TABLE {table} ({left_id} INTEGER REFERENCES {left}(id) ON DELETE CASCADE, "
                f"{right_id} INTEGER REFERENCES {right}(id) ON DELETE CASCADE, PRIMARY KEY "
                f"({left_id}, {right_id}))"
            )
            self._connection.execute(f"CREATE INDEX {table}_by_{right_id} ON {table} ({right_id})")

    def rows(self, sql: str, *params: object) -> list[Row]:
        """All rows of a query, each as a dictionary by column."""
        with self._lock:
            return [dict(row) for row in self._run(sql, params).fetchall()]

    def row(self, sql: str, *params: object) -> Row | None:
        """Return the first row of a query, or None."""
        return next(iter(self.rows(sql, *params)), None)

    def values(self, sql: str, *params: object) -> list[Any]:
        """Return the first column of every row."""
        with self._lock:
            return [row[0] for row in self._run(sql, params).fetchall()]

    def write(self, sql: str, *params: object) -> int:
        """Run one statement and return the id of a row it inserted.

        ``RefusedError``: a constraint failed.
        """
        with self._lock:
            return int(self._run(sql, params).lastrowid or 0)

    def insert(self, table: str, **columns: object) -> int:
        """Inserts one row and return its id."""
        marks = ", ".join("?" * len(columns))
        try:
            return self.write(
                f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", *columns.values()
            )
        except RefusedError as error:
            raise RefusedError(f"inserting into {table}: {error}") from error

    def update(self, table: str, row_id: int, **columns: object) -> None:
        """Change columns of one row, and when it was last changed."""
        columns["updated_at"] = self.now()
        settings = ", ".join(f"{name} = ?" for name in columns)
        try:
            self.write(f"UPDATE {table} SET {settings} WHERE id = ?", *columns.values(), row_id)
        except RefusedError as error:
            raise RefusedError(f"updating {table}: {error}") from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of the block, or nothing of it. Blocks within blocks belong to the outermost."""
        with self._lock:
            self._depth += 1
            if self._depth == 1:
                self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                if self._depth == 1:
                    self._connection.execute("ROLLBACK")
                raise
            else:
                if self._depth == 1:
                    self._connection.execute("COMMIT")
            finally:
                self._depth -= 1

    def now(self) -> str:
        """Return the time as the server writes it, by its own clock."""
        return (datetime.now(UTC) + timedelta(seconds=self.ahead_s)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def saved(self) -> bytes:
        """All of it."""
        with self._lock:
            return self._connection.serialize()

    def restore(self, content: bytes) -> None:
        """The reverse of ``saved``."""
        with self._lock:
            self._connection.deserialize(content)

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._connection.close()

    def _run(self, sql: str, params: tuple[object, ...]) -> sqlite3.Cursor:
        try:
            return self._connection.execute(sql, params)
        except sqlite3.IntegrityError as error:
            raise RefusedError(f"error executing `{sql}` [{list(params)}]: {error}") from error


def integer(text: object) -> int:
    """Return an id as the server reads it: a whole number, or ``RefusedError``."""
    if not re.fullmatch(r"[+-]?[0-9]+", str(text)):
        raise RefusedError(f'strconv.Atoi: parsing "{text}": invalid syntax')
    return int(str(text))


def integers(texts: list[Any] | None) -> list[int]:
    """Many ids; None is none."""
    return [integer(text) for text in texts or ()]


def _natural_order(left: str, right: str) -> int:
    """Compares regardless of case, with "Set 2" before "Set 10"."""
    key_left, key_right = _natural_key(left), _natural_key(right)
    return (key_left > key_right) - (key_left < key_right)


@lru_cache(4096)
def _natural_key(text: str) -> list[tuple[int, int, str]]:
    parts = re.findall(r"\d+|\D+", text.lower())
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


def _matches(pattern: str, text: str | None) -> bool:
    return text is not None and re.search(pattern, text) is not None
