"""Files of older versions become files of this one, wholly or not at all."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from vlm_engine.errors import StoreError
from vlm_engine.store import AnswerStore, StoredAnswer, Subject
from vlm_engine.types import Answer, Form, ImageShape, Verdict

ROOT = Path(__file__).parents[2]
VERSION_1 = """
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


def subject(number: int) -> Subject:
    return Subject(f"oshash:{number}", "model", "words")


def stored(look_ms: int) -> StoredAnswer:
    verdicts = {"Free throw": Verdict(True, 0.1 + look_ms / 7e6), "Überzahl": Verdict(False)}
    answer = Answer(verdicts, '{"tags": ["Free throw"]}\nand more', "model-q4", "gym", 700, 9)
    return StoredAnswer(look_ms, look_ms / 1000 + 0.01, Form.VERDICTS, ImageShape(768, 85), answer)


def version_1(path: Path, answers: int = 20, *, says_so: bool = True) -> None:
    """A file as version 1 left it: three videos in turn."""
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(VERSION_1)
        if says_so:
            db.execute("INSERT INTO answer_schema VALUES (1)")
        for n in range(answers):
            one, about = stored(n), subject(n % 3)
            said = {
                tag: [verdict.present, verdict.probability]
                for tag, verdict in one.answer.verdicts.items()
            }
            verdicts = json.dumps(said, ensure_ascii=False, separators=(",", ":"))
            shape, tokens = (
                (one.shape.max_side, one.shape.quality),
                (one.answer.prompt_tokens, one.answer.answer_tokens),
            )
            heading = (
                about.cache_key,
                one.look_ms,
                one.frame_s,
                about.model,
                about.wording,
                str(one.form),
                *shape,
            )
            row = (
                *heading,
                verdicts,
                one.answer.raw,
                one.answer.endpoint,
                one.answer.model,
                *tokens,
                1_700_000_000.0 + n,
            )
            db.execute(f"INSERT INTO answer VALUES (NULL{', ?' * len(row)})", row)


@pytest.mark.parametrize("says_so", [True, False])
def test_a_file_of_version_1_keeps_every_answer(tmp_path: Path, says_so: bool) -> None:
    path = tmp_path / "store.sqlite3"
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
        assert db.execute("SELECT version FROM answer_schema").fetchall() == [(2,)]
        assert db.execute("SELECT version FROM journal_schema").fetchall() == [(7,)]
        assert (
            db.execute("SELECT name FROM sqlite_master WHERE name = 'answer_1'").fetchone() is None
        )


def test_a_new_file_and_an_old_one_end_with_the_same_tables(tmp_path: Path) -> None:
    version_1(tmp_path / "old.sqlite3")
    found = []
    for name in ("old.sqlite3", "new.sqlite3"):
        AnswerStore(tmp_path / name).close()
        with closing(sqlite3.connect(tmp_path / name)) as db:
            found.append(
                sorted(
                    row
                    for row in db.execute(
                        "SELECT type, name, sql FROM sqlite_master WHERE sql NOT NULL"
                    )
                )
            )
    assert found[0] == found[1]


def test_two_processes_that_find_an_old_file_at_once_both_get_on_with_it(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    version_1(path, 3000)
    script = f"from pathlib import Path\nfrom vlm_engine.store import AnswerStore\nAnswerStore(Path({str(path)!r})).close()"
    both = [subprocess.Popen([sys.executable, "-c", script], cwd=ROOT) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    with AnswerStore(path) as store:
        assert len(store.answers(subject(0))) == 1000


def test_a_kill_in_the_middle_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    """The child kills itself while the rows are copied."""
    path = tmp_path / "store.sqlite3"
    version_1(path, 300)
    script = f"""
import os, signal
from pathlib import Path
from vlm_engine.store import AnswerStore, schema
left = [150]
pack = schema.packed
def packed(*said):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return pack(*said)
schema.packed = packed
AnswerStore(Path({str(path)!r}))
"""
    assert (
        subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=60, check=False).returncode
        == -signal.SIGKILL
    )
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT version FROM answer_schema").fetchall() == [(1,)]
        assert db.execute("SELECT count(*) FROM answer").fetchall() == [(300,)]
    with AnswerStore(path) as store:
        assert sum(len(store.answers(subject(video))) for video in range(3)) == 300


def test_a_file_of_version_99_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    version_1(path)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE answer_schema SET version = 99")
    with pytest.raises(
        StoreError,
        match=r"version 99, this one knows 2\)\. Update this program, or move the file away",
    ):
        AnswerStore(path)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM answer").fetchall() == [(20,)]
