"""Measure the answer store when it is large (``make bench-store``, about ten minutes).

``make bench-store``, about ten minutes.

Writes its tables into the docs.

Answers about eight tags with their probabilities, 900 for each video, written two videos at a time
as a task writes them. ``--quick`` shows that everything works; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.claims import Claim
from benchmarks.quiet import wait_until_quiet
from benchmarks.report import claims_table, table
from benchmarks.store_rerun import Rerun, run_again
from sandbox.videos import SPORT_TAGS
from vlm_engine.store import AnswerStore, StoredAnswer, Subject
from vlm_engine.types import Answer, Form, ImageShape, Verdict

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = "benchmarks-store.md"
PER_VIDEO = 900
_PART = re.compile(
    r"(<!-- store: made by make bench-store -->\n).*?(<!-- end of store -->)", re.DOTALL
)
_LOOKUPS = 50


@dataclass(frozen=True, slots=True)
class Costs:
    """Costs of a store with that many ``answers``.

    ``after_kill_s``: opening it when its last user did not close it.
    """

    answers: int
    bytes: int
    writing_s: float
    opening_s: Sequence[float]
    after_kill_s: float
    lookups_s: Sequence[float]


def run(answers: int, video_s: float, docs: Path, patience_s: float = 0.0) -> str:
    """Measure, puts the tables into the folder ``docs``, which holds the page, and returns the
    text.

    Once the store is filled, a quiet machine is waited for, for ``patience_s``.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.sqlite3"
        videos = max(2, answers // PER_VIDEO)
        writing_s = _timed(lambda: _fill(path, videos))
        if patience_s and not wait_until_quiet(0.8, patience_s):
            sys.stderr.write("others use the machine: the figures are too high\n")
        costs = _read(path, videos, writing_s)
        reruns = asyncio.run(run_again(path, video_s, PER_VIDEO, Path(folder)))
    text = report(costs, reruns, video_s)
    page = docs / PAGE
    page.write_text(
        _PART.sub(lambda part: f"{part[1]}{text}\n{part[2]}", page.read_text(encoding="utf-8")),
        encoding="utf-8",
    )
    return text


def _fill(path: Path, videos: int) -> None:
    rng = random.Random(0)
    with AnswerStore(path) as store:
        for first in range(0, videos, 2):
            for number in range(PER_VIDEO):
                for video in range(first, min(first + 2, videos)):
                    store.add(_subject(video), _stored(rng, number))


def _read(path: Path, videos: int, writing_s: float) -> Costs:
    rng = random.Random(1)
    size = path.stat().st_size
    opening_s = [_timed(lambda: AnswerStore(path).close()) for _ in range(5)]
    with AnswerStore(path) as store:
        lookups_s = [
            _timed(lambda: store.answers(_subject(rng.randrange(videos)))) for _ in range(_LOOKUPS)
        ]
        # What a process that is killed leaves: the file and what was written last beside it.
        killed = path.with_name("killed.sqlite3")
        store.add(_subject(0), _stored(rng, 1))
        for ending in ("", "-wal"):
            shutil.copy(path.with_name(path.name + ending), killed.with_name(killed.name + ending))
    after_kill_s = _timed(lambda: AnswerStore(killed).close())
    killed.unlink()
    return Costs(videos * PER_VIDEO, size, writing_s, opening_s, after_kill_s, lookups_s)


def _subject(video: int) -> Subject:
    return Subject(
        f"oshash:{video:016x}", "qwen3-vl-8b-instruct", hashlib.sha256(b"words").hexdigest()
    )


def _stored(rng: random.Random, number: int) -> StoredAnswer:
    verdicts = {tag: Verdict(rng.random() < 0.2, rng.random()) for tag in SPORT_TAGS}
    raw = json.dumps({"tags": [tag for tag, verdict in verdicts.items() if verdict.present]})
    answer = Answer(verdicts, raw, "qwen3-vl-8b-instruct-q4_k_m", "LM Studio", 1200, 30)
    return StoredAnswer(number * 8000, number * 8.0 + 0.01, Form.LIST, ImageShape(512, 88), answer)


def _timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def claims(costs: Costs, reruns: Sequence[Rerun], video_s: float) -> Iterator[Claim]:
    """Return the claims about the store, each beside what was measured."""
    size = costs.bytes / costs.answers
    yield Claim(
        "size of an answer, everything included", "≤ 1,000 bytes", f"{size:.0f} bytes", size <= 1000
    )
    opening_ms = 1000 * median(costs.opening_s)
    yield Claim("opening, median", "≤ 200 ms", f"{opening_ms:.0f} ms", opening_ms <= 200)
    lookup_ms = 1000 * median(costs.lookups_s)
    what = f"looking up the {PER_VIDEO} answers about a video, median"
    yield Claim(what, "≤ 20 ms", f"{lookup_ms:.1f} ms", lookup_ms <= 20)
    again = [rerun for rerun in reruns if rerun.name]
    slowest, calls = max(rerun.seconds for rerun in again), sum(rerun.calls for rerun in again)
    what = (
        f"a {video_s / 3600:.2g}-hour video with {reruns[0].calls:,} answers under other rules: "
        "the slowest"
    )
    yield Claim(what, "≤ 1 s", f"{slowest:.2f} s", slowest <= 1)
    yield Claim("questions that this took", "0", str(calls), calls == 0)


def report(costs: Costs, reruns: Sequence[Rerun], video_s: float) -> str:
    """Return the whole text that the page shows."""
    rows = [
        ("answers", f"{costs.answers:,}"),
        ("size of the file", f"{costs.bytes / 1e6:,.0f} MB"),
        ("writing one answer", f"{1000 * costs.writing_s / costs.answers:.2f} ms"),
        ("opening, longest of 5", f"{1000 * max(costs.opening_s):.0f} ms"),
        ("opening after a kill, which checks all of it", f"{costs.after_kill_s:.1f} s"),
        (f"looking up a video, longest of {_LOOKUPS}", f"{1000 * max(costs.lookups_s):.1f} ms"),
    ]
    other = [
        (
            rerun.name or "for the first time",
            f"{rerun.calls:,}",
            f"{rerun.seconds:.2f} s",
            f"{rerun.spans:,}",
        )
        for rerun in reruns
    ]
    parts = [
        "### What was promised",
        claims_table(claims(costs, reruns, video_s)),
        "### The file",
        table(("", ""), rows),
        "### The same video again",
        table(
            ("under other", "questions", "from opening the engine to the result", "spans"), other
        ),
    ]
    return "\n\n".join(parts)


def main() -> None:
    """Measure, prints the tables and puts them on the page."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--quick",
        action="store_true",
        help="few answers and a short video; the figures mean nothing",
    )
    options.add_argument(
        "--docs", type=Path, default=DOCS, help=f"the folder whose {PAGE} is written"
    )
    options.add_argument(
        "--patience",
        type=float,
        default=60.0,
        metavar="S",
        help="how long to wait for a quiet machine",
    )
    given = options.parse_args()
    extent = (2 * PER_VIDEO, 60.0) if given.quick else (1_000_000, 7200.0)
    sys.stdout.write(run(*extent, given.docs, 0.0 if given.quick else given.patience) + "\n")


if __name__ == "__main__":
    main()
