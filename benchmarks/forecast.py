"""Measure how right the forecast of a run is (``make bench-forecast``, about 25 minutes).

Queues of generated videos are tagged for real: decoded, and asked about through three unlike
sandbox endpoints in a process of their own. Before, each endpoint is asked a few questions alone
and several at once, some frames are decoded, and a few other scenes are tagged. The forecast is
made from the lengths alone, with some videos probed, and with those scenes as history. Writes its
table into the docs.

``--fit`` prints the constants of the forecast instead, in some minutes. ``--quick`` shows that
everything works; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.forecast_fit import fitted
from benchmarks.quiet import wait_until_quiet
from benchmarks.report import table
from sandbox.videos import SPORT_TAGS, VideoSpec, generate
from vlm_engine import VLMEngine
from vlm_engine.checkup.endpoint import check_endpoint
from vlm_engine.checkup.forecast import Forecast, ModelLoad, Workload, forecast
from vlm_engine.config.models import EngineConfig, ModelConfig, SearchConfig
from vlm_engine.prompt import wording_fingerprint
from vlm_engine.search.scan import plan_scan
from vlm_engine.store import AnswerStore
from vlm_engine.testing import MODEL, Behaviour, SandboxVLM
from vlm_engine.types import ImageShape, VideoInfo
from vlm_engine.video import VideoReader, probe

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = "benchmarks.md"
_PART = re.compile(
    r"(<!-- forecast: made by make bench-forecast -->\n).*?(<!-- end of forecast -->)", re.DOTALL
)
_SEARCH = SearchConfig()
_VARIANTS = 3
"""Files of each length."""
_RATE = 6
_EARLIER, _PROBED = 6, 5
_SCENES_ONCE = 500
_KINDS = {
    "lengths": "by the lengths alone",
    "probed": f"with {_PROBED} of them probed",
    "history": f"with {_EARLIER} earlier ones, too",
}


@dataclass(frozen=True, slots=True)
class Queue:
    """So many ``scenes``, each one of the files with these lengths, ``at_once`` at a time."""

    scenes: int
    lengths_s: tuple[float, ...]
    at_once: int
    endpoints: tuple[Behaviour, ...]
    width: int = 1280


@dataclass(frozen=True, slots=True)
class Outcome:
    """A queue, its forecasts, and what it took."""

    queue: Queue
    forecasts: Mapping[str, Forecast]
    questions: int
    seconds: float

    def ratio(self, kind: str) -> float:
        """Return the forecast time over the real time."""
        return (self.forecasts[kind].seconds or 0.0) / self.seconds


def _endpoint(slots: int, latency_s: float, picture_token_s: float, token_s: float) -> Behaviour:
    return Behaviour(
        slots=slots,
        latency_s=latency_s,
        picture_token_s=picture_token_s,
        answer_token_s=token_s,
        miss_rate=0.05,
        false_alarm_rate=0.005,
    )


QUEUES = (
    Queue(
        10,
        (15.0, 60.0, 150.0, 300.0, 900.0),
        2,
        (
            _endpoint(4, 0.08, 0.0003, 0.008),
            _endpoint(2, 0.2, 0.001, 0.01),
            _endpoint(1, 0.5, 0.002, 0.04),
        ),
    ),
    Queue(
        100,
        (5.0, 15.0, 60.0, 150.0, 300.0),
        3,
        (
            _endpoint(8, 0.08, 0.0002, 0.005),
            _endpoint(2, 0.05, 0.0005, 0.008),
            _endpoint(1, 0.4, 0.002, 0.02),
        ),
    ),
    Queue(
        2000,
        (4.0, 5.0, 7.0, 10.0, 30.0),
        6,
        (
            _endpoint(6, 0.08, 0.0003, 0.004),
            _endpoint(2, 0.12, 0.0005, 0.006),
            _endpoint(1, 0.3, 0.001, 0.01),
        ),
        width=640,
    ),
)
QUICK = (
    Queue(
        4,
        (4.0, 8.0),
        2,
        (_endpoint(4, 0.05, 0, 0), _endpoint(2, 0.1, 0, 0), _endpoint(1, 0.2, 0, 0)),
        width=640,
    ),
)


def drawn(queue: Queue, rng: random.Random) -> Queue:
    """Return the queue on endpoints that are up to half as fast again, or slower."""

    def another(one: Behaviour) -> Behaviour:
        latency, picture, token = (1.5 ** rng.uniform(-1, 1) for _ in range(3))
        return replace(
            one,
            latency_s=one.latency_s * latency,
            picture_token_s=one.picture_token_s * picture,
            answer_token_s=one.answer_token_s * token,
            seed=rng.randrange(1000),
        )

    return replace(queue, endpoints=tuple(map(another, queue.endpoints)))


@contextmanager
def serving(behaviours: Sequence[Behaviour]) -> Iterator[list[str]]:
    """Serve such endpoints in a process of their own until the block ends. Yield the addresses."""
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, behaviours), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        process.kill()
        process.join()


def _serve(connection: Connection, behaviours: Sequence[Behaviour]) -> None:
    async def serve() -> None:
        async with AsyncExitStack() as stack:
            servers = [await stack.enter_async_context(SandboxVLM(one)) for one in behaviours]
            connection.send([server.url for server in servers])
            await asyncio.Event().wait()

    asyncio.run(serve())


class Videos:
    """Generated files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[VideoSpec, VideoInfo] = {}

    def draw(self, queue: Queue, number: int, rng: random.Random) -> list[VideoInfo]:
        """Return so many of the queue's, in random order."""
        height = queue.width * 9 // 16
        specs = [
            VideoSpec(length_s, queue.width, height, frame_rate=_RATE, seed=seed)
            for length_s in queue.lengths_s
            for seed in range(_VARIANTS)
        ]
        return [self._made_of(rng.choice(specs)) for _ in range(number)]

    def _made_of(self, spec: VideoSpec) -> VideoInfo:
        if spec not in self._made:
            path = self._folder / f"{len(self._made)}.mp4"
            self._made[spec] = probe(generate(spec, path).path)
        return self._made[spec]


