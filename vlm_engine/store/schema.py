"""The stored values, their tables, and the migration of older tables.

Other tables in the same file have versions of their own, so each part migrates alone.
"""

from __future__ import annotations

import json
import math
import sqlite3
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from vlm_engine.errors import StoreError
from vlm_engine.types import Answer, Form, ImageShape, Verdict

VERSION = 4

_TABLES = """
CREATE TABLE answer_subject (
    id INTEGER PRIMARY KEY, media TEXT NOT NULL, model TEXT NOT NULL, wording TEXT NOT NULL,
    used REAL NOT NULL, UNIQUE (media, model, wording)
);
CREATE TABLE answer (
    id INTEGER PRIMARY KEY, subject INTEGER NOT NULL REFERENCES answer_subject,
    look_ms INTEGER NOT NULL, frame_s REAL NOT NULL, form TEXT NOT NULL, max_side INTEGER NOT NULL,
    quality INTEGER NOT NULL, said BLOB NOT NULL, endpoint TEXT NOT NULL, served_by TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, answer_tokens INTEGER NOT NULL, written REAL NOT NULL
);
CREATE INDEX answer_by_subject ON answer (subject);
CREATE TABLE answer_search (
    id INTEGER PRIMARY KEY, subject INTEGER NOT NULL REFERENCES answer_subject,
    tags TEXT NOT NULL, settings TEXT NOT NULL
);
CREATE INDEX answer_search_by_subject ON answer_search (subject);
CREATE TABLE answer_terms (
    id INTEGER PRIMARY KEY, subject INTEGER NOT NULL REFERENCES answer_subject,
    settings TEXT NOT NULL, terms TEXT NOT NULL
);
CREATE INDEX answer_terms_by_subject ON answer_terms (subject);
CREATE TABLE answer_pair (
    id INTEGER PRIMARY KEY, model TEXT NOT NULL, wording TEXT NOT NULL, compared TEXT NOT NULL,
    tag TEXT NOT NULL, expected INTEGER NOT NULL, frames INTEGER NOT NULL, both INTEGER NOT NULL,
    only_usual INTEGER NOT NULL, only_other INTEGER NOT NULL,
    UNIQUE (model, wording, compared, tag, expected)
);
CREATE TABLE answer_style (
    id INTEGER PRIMARY KEY, model TEXT NOT NULL, wording TEXT NOT NULL, tags TEXT NOT NULL,
    style TEXT NOT NULL,
    UNIQUE (model, wording, tags)
);
CREATE TABLE answer_screening (
    id INTEGER PRIMARY KEY, endpoint TEXT NOT NULL UNIQUE, outcome TEXT NOT NULL,
    written REAL NOT NULL
)
"""

OF_SUBJECT = ("answer", "answer_search", "answer_terms")
"""Tables whose rows belong to a subject, and go with it."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The subject of stored answers: a video or picture, the model, and the words."""

    cache_key: str
    model: str
    wording: str


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """One answer as it was stored.

    ``look_ms``: the time asked for; ``frame_s``: the true time of the frame.
    """

    look_ms: int
    frame_s: float
    form: Form
    shape: ImageShape
    answer: Answer


@dataclass(frozen=True, slots=True)
class StoredSearch:
    """A finished search: the tags that were searched for together, and a name for its settings."""

    tags: tuple[str, ...]
    settings: str


@dataclass(frozen=True, slots=True)
class PairCounts:
    """Counts of frames on which a model was asked about a tag in two styles: all of them, and those
    on which both styles saw it, only the usual one, only the other.
    """

    frames: int = 0
    both: int = 0
    only_usual: int = 0
    only_other: int = 0


@dataclass(frozen=True, slots=True)
class TagPairs:
    """Pairs of answers about one tag: ``expected`` on frames beside one that shows it, where it is
    probably there, and ``unexpected`` on all others.
    """

    expected: PairCounts = field(default_factory=PairCounts)
    unexpected: PairCounts = field(default_factory=PairCounts)

    @property
    def frames(self) -> int:
        """Number of frames that were compared."""
        return self.expected.frames + self.unexpected.frames

    @property
    def seen_usual(self) -> int:
        """Number of frames on which the usual style saw it."""
        return sum(one.both + one.only_usual for one in (self.expected, self.unexpected))

    @property
    def seen_other(self) -> int:
        """Number of frames on which the other style saw it."""
        return sum(one.both + one.only_other for one in (self.expected, self.unexpected))

    @property
    def missed(self) -> int:
        """Number of frames on which only the other style saw it."""
        return self.expected.only_other + self.unexpected.only_other


@dataclass(frozen=True, slots=True)
class PairKey:
    """Name of what is counted together: a tag, the two styles that were compared, and whether the
    tag was to be expected on the frames.
    """

    compared: str
    tag: str
    expected: bool


