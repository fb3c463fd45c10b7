"""Measure a cluster (``make bench-cluster``, about ten minutes): how near its work comes to the
ideal, also when workers fail; what it costs beside one process; and how far it would reach.

Scheduler, workers, caller and endpoints are processes of their own on this machine. Writes its
tables into the docs. ``--quick`` shows that everything works; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.cluster_caller import PARTS, PICTURES, VIDEOS, Job, Phase
from benchmarks.cluster_parts import division_s
from benchmarks.cluster_plan import Costs, Plan, Result, Simulation
from benchmarks.cluster_processes import ROOT, Cluster, cluster, environment
from benchmarks.cluster_report import costs_of, report
from benchmarks.cluster_scenes import Action, Costly, Finished, Scene, Server, Took
from benchmarks.pool import serving
from benchmarks.pool_pictures import TAGS
from benchmarks.pool_server import Endpoint
from benchmarks.processes import spread
from benchmarks.quiet import wait_until_quiet
from sandbox.pictures import write_folder
from sandbox.videos import VideoSpec, generate

DOCS = ROOT / "docs"
PAGE = "benchmarks-cluster.md"
_PART = re.compile(
    r"(<!-- cluster: made by make bench-cluster -->\n).*?(<!-- end of cluster -->)", re.DOTALL
)
_LIMIT_S = 300.0
_ONE, _TWO = "one", "two"


@dataclass(frozen=True, slots=True)
class Extent:
    """So much is measured. ``rounds``: of each part. ``again``: known videos, one at a time."""

    videos: int
    longest_s: float
    pictures: int
    again: int
    rounds: int
    scenes: Sequence[Scene]
    workers: Sequence[int]
    plans: Sequence[Plan]
    processes: int = 2


def full() -> Extent:
    """Return what the page shows."""
    shared = (Server(8, 0.6), Server(8, 0.6))
    both = (Server(8, 0.6, _ONE), Server(8, 0.6, _TWO))
    unlike = (Server(8, 0.36, _ONE), Server(8, 1.8, _TWO))
    four = (_ONE, _TWO, "three", "four")
    scenes = (
        Scene("one process, no cluster", (), shared),
        Scene("1 worker", four[:1], shared),
        Scene("2 workers", four[:2], shared),
        Scene("4 workers", four, shared),
        Scene("2 workers, one is killed", four[:2], shared, Action("kill", _TWO, 10.0)),
        Scene("2 workers, one stands still for 5 s", four[:2], shared, Action("pause", _TWO, 10.0)),
        Scene("2 workers, an endpoint each", four[:2], both),
        Scene("the same, the endpoint of one takes 5 times as long", four[:2], unlike),
        Scene("an endpoint each, one joins late", four[:1], both, Action("join", _TWO, 10.0)),
    )
    plans = (
        Plan(100, 1000, 100_000, private=True, name="ten endpoints each"),
        Plan(100, 1000, 5_000, name="every endpoint for all"),
        Plan(
            100,
            1000,
            10_000,
            private=True,
            slow_share=0.1,
            name="one endpoint in ten is slow",
        ),
        Plan(100, 1000, 10_000, private=True, lost_every_s=30.0, name="a worker lost each 30 s"),
        Plan(100, 1000, 10_000, private=True, answer_s=1.0, name="answers in 1 s"),
        Plan(1000, 1000, 10_000, private=True, name="an endpoint each"),
        Plan(1000, 10_000, 10_000, private=True, name="ten endpoints each"),
    )
    return Extent(32, 60.0, 600, 30, 300, scenes, (1, 2), plans)


def quick() -> Extent:
    """Return as little as shows that everything works."""
    shared = (Server(4, 0.05),)
    scenes = (
        Scene("one process, no cluster", (), shared),
        Scene("2 workers, one is killed", (_ONE, _TWO), shared, Action("kill", _TWO, 0.5)),
    )
    plans = (
        Plan(2, 4, 20, private=True, name="endpoints each"),
        Plan(2, 4, 20, name="all", lost_every_s=20.0),
    )
    return Extent(3, 8.0, 16, 3, 4, scenes, (1,), plans, processes=1)


@contextmanager
def _library(extent: Extent) -> Iterator[tuple[list[str], list[str], Path]]:
    """Yield videos of unlike lengths, pictures, and a folder for the rest."""
    rng = random.Random(0)
    with tempfile.TemporaryDirectory(prefix="bench-cluster-") as name:
        folder = Path(name)
        videos = []
        for number in range(extent.videos):
            length_s = min(extent.longest_s, max(4.0, rng.lognormvariate(3.0, 0.6)))
            path = folder / f"match {number:02}.mp4"
            generate(VideoSpec(length_s, 160, 90, tags=(), seed=number, gop_s=4.0), path)
            videos.append(str(path))
        pictures = write_folder(folder / "pictures", extent.pictures, TAGS)
        yield videos, [str(each.path) for each in pictures], folder


@dataclass(frozen=True, slots=True)
class _Played:
    took: Sequence[Took]
    answers: int


def _play(scene: Scene, phases: Sequence[Phase], folder: Path) -> _Played:
    """Let a caller do the phases; the scene's action meets a worker meanwhile."""
    with ExitStack() as stack:
        servers = [
            stack.enter_context(serving(Endpoint(each.slots, each.answer_s, numbered=False)))
            for each in scene.servers
        ]
        started = stack.enter_context(cluster(*scene.workers)) if scene.workers else None
        store = stack.enter_context(tempfile.TemporaryDirectory(dir=folder))
        job = Job(
            started.address if started else "",
            len(scene.workers),
            [
                {"base_url": server.url, "max_concurrent": each.slots, "worker": each.worker}
                for server, each in zip(servers, scene.servers, strict=True)
            ],
            str(Path(store) / "answers.sqlite"),
            phases,
            started.roles if started else {},
        )
        took = _took(job, scene.action, started)
        answers = sum(server.counted().answered for server in servers)
    return _Played(took, answers)


