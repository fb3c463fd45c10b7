from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from vlm_engine.errors import StoreError
from vlm_engine.store import AnswerStore, StoredAnswer, Subject
from vlm_engine.types import Answer, Form, ImageShape, Verdict

SUBJECT = Subject("oshash:1", "model", "words")


def stored(look_ms: int, **verdicts: Verdict) -> StoredAnswer:
    answer = Answer(verdicts, '{"tags": ["Foul"]}', "model-q4", "gym", 700, 9)
    return StoredAnswer(look_ms, look_ms / 1000 + 0.01, Form.LIST, ImageShape(768, 85), answer)


def test_what_was_written_is_read_back_after_opening_again(tmp_path: Path) -> None:
    wanted = [
        stored(1000, Foul=Verdict(True, 0.875), Turnover=Verdict(False)),
        stored(2000, Foul=Verdict(False, 0.25)),
    ]
    with AnswerStore(tmp_path / "new folder" / "übung.sqlite3") as store:
        for one in wanted:
            store.add(SUBJECT, one)
    with AnswerStore(tmp_path / "new folder" / "übung.sqlite3") as store:
        assert store.answers(SUBJECT) == wanted


@pytest.mark.parametrize(
    "other",
    [
        Subject("oshash:2", "model", "words"),
        Subject("oshash:1", "other", "words"),
        Subject("oshash:1", "model", "other"),
    ],
)
def test_another_video_model_or_wording_knows_nothing_of_it(other: Subject) -> None:
    with AnswerStore(None) as store:
        store.add(SUBJECT, stored(1000, Foul=Verdict(True)))
        assert store.answers(other) == []
        assert len(store.answers(SUBJECT)) == 1


@pytest.mark.parametrize(
    ("verdicts", "raw"),
    [
        ({}, ""),
        (
            {"Foul": Verdict(False, 0.1 + 0.2), "Überzahl\n": Verdict(True, 5e-324)},
            "two\nlines \x00 and \ud83c half a letter",
        ),
        (
            {f"Play {n}": Verdict(n % 2 == 0, None if n % 3 else n / 300) for n in range(300)},
            "x" * 100_000,
        ),
    ],
)
def test_every_answer_comes_back_as_it_was(verdicts: dict[str, Verdict], raw: str) -> None:
    one = StoredAnswer(1, 1.0, Form.VERDICTS, ImageShape(), Answer(verdicts, raw, "m", "gym"))
    with AnswerStore(None) as store:
        store.add(SUBJECT, one)
        assert store.answers(SUBJECT) == [one]


@pytest.mark.parametrize("count", [1, 16, 17, 100])
def test_many_at_once_are_told_apart_and_keep_their_order(count: int) -> None:
    subjects = [Subject(f"md5:{number % 40}", "model", "words") for number in range(count)]
    rows = [
        (subject, stored(number, Foul=Verdict(True))) for number, subject in enumerate(subjects)
    ]
    with AnswerStore(None) as store:
        store.add_all(rows)
        store.add_all([])
        asked = [
            *subjects,
            Subject("md5:0", "model", "other words"),
            Subject("md5:none", "model", "words"),
        ]
        wanted = [[one for own, one in rows if own == subject] for subject in asked]
        assert store.answers_to(asked) == wanted
        assert store.answers_to([]) == []


def test_all_that_was_looked_up_counts_as_used(tmp_path: Path) -> None:
    now, path = [1000.0], tmp_path / "store.sqlite3"
    subjects = [Subject(f"md5:{number}", "model", "words") for number in range(40)]
    with AnswerStore(path, clock=lambda: now[0]) as store:
        store.add_all([(subject, stored(0, Foul=Verdict(True))) for subject in subjects])
        now[0] += 1000.0
        store.answers_to(subjects[:20])
        store.add_all([(subject, stored(1, Foul=Verdict(True))) for subject in subjects[20:30]])
    with closing(sqlite3.connect(path)) as db:
        used = [used for (used,) in db.execute("SELECT used FROM answer_subject ORDER BY id")]
    assert used == [2000.0] * 30 + [1000.0] * 10


def test_an_answer_survives_sigkill(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    script = f"""
import os, signal
from pathlib import Path
from vlm_engine.errors import StoreError
from vlm_engine.store import AnswerStore, StoredAnswer, Subject
from vlm_engine.types import Answer, Form, ImageShape, Verdict
store = AnswerStore(Path({str(path)!r}))
answer = Answer({{"Foul": Verdict(True)}}, "", "m", "e")
for n in range(50):
    store.add(Subject("oshash:1", "model", "words"), StoredAnswer(n, n, Form.LIST, ImageShape(), answer))
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[2], timeout=60, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    with AnswerStore(path) as store:
        assert len(store.answers(SUBJECT)) == 50


def test_answers_written_together_are_all_there_or_none() -> None:
    other = Subject("oshash:2", "model", "words")
    good, bad = stored(1000, Foul=Verdict(True)), stored(2000, Foul=Verdict(False))
    with AnswerStore(None) as store:
        store.add_all([(SUBJECT, good), (other, bad), (SUBJECT, bad)])
        assert store.answers_to([other, Subject("oshash:3", "model", "words"), SUBJECT]) == [
            [bad],
            [],
            [good, bad],
        ]
        with pytest.raises(StoreError):
            store.add_all([(other, good), (SUBJECT, replace(good, frame_s=None))])  # type: ignore[arg-type]
        assert store.answers(other) == [bad]


def test_several_threads_and_connections_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"

    def write(part: int) -> None:
        with AnswerStore(path) as store:
            for number in range(20):
                store.add(SUBJECT, stored(part * 1000 + number, Foul=Verdict(True)))

    threads = [threading.Thread(target=write, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    with AnswerStore(path) as store:
        assert len(store.answers(SUBJECT)) == 80
