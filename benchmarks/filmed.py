"""The real part of the benchmark: generated videos, decoded and asked about through an endpoint on
loopback.

The engine runs in a process of its own, so that its processor time and memory are its own. Beside
it, on the same videos and with the same mistakes, the yardsticks and the search itself without
decoding.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from statistics import NormalDist
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from benchmarks.memory import peak_mb
from benchmarks.oracle import Numbers, Oracle, Presence, drive, marked
from benchmarks.scores import Cost, Results, Score, Summary, score
from benchmarks.simulated import ALL, NOISES
from benchmarks.strategies import YARDSTICKS, Strategy, engine_search, searching
from benchmarks.tokens import FULL, SMALL_LIST, RequestStyle
from benchmarks.world import World, cut_hints, tag_names
from sandbox.videos import LabelledVideo, VideoSpec, generate
from vlm_engine import VLMEngine
from vlm_engine.config.models import EngineConfig, ModelConfig
from vlm_engine.search import Costs
from vlm_engine.testing import Behaviour, SandboxVLM, glyphs
from vlm_engine.testing.threads import running
from vlm_engine.types import FrameQuery, Observation, Purpose, VideoInfo, VideoResult
from vlm_engine.video import probe

DECODED, UNDECODED, SIMULATED_CUTS = (
    "search, decoded",
    "search, not decoded",
    "search, not decoded, simulated cut hints",
)

_SLOTS = 8
_MOST_RATE = 0.45
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Film:
    """A video to generate: its name, and how it differs from ten minutes of eight tags."""

    name: str
    spec: VideoSpec


def films(duration_s: float = 600.0) -> tuple[Film, ...]:
    """One video for each way in which videos differ.

    Small pictures: what they show is read all the same.
    """
    base = VideoSpec(duration_s=duration_s, width=640, height=360, seed=21)
    return (
        Film("shots of 12 s, 60 % of edges on a cut, 8 tags", base),
        Film("the same, another seed", replace(base, seed=22)),
        Film("shots of 5 s", replace(base, seed=23, shot_median_s=5.0)),
        Film("shots of 30 s", replace(base, seed=24, shot_median_s=30.0)),
        Film("30 % of edges on a cut", replace(base, seed=25, cut_coincidence=0.3)),
        Film("90 % of edges on a cut", replace(base, seed=26, cut_coincidence=0.9)),
        Film("3 tags, one of short events", replace(base, seed=27, tags=tag_names(3))),
        Film("24 tags, a third of short events", replace(base, seed=28, tags=tag_names(24))),
    )


class Endpoint(SandboxVLM):
    """The sandbox's endpoint, for one video.

    Of its mistakes the share ``shot_share`` holds for a whole shot, where no other frame helps.
    Pictures differ in quality from half second to half second: the rates of all mistakes there are
    multiplied by a factor, lognormal with ``quality_spread`` as the standard deviation of its
    logarithm and 1 as its mean.
    """

    def __init__(
        self, behaviour: Behaviour, film: LabelledVideo, shot_share: float, quality_spread: float
    ) -> None:
        super().__init__(behaviour)
        self._first_frames = [0, *(round(cut_s * film.spec.frame_rate) for cut_s in film.cuts_s)]
        self._shot_share, self._quality_spread = shot_share, quality_spread
        self._frames_alike = float(film.spec.frame_rate) / 2

    def belief(self, tag: str, contents: glyphs.Shown) -> float:
        """Return the probability of presence that it believes in, for a picture that shows this."""
        if contents.frame_number is not None and self._shot_share:
            first = self._first_frames[bisect_right(self._first_frames, contents.frame_number) - 1]
            if crc32(f"{self.behaviour.seed} {tag} {first}".encode()) / 2**32 < self._shot_share:
                contents = replace(contents, frame_number=first)
        return super().belief(tag, contents)

    def error_rate(self, contents: glyphs.Shown, is_there: bool) -> float:
        """Return the probability of a wrong verdict on a tag in this picture."""
        rate = super().error_rate(contents, is_there)
        if contents.frame_number is None or not self._quality_spread:
            return rate
        drawn = crc32(
            f"{self.behaviour.seed} {int(contents.frame_number / self._frames_alike)}".encode()
        )
        quality = NormalDist().inv_cdf((drawn + 0.5) / 2**32)
        return min(
            _MOST_RATE, rate * math.exp(self._quality_spread * (quality - self._quality_spread / 2))
        )


@dataclass(frozen=True, slots=True)
class Mistakes:
    """Error rates of the endpoint. With probabilities, its mistakes can be recognised."""

    miss_rate: float = 0.0
    false_alarm_rate: float = 0.0
    graded: bool = False
    shot_share: float = 0.0
    quality_spread: float = 0.0

    def endpoint(self, film: LabelledVideo) -> Endpoint:
        """Return an endpoint that errs so, about this video."""
        behaviour = Behaviour(
            slots=_SLOTS,
            miss_rate=self.miss_rate,
            false_alarm_rate=self.false_alarm_rate,
            offers_logprobs=self.graded,
            seed=film.spec.seed,
        )
        return Endpoint(behaviour, film, self.shot_share, self.quality_spread)


MISTAKES = {
    "none": Mistakes(),
    "5 / 0.5 %": Mistakes(0.05, 0.005),
    "10 / 2 %": Mistakes(0.1, 0.02),
    "5 / 0.5 %, 80 % shared by a shot": Mistakes(0.05, 0.005, shot_share=0.8),
    "10 / 2 %, graded": Mistakes(0.1, 0.02, graded=True),
    "5 / 0.5 %, by the quality of the picture": Mistakes(0.05, 0.005, quality_spread=1.2),
}


class FilmModel(Oracle):
    """Answers about a generated video from its truth, with just the mistakes that the sandbox's
    endpoint would make.
    """

    def __init__(self, film: LabelledVideo, info: VideoInfo, endpoint: Endpoint) -> None:
        super().__init__(info, film.spec.tags)
        self._film, self._endpoint = film, endpoint

    def judge(
        self, numbers: Numbers, style: RequestStyle = SMALL_LIST
    ) -> tuple[Presence, NDArray[np.float64] | None]:
        beliefs = np.array([self._beliefs(int(number)) for number in numbers]).reshape(
            len(numbers), len(self.tags)
        )
        return beliefs > 0.5, beliefs if self._endpoint.behaviour.offers_logprobs else None

    def _beliefs(self, number: int) -> list[float]:
        there = self._film.tags_at(number / float(self._film.spec.frame_rate) + 1e-6)
        contents = glyphs.Shown(frozenset(glyphs.code(tag) for tag in there), number)
        return [self._endpoint.belief(tag, contents) for tag in self.tags]


@dataclass(frozen=True, slots=True)
class Measured:
    """Result and cost of one run of the engine in a fresh process."""

    result: VideoResult
    cpu_s: float
    peak_mb: float


def measure(path: str, tags: Sequence[str], url: str) -> Measured:
    """Tag one video with the engine as a user would.

    Processor time and memory are those of the calling process.
    """
    begun_s = time.process_time()
    result = asyncio.run(_tag(path, tags, url))
    return Measured(result, time.process_time() - begun_s, peak_mb())


async def _tag(path: str, tags: Sequence[str], url: str) -> VideoResult:
    model = ModelConfig(
        multiplexer_endpoints=[{"base_url": url, "max_concurrent": _SLOTS}], tag_list=tuple(tags)
    )
    async with VLMEngine(EngineConfig(models={"vlm": model})) as engine:
        return await engine.tag_video(path)


def film_all(
    folder: Path, wanted: Sequence[Film], mistakes: Mapping[str, Mistakes], *, upstream: bool = True
) -> Results:
    """Results by (mistakes, strategy) and by (film, strategy), with ``ALL`` for all together."""
    grouped: dict[tuple[str, str], list[Score]] = defaultdict(list)
    for film in wanted:
        labelled = generate(film.spec, folder / f"{film.spec.seed}.mp4")
        for (name, mistakes_made), fresh in product(mistakes.items(), (True, False)):
            rows = (
                _decoded(labelled, mistakes_made)
                if fresh
                else _undecoded(labelled, mistakes_made, upstream=upstream)
            )
            for strategy, one in rows:
                for group in (name, film.name, ALL) if name in NOISES else (name,):
                    grouped[group, strategy].append(one)
        _log.info("done with the video: %s", film.name)
    return {key: Summary(one) for key, one in grouped.items()}


def _decoded(film: LabelledVideo, mistakes_made: Mistakes) -> Iterator[tuple[str, Score]]:
    with (
        running(mistakes_made.endpoint(film)) as endpoint,
        ProcessPoolExecutor(1, get_context("spawn")) as fresh,
    ):
        measured = fresh.submit(measure, str(film.path), film.spec.tags, endpoint.url).result()
    replayed = Replay(measured.result, film, mistakes_made.endpoint(film))
    spent = Cost.of(replayed.bill, measured.result.video.duration_s, 0.0)
    cost = replace(spent, cpu_s=measured.cpu_s, peak_mb=measured.peak_mb)
    yield DECODED, score(marked(measured.result.findings[0].spans), film.truth, cost)


class Replay(FilmModel):
    """Runs the search again on what the engine saw, to count its rounds and tokens as everybody's
    are counted.

    What is asked follows from the observations and the costs alone, so the same questions come in
    the same rounds. What the engine asked besides, it asked to compare styles.
    """

    def __init__(self, result: VideoResult, film: LabelledVideo, endpoint: Endpoint) -> None:
        super().__init__(film, result.video, endpoint)
        self._seen = {
            round(time_s * 1000): seen for time_s, seen in result.findings[0].observations
        }
        costs = Costs(*result.findings[0].terms)
        drive(engine_search(self, costs=costs), self)
        self._charge_comparisons(result.coverage.calls - self.bill.total.calls)

    def _charge_comparisons(self, calls: int) -> None:
        """Charge frames of the scan that were asked about once more, in full pictures."""
        nothing = [[False] * len(self.tags)] * calls
        style = RequestStyle(side=FULL)
        self.bill.usage[Purpose.SCAN] += self.counts.usage(style, [self.tags] * calls, nothing)

    def observe(self, queries: Sequence[FrameQuery]) -> list[Observation]:
        counted = super().observe(queries)
        return [
            self._seen.get(round(query.time_s * 1000), one)
            for query, one in zip(queries, counted, strict=True)
        ]


def _undecoded(
    film: LabelledVideo, mistakes_made: Mistakes, *, upstream: bool
) -> Iterator[tuple[str, Score]]:
    info = probe(str(film.path))
    yardsticks = {
        name: run for name, run in YARDSTICKS.items() if upstream or "upstream" not in name
    }
    runs: list[tuple[str, VideoInfo, Strategy]] = [
        (name, info, run) for name, run in yardsticks.items()
    ]
    runs += [
        (UNDECODED, info, searching),
        (SIMULATED_CUTS, with_simulated_hints(info, film), searching),
    ]
    for name, seen, run in runs:
        oracle = FilmModel(film, seen, mistakes_made.endpoint(film))
        begun_s = time.process_time()
        spans = run(oracle)
        yield (
            name,
            score(
                spans,
                film.truth,
                Cost.of(oracle.bill, info.duration_s, time.process_time() - begun_s),
            ),
        )


def with_simulated_hints(info: VideoInfo, film: LabelledVideo) -> VideoInfo:
    """Return the video with cut hints as good as the simulation's and without key frames to move
    to, as there.
    """
    rng = np.random.default_rng((film.spec.seed, 3))
    cuts_s, usual = np.array(film.cuts_s), World()
    strengths = rng.uniform(0.4, 1.0, len(cuts_s))
    hints = cut_hints(rng, cuts_s, strengths, info.duration_s, usual.cut_recall, usual.false_cuts)
    return replace(info, cuts=hints, key_frames_s=())