def packed(verdicts: Mapping[str, Verdict], raw: str) -> bytes:
    """Return verdicts and raw reply compressed together, because they share the names of the tags.

    The format is a line with the tags as JSON, a byte and a double for each tag (presence and
    probability; NaN: none), and the reply.
    """
    tags = json.dumps([*verdicts], ensure_ascii=False)
    numbers = (
        number
        for verdict in verdicts.values()
        for number in (
            verdict.present,
            math.nan if verdict.probability is None else verdict.probability,
        )
    )
    return zlib.compress(
        _encoded(f"{tags}\n") + _layout(len(verdicts)).pack(*numbers) + _encoded(raw)
    )


def unpacked(said: bytes) -> tuple[dict[str, Verdict], str]:
    """Return the verdicts and the raw reply.

    Raise ``ValueError`` when these are not the bytes that were stored.
    """
    try:
        tags, _, rest = zlib.decompress(said).partition(b"\n")
        names = _names(tags)
        layout = _layout(len(names))
        numbers = layout.unpack_from(rest)
    except (zlib.error, struct.error) as error:
        raise ValueError(str(error)) from error
    probabilities = (None if math.isnan(number) else number for number in numbers[1::2])
    verdicts = dict(zip(names, map(Verdict, numbers[::2], probabilities), strict=True))
    return verdicts, rest[layout.size :].decode("utf-8", "surrogatepass")


def _encoded(text: str) -> bytes:
    # A reply may hold halves of characters: JSON lets a server write them.
    return text.encode("utf-8", "surrogatepass")


# Thousands of answers are about the same tags.
@lru_cache
def _names(tags: bytes) -> tuple[str, ...]:
    return tuple(json.loads(tags.decode("utf-8", "surrogatepass")))


@lru_cache
def _layout(tags: int) -> struct.Struct:
    return struct.Struct("<" + "?d" * tags)


@contextmanager
def writing(db: sqlite3.Connection) -> Iterator[None]:
    """Run the block in one transaction: all that it writes is stored, or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        # After some errors SQLite has rolled back by itself.
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def prepare(db: sqlite3.Connection, path: Path | None) -> None:
    """Make the tables those of this version.

    Raise ``StoreError``, and change nothing, where a newer version wrote them.
    """
    if _version(db, path) == VERSION:
        return
    with writing(db):
        version = _version(db, path)
        if version is None:
            _make_tables(db)
        elif version == 1:
            _migrate_from_1(db)
        else:
            _make_tables(db)  # versions 2 and 3 had some of them, as they are now
        db.execute("CREATE TABLE IF NOT EXISTS answer_schema (version INTEGER NOT NULL)")
        db.execute("DELETE FROM answer_schema")
        db.execute("INSERT INTO answer_schema VALUES (?)", (VERSION,))


def _version(db: sqlite3.Connection, path: Path | None) -> int | None:
    """Return the version of the tables; None where there are none.

    It is guessed where the file does not say: version 1 could be killed before it said so, and
    damage may have taken that row.
    """
    tables = _tables(db)
    if "answer_schema" in tables:
        row = db.execute("SELECT version FROM answer_schema").fetchone()
        if row is not None and row[0] > VERSION:
            raise StoreError(
                f"database {path}: a newer version of this program wrote it (its tables are"
                f" version {row[0]}, this one knows {VERSION}). Update this program,"
                " or move the file away to begin a new one"
            )
        if row is not None:
            return int(row[0])
    if "answer_subject" in tables:
        return 2
    return 1 if "answer" in tables else None


def _tables(db: sqlite3.Connection) -> set[str]:
    return {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def drop_orphans(db: sqlite3.Connection) -> None:
    """Delete rows whose subject was lost: its number would go to the next subject."""
    tables = _tables(db)
    for table in tables & set(OF_SUBJECT) if "answer_subject" in tables else ():
        db.execute(f"DELETE FROM {table} WHERE subject NOT IN (SELECT id FROM answer_subject)")


def _make_tables(db: sqlite3.Connection) -> None:
    there = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
    for statement in _TABLES.split(";"):
        if statement.split()[2] not in there:
            db.execute(statement)


def _migrate_from_1(db: sqlite3.Connection) -> None:
    """Version 1 repeated the subject in every row, and kept verdicts and reply as plain text."""

    def pack(verdicts: str, raw: str) -> bytes:
        return packed({tag: Verdict(*pair) for tag, pair in json.loads(verdicts).items()}, raw)

    db.create_function("packed", 2, pack, deterministic=True)
    db.execute("DROP INDEX IF EXISTS answer_by_media")
    db.execute("ALTER TABLE answer RENAME TO answer_1")
    _make_tables(db)
    db.execute(
        "INSERT INTO answer_subject (media, model, wording, used)"
        " SELECT media, model, wording, max(written) FROM answer_1 GROUP BY media, model, wording"
    )
    db.execute(
        "INSERT INTO answer SELECT old.id, answer_subject.id, look_ms, frame_s, form, max_side,"
        " quality, packed(verdicts, raw), endpoint, served_by, prompt_tokens, answer_tokens,"
        " written"
        " FROM answer_1 AS old JOIN answer_subject USING (media, model, wording) ORDER BY old.id"
    )
    db.execute("DROP TABLE answer_1")