def frame_seconds(videos: Sequence[VideoInfo]) -> float:
    """Return the mean seconds of a frame of the scans of some videos, opening them included."""
    begun_s, frames = time.monotonic(), 0
    for video in videos:
        times = plan_scan(video, _SEARCH.interval_for(video.duration_s), math.inf)
        with VideoReader(video) as reader:
            frames += len([*reader.frames(times, ImageShape(512))])
    return (time.monotonic() - begun_s) / frames


def _model(addresses: Sequence[tuple[str, int]]) -> ModelConfig:
    endpoints = [{"base_url": url, "max_concurrent": slots} for url, slots in addresses]
    return ModelConfig(multiplexer_endpoints=endpoints, tag_list=SPORT_TAGS, model_id=MODEL)


async def tagged(
    videos: Sequence[VideoInfo], model: ModelConfig, at_once: int, store: Path, name: str
) -> tuple[int, float]:
    """Tag the videos as so many scenes. Return questions and seconds."""
    config = EngineConfig(models={"vlm": model}, store_path=str(store))
    places, questions = asyncio.Semaphore(at_once), 0

    async def tag(number: int, video: VideoInfo) -> None:
        nonlocal questions
        try:
            result = await engine.tag_video(video.path, identity=f"{name} {number}")
            questions += result.coverage.calls
        finally:
            places.release()

    async with VLMEngine(config) as engine:
        begun_s = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number, video in enumerate(videos):
                await places.acquire()
                group.create_task(tag(number, video))
        return questions, time.monotonic() - begun_s


async def measure(queue: Queue, videos: Videos, seed: int, store: Path) -> Outcome:
    """Make the forecasts of a queue, and tag it."""
    rng = random.Random(seed)
    queue = drawn(queue, rng)
    queued, earlier = (videos.draw(queue, number, rng) for number in (queue.scenes, _EARLIER))
    with serving(queue.endpoints) as urls:
        model = _model([*zip(urls, (one.slots for one in queue.endpoints), strict=True)])
        await tagged(earlier, model, queue.at_once, store, "earlier")
        checks = [await check_endpoint(endpoint, model) for endpoint in model.endpoints()]
        speeds = [check.speed for check in checks if check.speed is not None]
        with AnswerStore(store) as answers:
            history = answers.search_sizes(MODEL, wording_fingerprint(model))
        loads = _loads(queue, queued, history, frame_seconds(earlier))
        forecasts = {kind: forecast(load, speeds, _SEARCH) for kind, load in loads.items()}
        questions, seconds = await tagged(queued, model, queue.at_once, store, "queued")
    return Outcome(queue, forecasts, questions, seconds)


