"""The answers, in and out."""

from __future__ import annotations

import json
import logging
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from vlm_engine.store.faults import explained, readable
from vlm_engine.store.lock import SharedLock
from vlm_engine.store.pruning import prune
from vlm_engine.store.records import StoredAnswer, StoredSearch, Subject, packed, unpacked
from vlm_engine.store.schema import prepare, writing
from vlm_engine.store.statements import (
    insert_answers,
    lots,
    select_subjects,
    update_subjects,
    upsert_subjects,
)
from vlm_engine.types import Answer, Form, ImageShape

_log = logging.getLogger(__name__)
_USE_NOTED_S = 60.0
_PRUNED_AFTER = 500
_FORMS = {str(form): form for form in Form}
_shape = lru_cache(ImageShape)  # thousands of answers have the same few


class AnswerStore:
    """The answers in the file at ``path``, or in memory where there is none.

    Blocking and safe to use from several threads; several processes may share the file. What ``add`` has taken survives
    SIGKILL. A file that grows beyond ``max_bytes`` loses the answers about videos that were not used for longest, but
    none of the last hour. ``busy_s``: how long to wait for a lock. ``clock``: seconds since 1970.

    A damaged file is set aside, and what can be read of it is kept. Raises ``StoreError`` when the file cannot be used.
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
        self._lock = threading.Lock()
        self._added = 0
        self._busy_tenths = -1
        with ExitStack() as opening:
            self._hold = SharedLock(path, busy_s=busy_s) if path else None
            if self._hold:
                opening.callback(self._hold.release)
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
        """Closes the file. The store cannot be used afterwards; closing twice does nothing."""
        with self._lock:
            self._open.close()

    def add(self, subject: Subject, stored: StoredAnswer) -> None:
        """Writes one answer. Back from here, it is safe."""
        self.add_all([(subject, stored)])

    def add_all(self, answers: Sequence[tuple[Subject, StoredAnswer]]) -> None:
        """Writes all of them, or none. Back from here, they are safe."""
        rows = [(*_key(subject), *self._row(stored)) for subject, stored in answers]
        with self._using(), writing(self._db):
            self._use([subject for subject, _ in answers])
            for lot in lots(rows):
                self._db.execute(insert_answers(len(lot)), [value for row in lot for value in row])
        before, self._added = self._added, self._added + len(rows)
        if self._added // _PRUNED_AFTER > before // _PRUNED_AFTER:
            with self._using():
                self._prune()

    def _row(self, stored: StoredAnswer) -> tuple[Any, ...]:
        answer, shape = stored.answer, stored.shape
        look = stored.look_ms, stored.frame_s, str(stored.form), shape.max_side, shape.quality
        told = answer.endpoint, answer.model, answer.prompt_tokens, answer.answer_tokens
        return *look, packed(answer.verdicts, answer.raw), *told, self._clock()

    def answers(self, subject: Subject) -> list[StoredAnswer]:
        """All answers about ``subject``, oldest first."""
        (found,) = self.answers_to([subject])
        return found

    def answers_to(self, subjects: Sequence[Subject]) -> list[list[StoredAnswer]]:
        """The same for several at once."""
        with self._using():
            numbers = self._known(subjects)
            rows = [
                self._rows(numbers[subject]) if subject in numbers else [] for subject in subjects
            ]
        return [self._read(own) for own in rows]

    def _rows(self, number: int) -> list[tuple[Any, ...]]:
        return self._db.execute(
            "SELECT look_ms, frame_s, form, max_side, quality, said, served_by, endpoint, prompt_tokens, answer_tokens"
            " FROM answer WHERE subject = ? ORDER BY id",
            (number,),
        ).fetchall()

    def _read(self, rows: Sequence[tuple[Any, ...]]) -> list[StoredAnswer]:
        stored = [one for one in map(_stored, rows) if one is not None]
        if len(stored) < len(rows):
            _log.warning(
                "%s: %d answers cannot be read any more; they are asked for again.",
                self._path,
                len(rows) - len(stored),
            )
        return stored

    def searches(self, subject: Subject) -> list[StoredSearch]:
        """The searches about ``subject`` that came to their end, oldest first."""
        with self._using():
            number = self._known([subject]).get(subject)
            rows = self._db.execute(
                "SELECT tags, settings FROM answer_search WHERE subject = ? ORDER BY id", (number,)
            ).fetchall()
        return [StoredSearch(tuple(json.loads(tags)), settings) for tags, settings in rows]

    def add_search(self, subject: Subject, search: StoredSearch) -> None:
        """This search came to its end. The same one again changes nothing."""
        tags = json.dumps(search.tags, ensure_ascii=False)
        where = "subject = ? AND tags = ? AND settings = ?"
        with self._using(), writing(self._db):
            self._use([subject])
            row = (self._known([subject])[subject], tags, search.settings)
            if (
                self._db.execute(f"SELECT 1 FROM answer_search WHERE {where}", row).fetchone()
                is None
            ):
                self._db.execute("INSERT INTO answer_search VALUES (NULL, ?, ?, ?)", row)

    def _prepare(self) -> None:
        prepare(self._db, self._path)
        if self._db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            self._db.execute("PRAGMA journal_mode = WAL")
        # A power cut may cost what the disk had not yet written, but no write to Stash follows before it has: the journal
        # waits for the disk, and this log of changes is the journal's too.
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._prune()

    def _prune(self) -> None:
        if self._path is not None and self._max_bytes is not None:
            prune(self._db, self._path, self._max_bytes, self._clock())

    def _known(self, subjects: Sequence[Subject]) -> dict[Subject, int]:
        """The numbers of those about which something was ever stored, noting their use."""
        numbers, stale, now = dict[Subject, int](), list[int](), self._clock()
        for lot in lots(subjects):
            keys = [value for subject in lot for value in _key(subject)]
            for number, used, *key in self._db.execute(select_subjects(len(lot)), keys).fetchall():
                numbers[Subject(*key)] = number
                if used < now - _USE_NOTED_S:
                    stale.append(number)
        for own in lots(stale):
            self._db.execute(update_subjects(len(own)), (now, *own))
        return numbers

    def _use(self, subjects: Sequence[Subject]) -> None:
        """Notes their use; those get a number that have none."""
        now = self._clock()
        for lot in lots(list(dict.fromkeys(subjects))):
            values = [value for subject in lot for value in (*_key(subject), now)]
            self._db.execute(upsert_subjects(len(lot), _USE_NOTED_S), values)

    @contextmanager
    def _using(self) -> Iterator[None]:
        # Calls that wait for one another wait for somebody else's lock together, not one after the other.
        deadline = time.monotonic() + self._busy_s
        with self._lock, self._hold.using() if self._hold else explained(None):
            self._wait_at_most(deadline - time.monotonic())
            yield

    def _wait_at_most(self, left_s: float) -> None:
        tenths = max(0, math.ceil(10 * left_s))
        if tenths != self._busy_tenths:
            self._db.execute(f"PRAGMA busy_timeout = {100 * tenths}")
            self._busy_tenths = tenths


def _key(subject: Subject) -> tuple[str, str, str]:
    return subject.media, subject.model, subject.wording


def _stored(row: tuple[Any, ...]) -> StoredAnswer | None:
    """None where the row is not what was written: bytes rot, and rot is no answer."""
    (
        look_ms,
        frame_s,
        form,
        max_side,
        quality,
        said,
        model,
        endpoint,
        prompt_tokens,
        answer_tokens,
    ) = row
    try:
        verdicts, raw = unpacked(said)
        answer = Answer(verdicts, raw, model, endpoint, prompt_tokens, answer_tokens)
        return StoredAnswer(look_ms, frame_s, _FORMS[form], _shape(max_side, quality), answer)
    except (ValueError, TypeError, KeyError):
        return None
