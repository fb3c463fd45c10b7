"""The store of answers: read, written, and kept within its size."""

from __future__ import annotations

import json
import logging
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import astuple
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Self, TypeVar

from vlm_engine.store.lock import SharedLock
from vlm_engine.store.recovery import explained, readable
from vlm_engine.store.schema import (
    OF_SUBJECT,
    PairCounts,
    PairKey,
    StoredAnswer,
    StoredSearch,
    Subject,
    packed,
    prepare,
    unpacked,
    writing,
)
from vlm_engine.types import Answer, Form, ImageShape

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_USE_NOTED_S = 60.0
_PRUNED_AFTER = 500
_IN_USE_S = 3600.0
"""A task under way notes each video's use again and again, so what it needs is always younger than
this.
"""
_PRUNED_TO = 0.9
_BATCH = 16
"""Rows in one statement. SQLite lets other threads run around every statement, and those keep the
processor as long as they like, so one statement for each of many pictures would wait as often.
"""
_shape = lru_cache(ImageShape)  # thousands of answers have the same few


class AnswerStore:
    """The answers in the file at ``path``, or in memory where it is None.

    Blocking and safe to use from several threads; several processes may share the file. What
    ``add`` has stored survives SIGKILL. A file that grows beyond ``max_bytes`` loses the answers
    about the videos not used for longest, but none of the last hour. ``busy_s``: how long to wait
    for a lock. ``clock``: seconds since 1970.

    A damaged file is set aside, and what can be read of it is kept. Raises ``StoreError`` when the
    file cannot be used.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        max_bytes: int | None = None,
        busy_s: float = 30.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._busy_s = busy_s
        self._clock = clock
        self._thread_lock = threading.Lock()
        self._added = 0
        self._busy_tenths = -1
        with ExitStack() as opening:
            self._lock = SharedLock(path, busy_s=busy_s) if path else None
            if self._lock:
                opening.callback(self._lock.release)
            with explained(path):
                self._db = sqlite3.connect(
                    path or ":memory:", check_same_thread=False, isolation_level=None
                )
            opening.callback(self._db.close)
            self._db.text_factory = readable
            with self._using():
                self._prepare()
            self._open = opening.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. The store cannot be used afterwards; closing twice does nothing."""
        with self._thread_lock:
            self._open.close()

    def add(self, subject: Subject, stored: StoredAnswer) -> None:
        """Store one answer. Once this returns, the answer is safe."""
        self.add_all([(subject, stored)])

    def add_all(self, answers: Sequence[tuple[Subject, StoredAnswer]]) -> None:
        """Store all of them, or none. Once this returns, they are safe."""
        with self._using(), writing(self._db):
            self._insert(answers)
        before, self._added = self._added, self._added + len(answers)
        if self._added // _PRUNED_AFTER > before // _PRUNED_AFTER:
            with self._using():
                self._prune()

    def _insert(self, answers: Sequence[tuple[Subject, StoredAnswer]]) -> None:
        rows = [(*_key(subject), *_row(stored), self._clock()) for subject, stored in answers]
        self._note_use([subject for subject, _ in answers])
        for batch in _batches(rows):
            values = [value for row in batch for value in row]
            self._db.execute(_insert_answers(len(batch)), values)

    def answers(self, subject: Subject) -> list[StoredAnswer]:
        """Return all answers about ``subject``, oldest first."""
        return self.answers_to([subject])[0]

    def answers_to(self, subjects: Sequence[Subject]) -> list[list[StoredAnswer]]:
        """Return the same for several subjects at once."""
        with self._using():
            numbers = self._numbers(subjects)
            rows = [
                self._rows(numbers[subject]) if subject in numbers else [] for subject in subjects
            ]
        return [self._read(of_subject) for of_subject in rows]

    def _rows(self, number: int) -> list[tuple[Any, ...]]:
        return self._db.execute(
            "SELECT look_ms, frame_s, form, max_side, quality, said, served_by, endpoint,"
            " prompt_tokens, answer_tokens FROM answer WHERE subject = ? ORDER BY id",
            (number,),
        ).fetchall()

    def _read(self, rows: Sequence[tuple[Any, ...]]) -> list[StoredAnswer]:
        stored = [answer for answer in map(_stored, rows) if answer is not None]
        if len(stored) < len(rows):
            _log.warning(
                "%s: %d answers cannot be read any more; they are asked for again.",
                self._path,
                len(rows) - len(stored),
            )
        return stored

    def searches(self, subject: Subject) -> list[StoredSearch]:
        """Return the finished searches about ``subject``, oldest first."""
        with self._using():
            number = self._numbers([subject]).get(subject)
            rows = self._db.execute(
                "SELECT tags, settings FROM answer_search WHERE subject = ? ORDER BY id", (number,)
            ).fetchall()
        return [search for search in map(_search, rows) if search is not None]

    def add_search(self, subject: Subject, search: StoredSearch) -> None:
        """Store that this search finished. The same one again changes nothing."""
        with self._using(), writing(self._db):
            self._note_use([subject])
            row = {
                "subject": self._numbers([subject])[subject],
                "tags": json.dumps(search.tags, ensure_ascii=False),
                "settings": search.settings,
            }
            self._db.execute(
                "INSERT INTO answer_search SELECT NULL, :subject, :tags, :settings WHERE NOT EXISTS"
                " (SELECT 1 FROM answer_search WHERE subject = :subject AND tags = :tags"
                " AND settings = :settings)",
                row,
            )

    def search_sizes(self, model: str, wording: str, most: int = 200) -> list[tuple[float, int]]:
        """Return the last time asked about, in seconds, and the number of answers of each video
        with a finished search, the latest used first.
        """
        with self._using():
            rows = self._db.execute(
                "SELECT max(look_ms), count(*) FROM (SELECT id, used FROM answer_subject"
                " WHERE model = ? AND wording = ?"
                " AND EXISTS (SELECT 1 FROM answer_search WHERE subject = answer_subject.id)"
                " ORDER BY used DESC LIMIT ?) AS video JOIN answer ON subject = video.id"
                " GROUP BY video.id ORDER BY used DESC",
                (model, wording, most),
            ).fetchall()
        return [(look_ms / 1000, answers) for look_ms, answers in rows]

    def terms(self, subject: Subject, settings: str) -> list[str]:
        """Return the terms on which ``subject`` was searched with these settings, oldest first."""
        with self._using():
            number = self._numbers([subject]).get(subject)
            rows = self._db.execute(
                "SELECT terms FROM answer_terms WHERE subject = ? AND settings = ? ORDER BY id",
                (number, settings),
            ).fetchall()
        return [terms for (terms,) in rows]

    def add_terms(self, subject: Subject, settings: str, terms: str) -> None:
        """Store the terms on which a search begins."""
        with self._using(), writing(self._db):
            self._note_use([subject])
            number = self._numbers([subject])[subject]
            self._db.execute(
                "INSERT INTO answer_terms VALUES (NULL, ?, ?, ?)", (number, settings, terms)
            )

    def pairs(self, model: str, wording: str) -> dict[PairKey, PairCounts]:
        """Return what was counted of answers in two styles. Pruning keeps it."""
        with self._using():
            rows = self._db.execute(
                "SELECT compared, tag, expected, frames, both, only_usual, only_other"
                " FROM answer_pair WHERE model = ? AND wording = ? ORDER BY id",
                (model, wording),
            ).fetchall()
        return {
            PairKey(compared, tag, bool(expected)): PairCounts(*counts)
            for compared, tag, expected, *counts in rows
            if _are_counts(counts)
        }

    def add_compared(
        self, subject: Subject, stored: StoredAnswer, pairs: Mapping[PairKey, PairCounts]
    ) -> None:
        """Store an answer in another style, and add the pairs that it makes to the counts.

        Both happen or neither, so that no pair counts twice: an answer that is stored was counted.
        """
        with self._using(), writing(self._db):
            self._insert([(subject, stored)])
            for key, counts in pairs.items():
                self._db.execute(
                    "INSERT INTO answer_pair VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                    " ON CONFLICT (model, wording, compared, tag, expected) DO UPDATE SET"
                    " frames = frames + excluded.frames, both = both + excluded.both,"
                    " only_usual = only_usual + excluded.only_usual,"
                    " only_other = only_other + excluded.only_other",
                    (subject.model, subject.wording, *astuple(key), *astuple(counts)),
                )

    def style(self, model: str, wording: str, tags: str) -> str | None:
        """Return the style that was last set for a list of tags."""
        with self._using():
            row = self._db.execute(
                "SELECT style FROM answer_style WHERE model = ? AND wording = ? AND tags = ?",
                (model, wording, tags),
            ).fetchone()
        return None if row is None else str(row[0])

    def set_style(self, model: str, wording: str, tags: str, style: str) -> bool:
        """Set the style for a list of tags. Return whether it was another one before."""
        with self._using(), writing(self._db):
            changed = self._db.execute(
                "INSERT INTO answer_style VALUES (NULL, ?, ?, ?, ?)"
                " ON CONFLICT (model, wording, tags) DO UPDATE SET style = excluded.style"
                " WHERE style != excluded.style",
                (model, wording, tags, style),
            )
        return changed.rowcount > 0

    def screening(self, endpoint: str, within_s: float) -> str | None:
        """Return the outcome of the latest test of an endpoint; None if it is older than that."""
        with self._using():
            row = self._db.execute(
                "SELECT outcome FROM answer_screening"
                " WHERE endpoint = ? AND written BETWEEN ? AND ?",
                (endpoint, self._clock() - within_s, self._clock()),
            ).fetchone()
        return None if row is None else str(row[0])

    def set_screening(self, endpoint: str, outcome: str) -> None:
        """Store the outcome of a test of an endpoint."""
        with self._using(), writing(self._db):
            self._db.execute(
                "INSERT INTO answer_screening VALUES (NULL, :endpoint, :outcome, :now)"
                " ON CONFLICT (endpoint) DO UPDATE SET outcome = :outcome, written = :now",
                {"endpoint": endpoint, "outcome": outcome, "now": self._clock()},
            )

    def _prepare(self) -> None:
        prepare(self._db, self._path)
        if self._db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            self._db.execute("PRAGMA journal_mode = WAL")
        # A power cut may cost what the disk had not yet written, but no write to Stash follows
        # before it has: the journal waits for the disk, and this log of changes is the journal's
        # too.
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._prune()

    def _prune(self) -> None:
        if self._path is not None and self._max_bytes is not None:
            _prune(self._db, self._path, self._max_bytes, self._clock())

    def _numbers(self, subjects: Sequence[Subject]) -> dict[Subject, int]:
        """Return the numbers of the subjects that are known, and note their use."""
        numbers, stale, now = dict[Subject, int](), list[int](), self._clock()
        for batch in _batches(subjects):
            keys = [value for subject in batch for value in _key(subject)]
            for number, used, *key in self._db.execute(
                _select_subjects(len(batch)), keys
            ).fetchall():
                numbers[Subject(*key)] = number
                if used < now - _USE_NOTED_S:
                    stale.append(number)
        for old in _batches(stale):
            update = f"UPDATE answer_subject SET used = ? WHERE id IN ({_marks(len(old))})"
            self._db.execute(update, (now, *old))
        return numbers

    def _note_use(self, subjects: Sequence[Subject]) -> None:
        """Note the use of the subjects, and give a number to each that has none."""
        now = self._clock()
        for batch in _batches(list(dict.fromkeys(subjects))):
            values = [value for subject in batch for value in (*_key(subject), now)]
            self._db.execute(_upsert_subjects(len(batch)), values)

    @contextmanager
    def _using(self) -> Iterator[None]:
        # Calls that wait for one another wait for another process's lock together, not one after
        # the other.
        deadline = time.monotonic() + self._busy_s
        with self._thread_lock, self._lock.using() if self._lock else explained(None):
            self._wait_at_most(deadline - time.monotonic())
            yield

    def _wait_at_most(self, left_s: float) -> None:
        tenths = max(0, math.ceil(10 * left_s))
        if tenths != self._busy_tenths:
            self._db.execute(f"PRAGMA busy_timeout = {100 * tenths}")
            self._busy_tenths = tenths


