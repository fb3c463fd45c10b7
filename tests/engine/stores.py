"""Answers to store, stores full of them, and processes that write to them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import IO

from vlm_engine.store import AnswerStore, StoredAnswer, Subject
from vlm_engine.types import Answer, Form, ImageShape, Verdict

ROOT = Path(__file__).parents[2]
WRITER = """
import sys
from pathlib import Path
from tests.engine.stores import stored, subject
from vlm_engine.store import AnswerStore
with AnswerStore(Path(sys.argv[1])) as store:
    for n in range(1_000_000):
        store.add(subject(int(sys.argv[2])), stored(n, ""))
        print(n, flush=True)
"""


def stored(look_ms: int, raw: str | None = None, **verdicts: Verdict) -> StoredAnswer:
    """An answer; without ``raw`` one that does not compress and so fills the file."""
    raw = os.urandom(500).hex() if raw is None else raw
    answer = Answer(verdicts or {"Foul": Verdict(True)}, raw, "model-q4", "gym", 700, 9)
    return StoredAnswer(look_ms, look_ms / 1000, Form.LIST, ImageShape(768, 85), answer)


def subject(number: int, model: str = "model", wording: str = "words") -> Subject:
    return Subject(f"oshash:{number}", model, wording)


def filled(path: Path, videos: int = 10, answers: int = 50) -> list[list[StoredAnswer]]:
    """Fill a store with that many answers about each of that many videos."""
    by_video = [[stored(n) for n in range(answers)] for _ in range(videos)]
    with AnswerStore(path) as store:
        for number, of_video in enumerate(by_video):
            store.add_all([(subject(number), each) for each in of_video])
    return by_video


def process(script: str, *args: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *map(str, args)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=pipe, stderr=nowhere, text=True
    )


def output(child: subprocess.Popen[str]) -> IO[str]:
    assert child.stdout
    return child.stdout
