"""Rows for the database of a real Stash: a large library in a few seconds, of items whose files do
not exist.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

_NOW = "2026-01-01T00:00:00Z"
_PATIENCE_S = 30.0


class Rows:
    """The database of a Stash that has scanned something, for as long as the ``with`` block lasts.

    Stash may run meanwhile, and sees the rows afterwards.
    """

    def __init__(self, database: Path) -> None:
        self._database = sqlite3.connect(database, timeout=_PATIENCE_S)
        (self._folder,) = self._one("SELECT parent_folder_id FROM files LIMIT 1")

    def __enter__(self) -> Rows:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._database.commit()
        self._database.close()

    def tags(self, names: Iterable[str]) -> list[int]:
        """Add tags. Return their ids."""
        return self._insert("tags", [{"name": name, **_dated()} for name in names])

    def parents(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Put tags below others: pairs of a parent and a child."""
        self._fill("tags_relations", ("parent_id", "child_id"), pairs)

    def scenes(self, count: int, duration_s: float, tags: Sequence[int]) -> list[int]:
        """Add scenes with a file each, and three of ``tags`` in turn. Return their ids."""
        files = self._files("match.mp4", count)
        video = (duration_s, "h264", "mp4", "aac", 1920, 1080, 25.0, 4_000_000)
        columns = ("duration", "video_codec", "format", "audio_codec", "width", "height")
        columns += ("frame_rate", "bit_rate")
        self._fill("video_files", ("file_id", *columns), ((file, *video) for file in files))
        scenes = self._insert("scenes", [_dated() for _ in files])
        self._link("scenes", scenes, files)
        carried = ((scene, tags[(scene + i) % len(tags)]) for scene in scenes for i in range(3))
        self._fill("scenes_tags", ("scene_id", "tag_id"), carried)
        return scenes

    def _files(self, name: str, count: int) -> list[int]:
        last = self._last("files")
        names = (f"{last + number} {name}" for number in range(1, count + 1))
        place = {"parent_folder_id": self._folder, "size": 1_000_000, "mod_time": _NOW}
        return self._insert("files", [{"basename": one, **place, **_dated()} for one in names])

    def _link(self, kind: str, items: Sequence[int], files: Sequence[int]) -> None:
        pairs = ((item, file, True) for item, file in zip(items, files, strict=True))
        self._fill(f"{kind}_files", (f"{kind.rstrip('s')}_id", "file_id", "`primary`"), pairs)

    def _insert(self, table: str, rows: Sequence[dict[str, Any]]) -> list[int]:
        last = self._last(table)
        ids = [last + number for number in range(1, len(rows) + 1)]
        values = ((id_, *row.values()) for id_, row in zip(ids, rows, strict=True))
        self._fill(table, ("id", *rows[0]), values)
        return ids

    def _fill(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        places = ", ".join("?" * len(columns))
        self._database.executemany(
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", rows
        )

    def _last(self, table: str) -> int:
        (last,) = self._one(f"SELECT coalesce(max(id), 0) FROM {table}")
        return int(last)

    def _one(self, query: str) -> Any:
        return self._database.execute(query).fetchone()


def _dated() -> dict[str, str]:
    return {"created_at": _NOW, "updated_at": _NOW}