def _took(job: Job, action: Action | None, started: Cluster | None) -> list[Took]:
    command = [sys.executable, "-m", "benchmarks.cluster_caller", json.dumps(asdict(job))]
    timers: list[threading.Timer] = []
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise RuntimeError("the caller did not begin")
            if action is not None and started is not None:
                timers = [*_timers(started, action)]
            output, _ = process.communicate("go\n", timeout=_LIMIT_S)
        finally:
            process.kill()
            for timer in timers:
                timer.cancel()
    return [Took(**each) for each in json.loads(output)]


def _timers(started: Cluster, action: Action) -> Iterator[threading.Timer]:
    """Start what lets the action happen."""
    acts: list[tuple[float, Callable[[], None]]] = []
    if action.kind == "join":
        acts = [(action.at_s, lambda: started.add_worker(action.worker))]
    elif action.kind == "kill":
        acts = [(action.at_s, lambda: started.signal(action.worker, signal.SIGKILL))]
    else:
        ends_at_s = action.at_s + action.for_s
        acts = [
            (action.at_s, lambda: started.signal(action.worker, signal.SIGSTOP)),
            (ends_at_s, lambda: started.signal(action.worker, signal.SIGCONT)),
        ]
    for at_s, act in acts:
        timer = threading.Timer(at_s, act)
        timer.start()
        yield timer


def _scenes(extent: Extent, videos: Sequence[str], folder: Path) -> Iterator[Finished]:
    """Play every scene. The first, undisturbed, says how many answers there are to give."""
    first = extent.scenes[0]
    longest = max(videos, key=lambda path: Path(path).stat().st_size)
    (alone,) = _play(first, [Phase(VIDEOS, [longest])], folder).took
    answers = 0
    for scene in extent.scenes:
        played = _play(scene, [Phase(VIDEOS, videos)], folder)
        answers = answers or played.answers
        ideal_s = scene.ideal_s(answers, alone.wall_s)
        finished = Finished(scene, played.took[0].wall_s, ideal_s, played.answers)
        sys.stderr.write(f"{scene.name}: {finished.over_ideal:.3f} of {ideal_s:.1f} s\n")
        yield finished


def _costly(
    extent: Extent, workers: int, videos: Sequence[str], pictures: Sequence[str], folder: Path
) -> tuple[Costly, Took | None]:
    """Measure the costs with so many workers, and those of the parts where there is one."""
    names = [f"worker {number}" for number in range(workers)]
    scene = Scene(f"{workers} workers", names, (Server(16, 0.0),))
    shortest = min(videos, key=lambda path: Path(path).stat().st_size)
    phases = [
        Phase(VIDEOS, videos),
        Phase(VIDEOS, [shortest] * extent.again, 1),
        Phase(PICTURES, pictures),
        Phase(PICTURES, pictures),
        *([Phase(PARTS, (), extent.rounds)] if workers == 1 else []),
    ]
    played = _play(scene, phases, folder)
    first, known, seen, known_pictures, *parts = played.took
    answers = played.answers - len(pictures)
    costly = Costly(
        workers, len(videos), answers, len(pictures), first, known, seen, known_pictures
    )
    sys.stderr.write(f"{workers} workers: {len(videos) / first.wall_s:.1f} videos/s\n")
    return costly, parts[0] if parts else None


def _simulated(job: tuple[Plan, Costs]) -> Result:
    return Simulation(*job).run()


def run(extent: Extent, docs: Path, patience_s: float = 0.0) -> str:
    """Measure, put the tables into the page in the folder ``docs``, and return the text.

    Waits for a quiet machine before the costs and before the scenes, ``patience_s`` each time.
    """
    with _library(extent) as (videos, pictures, folder):
        _wait(patience_s)
        measured = [
            _costly(extent, workers, videos, pictures, folder) for workers in (0, *extent.workers)
        ]
        _wait(patience_s)
        finished = [*_scenes(extent, videos, folder)]
    parts = next(took.parts for _, took in measured if took is not None)
    divided = {engines: division_s(engines) for engines in (1, 10, 100, 1000)}
    costs = costs_of(parts, divided)
    planned = [*spread(_simulated, [(plan, costs) for plan in extent.plans], extent.processes)]
    text = report(finished, [costly for costly, _ in measured], parts, divided, planned)
    page = docs / PAGE
    page.write_text(
        _PART.sub(lambda part: f"{part[1]}{text}\n{part[2]}", page.read_text(encoding="utf-8")),
        encoding="utf-8",
    )
    return text


def _wait(patience_s: float) -> None:
    if patience_s and not wait_until_quiet(0.8, patience_s):
        sys.stderr.write("others use the machine\n")


def main() -> None:
    """Measure, print the tables and put them on the page."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--quick", action="store_true", help="little of everything; the figures mean nothing"
    )
    options.add_argument(
        "--patience",
        type=float,
        default=30.0,
        metavar="S",
        help="how long to wait for a quiet machine",
    )
    options.add_argument(
        "--docs", type=Path, default=DOCS, help=f"the folder whose {PAGE} is written"
    )
    given = options.parse_args()
    extent, patience_s = (quick(), 0.0) if given.quick else (full(), given.patience)
    sys.stdout.write(run(extent, given.docs, patience_s) + "\n")


if __name__ == "__main__":
    main()
