"""Files of older versions become files of this one, wholly or not at all."""

from __future__ import annotations

import json
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.engine.stores import process, subject
from vlm_engine.errors import StoreError
from vlm_engine.store import AnswerStore, StoredAnswer, StoredSearch
from vlm_engine.store.schema import packed
from vlm_engine.types import Answer, Form, ImageShape, Verdict

VERSION_1 = """
CREATE TABLE IF NOT EXISTS answer_schema (version INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS answer (
    id INTEGER PRIMARY KEY, media TEXT NOT NULL, look_ms INTEGER NOT NULL, frame_s REAL NOT NULL,
    model TEXT NOT NULL, wording TEXT NOT NULL, form TEXT NOT NULL, max_side INTEGER NOT NULL,
    quality INTEGER NOT NULL, verdicts TEXT NOT NULL, raw TEXT NOT NULL, endpoint TEXT NOT NULL,
    served_by TEXT NOT NULL, prompt_tokens INTEGER NOT NULL, answer_tokens INTEGER NOT NULL,
    written REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS answer_by_media ON answer (media, model, wording);
"""
OPENER = """
import sys
from pathlib import Path
from vlm_engine.store import AnswerStore
AnswerStore(Path(sys.argv[1])).close()
"""
KILLED = """
import os, signal
from vlm_engine.store import schema
left, pack = [150], schema.packed
def packed(*said):
    left[0] -= 1
    return pack(*said) if left[0] else os.kill(os.getpid(), signal.SIGKILL)
schema.packed = packed
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite3"


def stored(look_ms: int) -> StoredAnswer:
    verdicts = {"Free throw": Verdict(True, 0.1 + look_ms / 7e6), "Überzahl": Verdict(False)}
    answer = Answer(verdicts, '{"tags": ["Free throw"]}\nand more', "model-q4", "gym", 700, 9)
    return StoredAnswer(look_ms, look_ms / 1000 + 0.01, Form.VERDICTS, ImageShape(768, 85), answer)


def row(number: int) -> tuple[object, ...]:
    """An answer about one of three videos, as version 1 wrote it."""
    one = stored(number)
    said = {tag: [each.present, each.probability] for tag, each in one.answer.verdicts.items()}
    return (
        *(f"oshash:{number % 3}", one.look_ms, one.frame_s, "model", "words", "verdicts", 768, 85),
        json.dumps(said, ensure_ascii=False, separators=(",", ":")),
        *(one.answer.raw, "gym", "model-q4", 700, 9, 1_700_000_000.0 + number),
    )


def version_1(path: Path, answers: int = 20, *, says_so: bool = True) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(VERSION_1)
        if says_so:
            db.execute("INSERT INTO answer_schema VALUES (1)")
        marks = f"NULL{', ?' * len(row(0))}"
        db.executemany(f"INSERT INTO answer VALUES ({marks})", map(row, range(answers)))


@pytest.mark.parametrize("says_so", [True, False])
def test_a_file_of_version_1_keeps_every_answer(path, says_so):
    version_1(path, says_so=says_so)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE journal_schema (version)")
        db.execute("INSERT INTO journal_schema VALUES (7)")
    for _ in range(2):
        with AnswerStore(path) as store:
            for video in range(3):
                assert store.answers(subject(video)) == [stored(n) for n in range(video, 20, 3)]
    with AnswerStore(path) as store:
        store.add(subject(0), stored(99))
        assert store.answers(subject(0))[-1] == stored(99)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT version FROM answer_schema").fetchall() == [(4,)]
        assert db.execute("SELECT version FROM journal_schema").fetchall() == [(7,)]


def test_a_new_file_and_an_old_one_end_with_the_same_tables(tmp_path):
    version_1(tmp_path / "old.sqlite3")
    found = []
    for name in ("old.sqlite3", "new.sqlite3"):
        AnswerStore(tmp_path / name).close()
        with closing(sqlite3.connect(tmp_path / name)) as db:
            everything = "SELECT type, name, sql FROM sqlite_master WHERE sql NOT NULL"
            found.append(sorted(db.execute(everything)))
    assert found[0] == found[1]


def test_two_processes_may_find_an_old_file_at_once(path):
    version_1(path, 3000)
    both = [process(OPENER, path) for _ in range(2)]
    assert [each.communicate(timeout=60) and each.returncode for each in both] == [0, 0]
    with AnswerStore(path) as store:
        assert len(store.answers(subject(0))) == 1000


def test_a_kill_in_the_middle_leaves_the_old_file_or_the_new_one(path):
    """The child kills itself while the rows are copied."""
    version_1(path, 300)
    with process(KILLED + OPENER, path) as child:
        assert child.wait(60) == -signal.SIGKILL
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT version FROM answer_schema").fetchall() == [(1,)]
        assert db.execute("SELECT count(*) FROM answer").fetchall() == [(300,)]
    with AnswerStore(path) as store:
        assert sum(len(store.answers(subject(video))) for video in range(3)) == 300


def test_a_newer_version_is_refused_and_left_as_it_is(path):
    AnswerStore(path).close()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE answer_schema SET version = 99")
    data = path.read_bytes()
    complaint = r"store\.sqlite3: a newer version .* wrote it .*version 99, this one knows 4\)"
    with pytest.raises(StoreError, match=f"{complaint}. Update this program, or move the file"):
        AnswerStore(path)
    assert path.read_bytes() == data


VERSION_2 = """
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
CREATE TABLE answer_schema (version INTEGER NOT NULL);
INSERT INTO answer_schema VALUES (2);
INSERT INTO answer_subject VALUES (7, 'oshash:1', 'model', 'words', 1.0);
INSERT INTO answer_search VALUES (1, 7, '["Foul"]', 'settings');
"""


def test_a_file_of_version_2_keeps_answers_and_searches(path, tmp_path):
    AnswerStore(tmp_path / "new.sqlite3").close()
    one = stored(500)
    said = packed(one.answer.verdicts, one.answer.raw)
    with closing(sqlite3.connect(path)) as db, db:
        db.executescript(VERSION_2)
        written = (500, one.frame_s, "verdicts", 768, 85, said, "gym", "model-q4", 700, 9, 1.0)
        db.execute(f"INSERT INTO answer VALUES (NULL, 7{', ?' * len(written)})", written)
    for _ in range(2):
        with AnswerStore(path) as store:
            assert store.answers(subject(1)) == [one]
            assert store.searches(subject(1)) == [StoredSearch(("Foul",), "settings")]
            assert store.terms(subject(1), "settings") == []
    names = "SELECT name, sql FROM sqlite_master WHERE sql NOT NULL ORDER BY name"
    with (
        closing(sqlite3.connect(path)) as old,
        closing(sqlite3.connect(tmp_path / "new.sqlite3")) as new,
    ):
        assert [name for name, _ in old.execute(names)] == [name for name, _ in new.execute(names)]
