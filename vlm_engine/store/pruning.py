"""What keeps the file from growing for ever."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

from vlm_engine.store.schema import writing

_log = logging.getLogger(__name__)
_IN_USE_S = 3600.0
"""A task under way notes each video's use again and again, so what it needs is always younger than this."""
_PRUNED_TO = 0.9


def prune(db: sqlite3.Connection, path: Path, max_bytes: int, now: float) -> None:
    """Where more than ``max_bytes`` are in use, takes out the videos that were not used for longest, each as a whole.

    ``now``: seconds since 1970. Other tables in the file count, and stay. Each video is a transaction of its own.
    """
    if _used_bytes(db) <= max_bytes:
        return
    gone = 0
    for media in _unused_since(db, now - _IN_USE_S):
        gone += _take_out(db, media, now - _IN_USE_S)
        if _used_bytes(db) <= _PRUNED_TO * max_bytes:
            break
    else:
        _log.info(
            "%s: larger than set, since all that is left in it was used within the last hour.", path
        )
    if gone:
        db.executescript(
            "PRAGMA incremental_vacuum"
        )  # plain ``execute`` would give back one page only
        _log.info(
            "%s: full; took out the answers about the %d videos and pictures not used for longest.",
            path,
            gone,
        )


def _used_bytes(db: sqlite3.Connection) -> int:
    pages, free, size = (
        db.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _unused_since(db: sqlite3.Connection, before: float) -> list[str]:
    """Videos and pictures last used ``before``, the longest unused first."""
    grouped = (
        "SELECT media FROM answer_subject GROUP BY media HAVING max(used) < ? ORDER BY max(used)"
    )
    return [media for (media,) in db.execute(grouped, (before,))]


def _take_out(db: sqlite3.Connection, media: str, before: float) -> bool:
    """False where another process used it meanwhile."""
    with writing(db):
        if db.execute(
            "SELECT max(used) < ? FROM answer_subject WHERE media = ?", (before, media)
        ).fetchone() != (1,):
            return False
        for table in ("answer", "answer_search"):
            db.execute(
                f"DELETE FROM {table} WHERE subject IN (SELECT id FROM answer_subject WHERE media = ?)",
                (media,),
            )
        db.execute("DELETE FROM answer_subject WHERE media = ?", (media,))
    return True
