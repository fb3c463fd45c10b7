"""SIGKILL, as Stash stops a task: at any moment, and the store has every answer that it took."""

from __future__ import annotations

import random
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.engine.stores import WRITER, output, process, stored, subject
from vlm_engine.store import AnswerStore


def killed_after(path: Path, number: int, seconds: float) -> int:
    """Start a writer, kill it, and return how many answers it was told are safe."""
    with process(WRITER, path, number) as writer:
        taken = [output(writer).readline()]
        time.sleep(seconds)
        writer.send_signal(signal.SIGKILL)
        taken += output(writer).readlines()
        assert writer.wait(30) == -signal.SIGKILL
    whole = [line for line in taken if line.endswith("\n")]
    assert whole == [f"{n}\n" for n in range(len(whole))]
    return len(whole)


def read(path: Path, number: int) -> list[int]:
    with AnswerStore(path) as store:
        return [answer.look_ms for answer in store.answers(subject(number))]


def test_after_a_kill_at_any_moment_every_stored_answer_is_there(tmp_path):
    path, rng = tmp_path / "store.sqlite3", random.Random(6)
    for attempt in range(3):
        taken = killed_after(path, attempt, rng.uniform(0, 0.3))
        found = read(path, attempt)
        assert found == list(range(len(found)))
        assert taken <= len(found) <= taken + 2  # one may have been stored before it could be told
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert not list(tmp_path.glob("*.damaged-*"))


def test_a_kill_while_others_write_costs_the_others_nothing(tmp_path):
    path = tmp_path / "store.sqlite3"
    with AnswerStore(path) as store, process(WRITER, path, 1) as writer:
        assert output(writer).readline() == "0\n"
        for n in range(200):
            store.add(subject(2), stored(n, ""))
            if n == 100:
                writer.kill()
        output(writer).read()
        assert len(store.answers(subject(2))) == 200
    assert len(read(path, 1)) >= 1


OPENER = """
import sys
from pathlib import Path
from vlm_engine.store import AnswerStore
print("ready", flush=True)
AnswerStore(Path(sys.argv[1]))
"""


@pytest.mark.parametrize(
    "seconds",
    [0.05, *(pytest.param(seconds, marks=pytest.mark.thorough) for seconds in (0.0, 0.1))],
)
def test_a_kill_during_a_repair_loses_nothing_more(tmp_path, seconds):
    path = tmp_path / "store.sqlite3"
    with AnswerStore(path) as store:
        store.add_all([(subject(1), stored(n, f"reply {n}")) for n in range(3000)])
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 4096 * 4096)
        file.write(b"\xff" * 4096)
    with process(OPENER, path) as opener:
        assert output(opener).readline() == "ready\n"
        time.sleep(seconds)
        opener.kill()
    assert len(read(path, 1)) > 2800
    assert len(list(tmp_path.glob("*.damaged-*"))) == 1
