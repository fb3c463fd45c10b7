"""Measure *Tag Images*: use of an endpoint's slots, memory, writes to Stash (``make
bench-images``). ``make bench-images``.

A generated library, half of it in folders and half in zips, in the sandbox Stash; a fake endpoint
and the plugin in processes of their own. Writes its table into the docs. ``--quick`` shows that
everything works; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.pool import serving
from benchmarks.pool_pictures import TAGS
from benchmarks.pool_server import Endpoint
from benchmarks.quiet import wait_until_quiet
from benchmarks.report import table
from sandbox.pictures import write_folder, write_zip
from sandbox.plugin import install
from sandbox.stash import Job, SandboxStash
from vlm_engine.testing.threads import running

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGE = "benchmarks-images.md"
_PART = re.compile(
    r"(<!-- images: made by make bench-images -->\n).*?(<!-- end of images -->)", re.DOTALL
)
_IN_ONE = 50
_LIMIT_S = 900.0
_TICKS_PER_S = 100


@dataclass(frozen=True, slots=True)
class Plan:
    """So many images against an endpoint like this."""

    images: int
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class Outcome:
    """Cost of one run of a task.

    ``occupancy``: the share of the slots' time in which they worked; None where none was asked.

    ``writes``: requests that changed something in Stash. ``cpu_s``: of the plugin's process, start
    and end included.
    """

    plan: Plan
    task: str
    wall_s: float
    calls: int
    occupancy: float | None
    peak_mb: float
    cpu_s: float
    writes: int


def measure(plan: Plan, folder: Path) -> list[Outcome]:
    """*Tag Images* of all images, then *Update Tagged Images* of the same, which has nothing to
    ask.
    """
    with ExitStack() as stack:
        stash = stack.enter_context(running(SandboxStash()))
        server = stack.enter_context(serving(plan.endpoint))
        address = {"base_url": server.url, "max_concurrent": plan.endpoint.slots}
        settings = {"ENDPOINTS": [address], "TAG_LIST": list(TAGS), "MODEL": "benchmark"}
        stash.load_plugin(install(folder / "plugin" / "ahavenvlmconnector", settings))
        for place in _library(folder / "media", plan.images):
            stash.library.scan_gallery(place, image_tags=["VLM_TagMe"])
        tagged = _run(stash, "Tag Images")
        for image in stash.library.snapshot().images:
            assert "VLM_Tagged" in image.tags and "VLM_TagMe" not in image.tags, image
            stash.library.tag_image(image.id, "VLM_UpdateMe")
        again = _run(stash, "Update Tagged Images")
        counts = server.counted()
    ideal_s = counts.answered * plan.endpoint.service_s / plan.endpoint.slots
    return [
        Outcome(
            plan,
            "Tag Images",
            tagged.wall_s,
            counts.answered,
            ideal_s / counts.span_s,
            *tagged.took,
        ),
        Outcome(plan, "Update Tagged Images", again.wall_s, 0, None, *again.took),
    ]


def _library(folder: Path, images: int) -> Iterator[Path]:
    """Folders and zips of 50 pictures each, in turn."""
    for number, first in enumerate(range(0, images, _IN_ONE)):
        count = min(_IN_ONE, images - first)
        if number % 2:
            path = folder / f"match {number:03}.zip"
            write_zip(path, count, TAGS, first=first)
        else:
            path = folder / f"match {number:03}"
            write_folder(path, count, TAGS, first=first)
        yield path


@dataclass(frozen=True, slots=True)
class _Run:
    wall_s: float
    peak_mb: float
    cpu_s: float
    writes: int

    @property
    def took(self) -> tuple[float, float, int]:
        return self.peak_mb, self.cpu_s, self.writes


def _run(stash: SandboxStash, task: str) -> _Run:
    stash.requests.clear()
    started = time.monotonic()
    job = stash.run_task(task)
    peak_mb, cpu_s = _watched(job)
    job.wait(_LIMIT_S)
    if job.error or ", 0 failed" not in str(job.output):
        raise RuntimeError(f"{task}: {job.error or job.output}")
    return _Run(time.monotonic() - started, peak_mb, cpu_s, stash.requests.writes)


def _watched(job: Job) -> tuple[float, float]:
    """Return peak memory (MB) and processor time (s) of the job's process while it lived."""
    peak_mb = cpu_s = 0.0
    while not job.over:
        time.sleep(0.05)
        if job.pid is None:
            continue
        process = Path("/proc") / str(job.pid)
        try:
            found = re.search(
                r"^VmHWM:\s+(\d+) kB",
                (process / "status").read_text(encoding="ascii"),
                re.MULTILINE,
            )
            fields = (process / "stat").read_text(encoding="utf-8").rpartition(") ")[2].split()
        except OSError:
            continue
        if found:
            peak_mb, cpu_s = (
                int(found[1]) / 1024,
                (int(fields[11]) + int(fields[12])) / _TICKS_PER_S,
            )
    return peak_mb, cpu_s


