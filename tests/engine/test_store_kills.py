"""SIGKILL, the way Stash stops a task: at any moment, and the store has every answer that ``add`` took."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from vlm_engine.store import AnswerStore, StoredAnswer, Subject
from vlm_engine.types import Answer, Form, ImageShape, Verdict

ROOT = Path(__file__).parents[2]
WRITER = """
import sys
from pathlib import Path
from vlm_engine.store import AnswerStore, StoredAnswer, Subject
from vlm_engine.types import Answer, Form, ImageShape, Verdict
with AnswerStore(Path(sys.argv[1]), max_bytes=int(sys.argv[3]) or None) as store:
    for n in range(1_000_000):
        answer = Answer({"Corner kick": Verdict(True)}, f"reply {n}", "m", "gym")
        store.add(Subject(f"oshash:{sys.argv[2]}", "model", "words"), StoredAnswer(n, n, Form.LIST, ImageShape(), answer))
        print(n, flush=True)
"""


def killed_after(path: Path, name: str, seconds: float, max_bytes: int = 0) -> int:
    """Starts a writer, kills it, and returns how many answers it was told are safe."""
    command = [sys.executable, "-c", WRITER, str(path), name, str(max_bytes)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        taken = [writer.stdout.readline()]
        time.sleep(seconds)
        writer.send_signal(signal.SIGKILL)
        taken += writer.stdout.readlines()
        assert writer.wait(30) == -signal.SIGKILL
    whole = [line for line in taken if line.endswith("\n")]
    assert whole == [f"{n}\n" for n in range(len(whole))]
    return len(whole)


def read(path: Path, name: str) -> list[int]:
    with AnswerStore(path) as store:
        return [one.look_ms for one in store.answers(Subject(f"oshash:{name}", "model", "words"))]


def test_whenever_the_kill_comes_what_was_taken_is_there_and_the_file_is_sound(
    tmp_path: Path,
) -> None:
    path, rng = tmp_path / "store.sqlite3", random.Random(6)
    for attempt in range(5):
        taken = killed_after(path, str(attempt), rng.uniform(0, 0.3))
        found = read(path, str(attempt))
        assert found == list(range(len(found)))
        assert taken <= len(found) <= taken + 2  # one may have been stored before it could be told
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert not list(tmp_path.glob("*.damaged-*"))


def test_a_kill_while_others_write_costs_the_others_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    with AnswerStore(path) as store:
        command = [sys.executable, "-c", WRITER, str(path), "other", "0"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout
            assert writer.stdout.readline() == "0\n"
            for n in range(200):
                answer = Answer({"Goal": Verdict(False)}, "", "m", "gym")
                store.add(
                    Subject("oshash:own", "model", "words"),
                    StoredAnswer(n, n, Form.LIST, ImageShape(), answer),
                )
                if n == 100:
                    writer.kill()
            writer.stdout.read()
        assert len(store.answers(Subject("oshash:own", "model", "words"))) == 200
    assert len(read(path, "other")) >= 1


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.1])
def test_a_kill_while_a_damaged_file_is_mended_loses_nothing_more(
    tmp_path: Path, seconds: float
) -> None:
    path = tmp_path / "store.sqlite3"
    with AnswerStore(path) as store:
        for n in range(3000):
            answer = Answer({"Goal": Verdict(False)}, f"reply {n}", "m", "gym")
            store.add(
                Subject("oshash:1", "model", "words"),
                StoredAnswer(n, n, Form.LIST, ImageShape(), answer),
            )
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 4096 * 4096)
        file.write(b"\xff" * 4096)
    script = f"""
from pathlib import Path
from vlm_engine.store import AnswerStore
print("ready", flush=True)
AnswerStore(Path({str(path)!r}))
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as mender:
        assert mender.stdout
        assert mender.stdout.readline() == b"ready\n"
        time.sleep(seconds)
        mender.kill()
    assert len(read(path, "1")) > 2800
    assert len(list(tmp_path.glob("*.damaged-*"))) == 1