def _loads(
    queue: Queue,
    queued: Sequence[VideoInfo],
    history: Sequence[tuple[float, int]],
    frame_s: float,
) -> dict[str, Workload]:
    """Return the workload with less and with more that is known of it."""
    unknown, known = ModelLoad(len(SPORT_TAGS)), ModelLoad(len(SPORT_TAGS), history)
    lengths_s = [video.duration_s for video in queued]
    load = Workload([unknown], lengths_s, at_once=queue.at_once, frame_s=frame_s)
    probed = replace(load, probed=queued[:_PROBED])
    return dict(zip(_KINDS, (load, probed, replace(probed, models=[known])), strict=True))


def report(outcomes: Sequence[Outcome]) -> str:
    """Return the table, and the range of each kind of forecast."""
    columns = ("scenes", "video", "it took", "asked", *_KINDS.values())
    ranges = [_range(kind, outcomes) for kind in _KINDS]
    text = f"Forecast time over real time: {'; '.join(ranges)}."
    return f"{table(columns, map(_row, outcomes))}\n\n{text}"


def _row(one: Outcome) -> list[str]:
    hours = one.forecasts["lengths"].video_s / 3600
    forecasts = [
        f"{one.forecasts[kind].questions:,}; {one.forecasts[kind].seconds or 0.0:.0f} s"
        f" ({one.ratio(kind):.2f})"
        for kind in _KINDS
    ]
    sizes = [f"{one.queue.scenes:,}", f"{hours:.1f} h", f"{one.seconds:.0f} s"]
    return [*sizes, f"{one.questions:,}", *forecasts]


def _range(kind: str, outcomes: Sequence[Outcome]) -> str:
    ratios = [one.ratio(kind) for one in outcomes]
    return f"{_KINDS[kind]} {min(ratios):.2f} to {max(ratios):.2f}"


async def run(queues: Sequence[Queue], seeds: Sequence[int], patience_s: float) -> list[Outcome]:
    """Measure each queue with every seed, the longest ones with the first alone."""
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="bench-forecast-") as folder:
        videos = Videos(Path(folder))
        for number, seed in enumerate(seeds):
            for queue in queues:
                if number and queue.scenes > _SCENES_ONCE:
                    continue
                store = Path(folder) / f"{queue.scenes} {seed}.sqlite3"
                if patience_s and not wait_until_quiet(0.8, patience_s):
                    sys.stderr.write("others use the machine\n")
                outcomes.append(await measure(queue, videos, seed, store))
                sys.stderr.write(f"{' | '.join(_row(outcomes[-1]))}\n")
    return outcomes


def main() -> None:
    """Measure, print the table and put it on the page; or print the constants."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--fit", action="store_true", help="find the constants of the forecast")
    options.add_argument("--videos", type=int, default=3000, help="searched to find the constants")
    options.add_argument("--quick", action="store_true", help="few scenes; figures mean nothing")
    options.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13])
    options.add_argument(
        "--patience", type=float, default=60.0, metavar="S", help="the wait for a quiet machine"
    )
    options.add_argument(
        "--docs", type=Path, default=DOCS, help=f"the folder whose {PAGE} is written"
    )
    given = options.parse_args()
    if given.fit:
        later, deviation = fitted(given.videos, given.seeds[0], processes=2)
        sys.stdout.write(f"{later}\nof a video: {deviation:.2f}\n")
        return
    queues, patience_s = (QUICK, 0.0) if given.quick else (QUEUES, given.patience)
    text = report(asyncio.run(run(queues, given.seeds, patience_s)))
    write(text, given.docs)
    sys.stdout.write(f"{text}\n")


def write(text: str, docs: Path) -> None:
    """Put the text on the page in the folder ``docs``."""
    page = docs / PAGE
    part = _PART.sub(lambda part: f"{part[1]}{text}\n{part[2]}", page.read_text(encoding="utf-8"))
    page.write_text(part, encoding="utf-8")


if __name__ == "__main__":
    main()