def report(outcomes: Sequence[Outcome]) -> str:
    """Return the table, and what it shows."""
    columns = (
        "task",
        "images",
        "slots",
        "an answer takes",
        "it took",
        "slots in use",
        "peak memory",
        "CPU per image",
        "writes",
    )
    first = [one for one in outcomes if one.occupancy is not None]
    few, many = (
        min(first, key=lambda one: one.plan.images),
        max(first, key=lambda one: one.plan.images),
    )
    said = (
        f"Memory of {many.plan.images:,} images against {few.plan.images:,}: "
        f"{many.peak_mb - few.peak_mb:+.0f} MB."
        f" Images to a write, at {many.plan.images:,}: {many.plan.images / many.writes:.0f}."
    )
    return f"{table(columns, [_row(one) for one in outcomes])}\n\n{said}"


def _row(one: Outcome) -> list[str]:
    return [
        one.task,
        f"{one.plan.images:,}",
        str(one.plan.endpoint.slots),
        f"{1000 * one.plan.endpoint.service_s:.0f} ms",
        f"{one.wall_s:.0f} s",
        "–" if one.occupancy is None else f"{one.occupancy:.1%}",
        f"{one.peak_mb:.0f} MB",
        f"{1000 * one.cpu_s / one.plan.images:.1f} ms",
        str(one.writes),
    ]


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bench-images-") as name:
        yield Path(name)


def run(plans: Sequence[Plan], docs: Path, patience_s: float = 0.0) -> str:
    """Measure, write the table into the page in the folder ``docs``, and return the text."""
    outcomes: list[Outcome] = []
    for plan in plans:
        if patience_s and not wait_until_quiet(0.8, patience_s):
            sys.stderr.write("others use the machine\n")
        with _scratch() as folder:
            outcomes += measure(plan, folder)
        sys.stderr.write("".join(f"{' | '.join(_row(one))}\n" for one in outcomes[-2:]))
    text = report(outcomes)
    page = docs / PAGE
    page.write_text(
        _PART.sub(lambda part: f"{part[1]}{text}\n{part[2]}", page.read_text(encoding="utf-8")),
        encoding="utf-8",
    )
    return text


def main() -> None:
    """Measure, prints the table and puts it on the page."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--quick", action="store_true", help="few images; the figures mean nothing"
    )
    options.add_argument(
        "--patience",
        type=float,
        default=60.0,
        metavar="S",
        help="how long to wait for a quiet machine",
    )
    options.add_argument(
        "--docs", type=Path, default=DOCS, help=f"the folder whose {PAGE} is written"
    )
    given = options.parse_args()
    quick, slow = Endpoint(16, 0.05, numbered=False), Endpoint(16, 0.2, numbered=False)
    plans = (
        [Plan(100, quick)]
        if given.quick
        else [Plan(1_000, quick), Plan(10_000, quick), Plan(4_000, slow)]
    )
    sys.stdout.write(run(plans, given.docs, 0.0 if given.quick else given.patience) + "\n")


if __name__ == "__main__":
    main()
