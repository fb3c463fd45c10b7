"""What the answer store costs when it is large: ``make bench-store``, about five minutes. Prints a table.

Answers about eight tags with their probabilities, 900 for each video, written two videos at a time as a task writes them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks.report import table
from sandbox.videos import SPORT_TAGS
from vlm_engine.store import AnswerStore, StoredAnswer, Subject
from vlm_engine.types import Answer, Form, ImageShape, Verdict

_PER_VIDEO = 900
_LOOKUPS = 50


def main() -> None:
    """Writes the answers into a temporary folder, and prints what that and reading them took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=int, default=1_000_000)
    wanted = parser.parse_args().answers
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.sqlite3"
        writing_s = _timed(lambda: _fill(path, wanted // _PER_VIDEO))
        rows = [
            ("answers", f"{wanted:,}"),
            ("bytes per answer, everything included", f"{path.stat().st_size / wanted:.0f}"),
            ("writing one", f"{1000 * writing_s / wanted:.2f} ms"),
            *_reading(path, wanted // _PER_VIDEO),
        ]
    sys.stdout.write(table(("the store", ""), rows) + "\n")


def _reading(path: Path, videos: int) -> list[tuple[str, str]]:
    rng = random.Random(1)
    opening_s = [_timed(lambda: AnswerStore(path).close()) for _ in range(5)]
    with AnswerStore(path) as store:
        lookups_s = [_timed(lambda: store.answers(_subject(rng.randrange(videos)))) for _ in range(_LOOKUPS)]
        # What a process that is killed leaves: the file and what was written last beside it.
        killed = path.with_name("killed.sqlite3")
        store.add(_subject(0), _stored(rng, 1))
        for ending in ("", "-wal"):
            shutil.copy(path.with_name(path.name + ending), killed.with_name(killed.name + ending))
    return [
        ("opening, median", f"{1000 * median(opening_s):.0f} ms"),
        ("opening after a kill, with a check of all of it", f"{_timed(lambda: AnswerStore(killed).close()):.1f} s"),
        (f"looking up the {_PER_VIDEO} answers about a video, median", f"{1000 * median(lookups_s):.0f} ms"),
        ("the same, longest", f"{1000 * max(lookups_s):.0f} ms"),
    ]


def _fill(path: Path, videos: int) -> None:
    rng = random.Random(0)
    with AnswerStore(path) as store:
        for first in range(0, videos, 2):
            for number in range(_PER_VIDEO):
                for video in range(first, min(first + 2, videos)):
                    store.add(_subject(video), _stored(rng, number))


def _subject(video: int) -> Subject:
    return Subject(f"oshash:{video:016x}", "qwen3-vl-8b-instruct", hashlib.sha256(b"words").hexdigest())


def _stored(rng: random.Random, number: int) -> StoredAnswer:
    verdicts = {tag: Verdict(rng.random() < 0.2, rng.random()) for tag in SPORT_TAGS}
    raw = json.dumps({"tags": [tag for tag, verdict in verdicts.items() if verdict.present]})
    answer = Answer(verdicts, raw, "qwen3-vl-8b-instruct-q4_k_m", "LM Studio", 1200, 30)
    return StoredAnswer(number * 8000, number * 8.0 + 0.01, Form.LIST, ImageShape(512, 88), answer)


def _timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