def _key(subject: Subject) -> tuple[str, str, str]:
    return subject.cache_key, subject.model, subject.wording


def _row(stored: StoredAnswer) -> tuple[Any, ...]:
    """Return the columns of an answer, without its number, its subject and the time."""
    answer, shape = stored.answer, stored.shape
    return (
        *(stored.look_ms, stored.frame_s, str(stored.form), shape.max_side, shape.quality),
        packed(answer.verdicts, answer.raw),
        *(answer.endpoint, answer.model, answer.prompt_tokens, answer.answer_tokens),
    )


def _stored(row: tuple[Any, ...]) -> StoredAnswer | None:
    """Return the answer; None where the row is not what was written, because bytes rot."""
    look_ms, frame_s, form, max_side, quality, said, model, endpoint, *tokens = row
    try:
        verdicts, raw = unpacked(said)
        answer = Answer(verdicts, raw, model, endpoint, *tokens)
        if not math.isfinite(frame_s):
            return None
        return StoredAnswer(look_ms, frame_s, Form(form), _shape(max_side, quality), answer)
    except (ValueError, TypeError):
        return None


def _search(row: tuple[Any, ...]) -> StoredSearch | None:
    """Return the search; None where the row is not what was written."""
    tags, settings = row
    try:
        names = json.loads(tags)
    except (ValueError, TypeError):
        return None
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return StoredSearch(tuple(names), settings) if is_list else None


