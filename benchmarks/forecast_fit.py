"""The constants of the forecast: how many questions follow the scan of a video.

The search runs over simulated videos of two kinds: those of ``benchmarks.world``, of which a short
one often shows nothing, and those of ``sandbox.world``, where something happens in each. The model
misses 5 % and invents 0.5 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np

from benchmarks.noisy_model import Noise, NoisyModel
from benchmarks.processes import spread
from benchmarks.strategies import engine_search
from benchmarks.world import FRAME_RATE, SimulatedVideo, World, cut_hints, draw_video
from sandbox.world import SPORT_TAGS, VideoSpec, plan
from vlm_engine.checkup.question_counts import LaterQuestions
from vlm_engine.config.models import SearchConfig
from vlm_engine.types import VideoInfo

_NOISE = Noise(0.05, 0.005)
_SHORTEST_S, _LONGEST_S = 4.0, 10800.0
_SHORT_S, _LIVELY_SHORT = 120.0, 3.0
"""Below the first, lively videos weigh so many times as much: people cut clips where something
happens.
"""
_STEPS, _STEP = 200, 0.3


@dataclass(frozen=True, slots=True)
class Searched:
    """A video that was searched, with the frames of the scan and the questions that followed."""

    length_s: float
    tags: int
    effort: float
    scan: int
    later: int
    weight: float


def fitted(videos: int, first_seed: int, processes: int) -> tuple[LaterQuestions, float]:
    """Return the constants that fit so many searches, and the relative deviation of one video."""
    found = list(spread(_searched, range(first_seed, first_seed + videos), processes, at_once=8))
    return fit(found)


def fit(found: Sequence[Searched]) -> tuple[LaterQuestions, float]:
    """Return the constants with the least squares of relative errors, and the relative deviation of
    all questions about a video.

    Gauss-Newton in small steps.
    """
    length_s, tags, effort, scan, later, weight = np.array([astuple(one) for one in found]).T
    logs = np.stack(
        [
            np.ones(len(found)),
            np.log(tags),
            np.log(effort),
            np.log(length_s / scan),
            np.log(length_s / 1000),
        ],
        axis=1,
    )
    usual = LaterQuestions()
    powers = np.array([np.log(usual.usual), *astuple(usual)[1:]])
    for _ in range(_STEPS):
        likely = np.exp(logs @ powers)
        scale = np.sqrt(weight) / (scan + likely)
        slopes = logs * (scale * likely)[:, None]
        powers += _STEP * np.linalg.lstsq(slopes, scale * (later - likely))[0]
    likely = np.exp(logs @ powers)
    deviation = float(np.std(np.log((scan + later) / (scan + likely))))
    return LaterQuestions(float(np.exp(powers[0])), *map(float, powers[1:])), deviation


def _searched(seed: int) -> Searched:
    rng = np.random.default_rng((seed, 3))
    length_s = float(np.exp(rng.uniform(np.log(_SHORTEST_S), np.log(_LONGEST_S))))
    lively = seed % 2 == 1
    video = _lively(length_s, rng, seed) if lively else _usual(length_s, rng, seed)
    config = SearchConfig(
        effort=float(rng.choice([0.25, 0.5, 1.0, 1.0, 1.0, 2.0, 4.0])),
        frame_interval_s=float(rng.choice([0.0, 0.0, 0.0, 2.0, 5.0, 20.0, 45.0])),
    )
    rounds = _rounds(NoisyModel(video, _NOISE, (seed, 7)), config)
    weight = _LIVELY_SHORT if lively and length_s < _SHORT_S else 1.0
    return Searched(length_s, len(video.truth), config.effort, rounds[0], sum(rounds[1:]), weight)


def _rounds(model: NoisyModel, config: SearchConfig) -> list[int]:
    search, rounds = engine_search(model, config), []
    while queries := search.next_queries():
        rounds.append(len(queries))
        for query, seen in zip(queries, model.observe(queries), strict=True):
            search.record(query, seen)
    return rounds


def _usual(length_s: float, rng: np.random.Generator, seed: int) -> SimulatedVideo:
    world = World(
        cut_coincidence=float(rng.choice([0.3, 0.6, 0.9])),
        shot_median_s=float(np.exp(rng.uniform(np.log(3), np.log(40)))),
        duration_s=length_s,
        tags=int(rng.choice([1, 2, 3, 5, 8, 12, 20, 35])),
        cut_recall=float(rng.choice([0.85, 0.85, 0.85, 0.0])),
    )
    return draw_video(world, (seed, 1))


def _lively(length_s: float, rng: np.random.Generator, seed: int) -> SimulatedVideo:
    tags = SPORT_TAGS[: int(rng.choice([2, 5, 8]))]
    shot_s = float(rng.choice([6.0, 12.0, 30.0]))
    spec = VideoSpec(
        length_s, frame_rate=int(FRAME_RATE), tags=tags, seed=seed, shot_median_s=shot_s
    )
    timeline = plan(spec)
    cuts_s = np.array(timeline.cuts) / FRAME_RATE
    hints = cut_hints(rng, cuts_s, rng.uniform(0.4, 1.0, len(cuts_s)), length_s, 0.85, 0.1)
    truth = {
        tag: tuple((first / FRAME_RATE, end / FRAME_RATE) for first, end in spans)
        for tag, spans in timeline.spans.items()
    }
    last_s = (spec.frames - 1) / FRAME_RATE
    info = VideoInfo("", "", length_s, last_s, 1280, 720, FRAME_RATE, "h264", cuts=hints)
    return SimulatedVideo(info, cuts_s, truth)
