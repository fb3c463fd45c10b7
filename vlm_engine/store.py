"""Every answer that was ever paid for, in one SQLite file: written before it is used, found again instead of asked again."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from vlm_engine.errors import StoreError
from vlm_engine.types import Answer, Form, ImageShape, Verdict

_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS answer_schema (version INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS answer (
    id INTEGER PRIMARY KEY,
    media TEXT NOT NULL,
    look_ms INTEGER NOT NULL,
    frame_s REAL NOT NULL,
    model TEXT NOT NULL,
    wording TEXT NOT NULL,
    form TEXT NOT NULL,
    max_side INTEGER NOT NULL,
    quality INTEGER NOT NULL,
    verdicts TEXT NOT NULL,
    raw TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    served_by TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    answer_tokens INTEGER NOT NULL,
    written REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS answer_by_media ON answer (media, model, wording);
"""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a set of stored answers is about: which video or picture, asked of which model, in which words."""

    media: str
    model: str
    wording: str


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """One answer as it was stored. ``look_ms``: the time asked for; ``frame_s``: the true time of the frame shown."""

    look_ms: int
    frame_s: float
    form: Form
    shape: ImageShape
    answer: Answer


class AnswerStore:
    """The answers in the file at ``path``, or in memory where there is none.

    Blocking and safe to use from several threads; several processes may share the file. What ``add`` has taken survives
    SIGKILL. Raises ``StoreError`` when the file cannot be used.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        with self._mapped_errors():
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path or ":memory:", timeout=30, check_same_thread=False, isolation_level=None)
            self._prepare()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_SCHEMA)
        row = self._db.execute("SELECT version FROM answer_schema").fetchone()
        if row is None:
            self._db.execute("INSERT INTO answer_schema SELECT ? WHERE NOT EXISTS (SELECT 1 FROM answer_schema)", (_VERSION,))
        elif row[0] != _VERSION:
            self._db.close()
            raise StoreError(f"{self._path}: written by another version (its schema is {row[0]}, this one reads {_VERSION})")

    def add(self, subject: Subject, stored: StoredAnswer) -> None:
        """Writes one answer. Back from here, it is safe."""
        answer = stored.answer
        verdicts = {tag: [verdict.present, verdict.probability] for tag, verdict in answer.verdicts.items()}
        row = (
            subject.media,
            stored.look_ms,
            stored.frame_s,
            subject.model,
            subject.wording,
            str(stored.form),
            stored.shape.max_side,
            stored.shape.quality,
            json.dumps(verdicts, ensure_ascii=False, separators=(",", ":")),
            answer.raw,
            answer.endpoint,
            answer.model,
            answer.prompt_tokens,
            answer.answer_tokens,
            time.time(),
        )
        with self._lock, self._mapped_errors():
            self._db.execute(f"INSERT INTO answer VALUES (NULL{', ?' * len(row)})", row)

    def answers(self, subject: Subject) -> list[StoredAnswer]:
        """All answers about ``subject``, oldest first."""
        with self._lock, self._mapped_errors():
            rows = self._db.execute(
                "SELECT look_ms, frame_s, form, max_side, quality, verdicts, raw, served_by, endpoint, prompt_tokens,"
                " answer_tokens FROM answer WHERE media = ? AND model = ? AND wording = ? ORDER BY id",
                (subject.media, subject.model, subject.wording),
            ).fetchall()
        return [_stored(row) for row in rows]

    def close(self) -> None:
        """Closes the file. The store cannot be used afterwards."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _mapped_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            remedy = "is the folder writable, and is there room on the disk?"
            raise StoreError(f"answer store {self._path}: {error}; {remedy}") from error


def _stored(row: tuple[int, float, str, int, int, str, str, str, str, int, int]) -> StoredAnswer:
    look_ms, frame_s, form, max_side, quality, verdicts, raw, model, endpoint, prompt_tokens, answer_tokens = row
    said = {tag: Verdict(present, probability) for tag, (present, probability) in json.loads(verdicts).items()}
    answer = Answer(said, raw, model, endpoint, prompt_tokens, answer_tokens)
    return StoredAnswer(look_ms, frame_s, Form(form), ImageShape(max_side, quality), answer)