def _are_counts(counts: Sequence[Any]) -> bool:
    """Return whether these can be counts: of all frames, and of three kinds of them."""
    frames, *kinds = counts
    return all(isinstance(one, int) and one >= 0 for one in counts) and sum(kinds) <= frames


def _batches(entries: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for first in range(0, len(entries), _BATCH):
        yield entries[first : first + _BATCH]


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _table(rows: int, columns: int) -> str:
    return ", ".join([f"({_marks(columns)})"] * rows)


@cache
def _select_subjects(count: int) -> str:
    """Select the number, time of last use and key of ``count`` subjects, given by their keys."""
    return (
        f"WITH wanted (media, model, wording) AS (VALUES {_table(count, 3)})"
        " SELECT id, used, media, model, wording FROM wanted"
        " CROSS JOIN answer_subject USING (media, model, wording)"
    )


@cache
def _upsert_subjects(count: int) -> str:
    """Insert the key and time of use of each; where it exists, update an old time of use."""
    return (
        f"INSERT INTO answer_subject (media, model, wording, used) VALUES {_table(count, 4)}"
        " ON CONFLICT (media, model, wording)"
        f" DO UPDATE SET used = excluded.used WHERE used < excluded.used - {_USE_NOTED_S}"
    )


@cache
def _insert_answers(count: int) -> str:
    """Insert answers, each given by its subject's key and its columns but the number."""
    columns = (
        "look_ms, frame_s, form, max_side, quality, said, endpoint, served_by, prompt_tokens,"
        " answer_tokens, written"
    )
    return (
        f"WITH fresh (media, model, wording, {columns}) AS (VALUES {_table(count, 14)})"
        f" INSERT INTO answer SELECT NULL, id, {columns} FROM fresh"
        " CROSS JOIN answer_subject USING (media, model, wording)"
    )


def _prune(db: sqlite3.Connection, path: Path, max_bytes: int, now: float) -> None:
    """Delete the answers about videos not used for longest, each video as a whole.

    Nothing happens unless more than ``max_bytes`` are in use. Other tables in the file count, and
    stay. Each video is a transaction of its own.
    """
    if _used_bytes(db) <= max_bytes:
        return
    gone = 0
    unused = db.execute(
        "SELECT media FROM answer_subject GROUP BY media HAVING max(used) < ? ORDER BY max(used)",
        (now - _IN_USE_S,),
    )
    for (media,) in unused.fetchall():
        gone += _delete(db, media, now - _IN_USE_S)
        if _used_bytes(db) <= _PRUNED_TO * max_bytes:
            break
    else:
        _log.info(
            "%s: larger than set, since all that is left in it was used within the last hour.", path
        )
    if gone:
        # Plain ``execute`` would give back one page only.
        db.executescript("PRAGMA incremental_vacuum")
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


def _delete(db: sqlite3.Connection, media: str, before: float) -> bool:
    """Delete the answers about a video, unless another process used it meanwhile.

    Return whether they were deleted.
    """
    subjects = "(SELECT id FROM answer_subject WHERE media = ?)"
    with writing(db):
        newest = "SELECT max(used) < ? FROM answer_subject WHERE media = ?"
        if db.execute(newest, (before, media)).fetchone() != (1,):
            return False
        for table in OF_SUBJECT:
            db.execute(f"DELETE FROM {table} WHERE subject IN {subjects}", (media,))
        db.execute("DELETE FROM answer_subject WHERE media = ?", (media,))
    return True
