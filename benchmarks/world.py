"""Simulated videos: their shots, what happens in them, and the cut hints an index would give.

Seeded, no pictures.

Lengths follow lognormal laws; a tag is absent, or comes in long, medium or short stretches; a share
of the edges lies on a cut; cut hints are a flawed reading of the true cuts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vlm_engine.types import Cut, VideoInfo

Spans = list[list[float]]

FRAME_RATE = 25.0
SHORT_S = 10.0
"""Events up to this length count as short."""

_PLAYS = (
    "Basketball point",
    "Foul",
    "Break-away",
    "Turnover",
    "Free throw",
    "Timeout",
    "Corner kick",
    "Goal",
)
_NEVER_SHARE = 0.35
_LEAST_ON_S, _LEAST_OFF_S = 2.0, 2.5
_SHORT_SNAP_S, _SNAP_S = 2.0, 20.0
_FADE_RECALL, _FADE_OFF_S = 0.6, 0.5


@dataclass(frozen=True, slots=True)
class World:
    """Settings to draw videos from.

    ``None`` leaves length (5 minutes to 2 hours) and number of tags (5 to 35) to chance.

    ``kinds``: shares of tags with long, medium and short stretches, among those ever present.
    ``cut_recall``: share of true cuts that are hinted at; ``false_cuts``: false hints for each true
    one. ``filled_shots``: share of the stretches that begin and end with a shot. ``fades``: share
    of the cuts that are fades: six in ten are hinted at, half a second off.
    """

    cut_coincidence: float = 0.6
    shot_median_s: float = 12.0
    duration_s: float | None = None
    tags: int | None = None
    kinds: tuple[float, float, float] = (0.3, 0.4, 0.3)
    cut_recall: float = 0.85
    false_cuts: float = 0.25
    filled_shots: float = 0.0
    fades: float = 0.0


@dataclass(frozen=True, slots=True)
class SimulatedVideo:
    """``info`` as probing would tell it, the true cuts, and for every tag its true (start, end) in
    seconds.
    """

    info: VideoInfo
    cuts_s: NDArray[np.float64]
    truth: Mapping[str, tuple[tuple[float, float], ...]]


def tag_names(count: int) -> tuple[str, ...]:
    """So many different tags."""
    return tuple(
        f"{_PLAYS[i % len(_PLAYS)]}{'' if i < len(_PLAYS) else f' {i // len(_PLAYS) + 1}'}"
        for i in range(count)
    )


def draw_video(world: World, seed: tuple[int, ...]) -> SimulatedVideo:
    """Return the video of this seed."""
    rng = np.random.default_rng(seed)
    duration_s = world.duration_s or float(np.exp(rng.uniform(np.log(300), np.log(7200))))
    count = world.tags or int(rng.integers(5, 36))
    cuts_s = _shots(rng, world.shot_median_s, duration_s)
    strengths = rng.uniform(0.4, 1.0, len(cuts_s))
    all_spans, fresh_s = [], []
    for _ in range(count):
        spans = _stretches(rng, world, duration_s)
        fresh_s += _align(rng, spans, cuts_s, strengths, world.cut_coincidence, duration_s)
        all_spans.append(_filling(rng, spans, cuts_s, world.filled_shots, duration_s))
    cuts_s, strengths = _with_fresh(rng, cuts_s, strengths, fresh_s)
    hints = cut_hints(
        rng, cuts_s, strengths, duration_s, world.cut_recall, world.false_cuts, world.fades
    )
    truth = {
        tag: tuple((start, end) for start, end in spans)
        for tag, spans in zip(tag_names(count), all_spans, strict=True)
    }
    return SimulatedVideo(_info(duration_s, hints, seed), cuts_s, truth)


def _info(duration_s: float, hints: tuple[Cut, ...], seed: tuple[int, ...]) -> VideoInfo:
    name = "-".join(map(str, seed))
    end_s = int(duration_s * FRAME_RATE - 1) / FRAME_RATE
    return VideoInfo(
        f"{name}.mp4", name, duration_s, end_s, 1920, 1080, FRAME_RATE, "h264", cuts=hints
    )


def _shots(rng: np.random.Generator, median_s: float, duration_s: float) -> NDArray[np.float64]:
    cuts_s: list[float] = []
    time_s = 0.0
    while True:
        time_s += max(0.5, median_s * float(np.exp(rng.normal(0, 0.9))))
        if time_s >= duration_s - 1:
            return np.array(cuts_s)
        cuts_s.append(time_s)


def _stretches(rng: np.random.Generator, world: World, duration_s: float) -> Spans:
    """Return the times when one tag is on, before its edges are moved onto cuts."""
    if rng.random() < _NEVER_SHARE:
        return []
    kind = ("long", "medium", "short")[rng.choice(3, p=world.kinds)]
    spans = _alternate(rng, kind, duration_s)
    return (
        spans if kind == "short" else [part for span in spans for part in _interrupted(rng, *span)]
    )


def _alternate(rng: np.random.Generator, kind: str, duration_s: float) -> Spans:
    def around(typical_s: float, spread: float) -> float:
        return typical_s * float(np.exp(rng.normal(0, spread)))

    def on() -> float:
        return (
            float(rng.uniform(3, 10))
            if kind == "short"
            else around(180, 0.8)
            if kind == "long"
            else around(35, 0.7)
        )

    def off() -> float:
        return around(240, 1.0) if kind == "short" else around(400 if kind == "long" else 200, 0.8)

    spans: Spans = []
    time_s = off() * rng.uniform(0, 1)
    while time_s < duration_s - _LEAST_ON_S:
        on_s = max(_LEAST_ON_S, on())
        spans.append([time_s, min(duration_s, time_s + on_s)])
        time_s += on_s + max(_LEAST_OFF_S, off())
    return spans


def _interrupted(rng: np.random.Generator, start_s: float, end_s: float) -> Spans:
    """Return a stretch with a gap of 4 to 15 seconds now and then, if it is long enough."""
    parts: Spans = []
    while end_s - start_s > 30 and rng.random() < 0.3:
        gap_s = float(rng.uniform(start_s + 8, end_s - 20))
        parts.append([start_s, gap_s])
        start_s = min(gap_s + float(rng.uniform(4, 15)), end_s - 3)
    return [*parts, [start_s, end_s]]


def _align(
    rng: np.random.Generator,
    spans: Spans,
    cuts_s: NDArray[np.float64],
    strengths: NDArray[np.float64],
    share: float,
    duration_s: float,
) -> list[float]:
    """Move a share of the edges onto cuts near them; returns where a cut has to be added, because
    there is none.
    """
    fresh_s = []
    for index, span in enumerate(spans):
        for side in (0, 1):
            if rng.random() >= share:
                continue
            cut_s = _near_cut(
                span[side], _SHORT_SNAP_S if _is_short(span) else _SNAP_S, cuts_s, strengths
            )
            if cut_s is not None and _may_move(spans, index, side, cut_s, duration_s):
                span[side] = cut_s
            elif 0.5 < span[side] < duration_s - 0.5:
                fresh_s.append(span[side])
    return fresh_s


def _filling(
    rng: np.random.Generator,
    spans: Spans,
    cuts_s: NDArray[np.float64],
    share: float,
    duration_s: float,
) -> Spans:
    """Return the spans, a share of them moved to the cuts nearest to their edges, or to the whole
    of the one shot they lie in.
    """
    if not share:
        return spans
    bounds_s = np.concatenate([[0.0], cuts_s, [duration_s]])
    moved: Spans = []
    for span in spans:
        start_s, end_s = _whole_shots(span, bounds_s) if rng.random() < share else span
        if end_s - start_s >= _LEAST_ON_S and (not moved or start_s - moved[-1][1] >= _LEAST_OFF_S):
            moved.append([start_s, end_s])
    return moved


def _whole_shots(span: list[float], bounds_s: NDArray[np.float64]) -> list[float]:
    first, last = (int(np.abs(bounds_s - edge_s).argmin()) for edge_s in span)
    if first == last:
        last = int(np.searchsorted(bounds_s, sum(span) / 2).clip(1, len(bounds_s) - 1))
        first = last - 1
    return [float(bounds_s[first]), float(bounds_s[last])]


def _is_short(span: list[float]) -> bool:
    return span[1] - span[0] <= 12


def _near_cut(
    time_s: float, reach_s: float, cuts_s: NDArray[np.float64], strengths: NDArray[np.float64]
) -> float | None:
    """Return the cut an editor would have used: near, and a stronger one sooner than a weaker."""
    first, last = np.searchsorted(cuts_s, [time_s - reach_s, time_s + reach_s])
    if first == last:
        return None
    merit = 4.0 * strengths[first:last] - np.abs(cuts_s[first:last] - time_s)
    return float(cuts_s[first + int(np.argmax(merit))])


def _may_move(spans: Spans, index: int, side: int, cut_s: float, duration_s: float) -> bool:
    """Return True if an edge may move there, given its span's other edge and the neighbours."""
    start_s, end_s = spans[index]
    short = _is_short(spans[index])
    least_s = 3.0 if short else 5.0
    if side == 0:
        earliest, latest = (spans[index - 1][1] + 2.0 if index else 0.0), end_s - least_s
    else:
        earliest, latest = (
            start_s + least_s,
            (spans[index + 1][0] - 2.0 if index + 1 < len(spans) else duration_s),
        )
    return earliest <= cut_s <= latest and (not short or abs(spans[index][1 - side] - cut_s) <= 11)


def _with_fresh(
    rng: np.random.Generator,
    cuts_s: NDArray[np.float64],
    strengths: NDArray[np.float64],
    fresh_s: list[float],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    times_s = np.concatenate([cuts_s, fresh_s])
    order = np.argsort(times_s)
    times_s, strengths = (
        times_s[order],
        np.concatenate([strengths, rng.uniform(0.4, 1.0, len(fresh_s))])[order],
    )
    distinct = np.diff(times_s, prepend=-1.0) > 0.05
    return times_s[distinct], strengths[distinct]


def cut_hints(
    rng: np.random.Generator,
    cuts_s: NDArray[np.float64],
    strengths: NDArray[np.float64],
    duration_s: float,
    recall: float,
    false_share: float,
    fades: float = 0.0,
) -> tuple[Cut, ...]:
    """Return the hints that a cheap detector gives for the true cuts: some missed, each a tenth of
    a second off, weaker false ones between.

    Of those that are ``fades`` fewer are seen, and less exactly.
    """
    fading = rng.random(len(cuts_s)) < fades if fades else np.zeros(len(cuts_s), bool)
    seen = rng.random(len(cuts_s)) < np.where(fading, min(recall, _FADE_RECALL), recall)
    off_s = np.where(fading[seen], _FADE_OFF_S, 0.1)
    hit_s = cuts_s[seen] + rng.uniform(-1.0, 1.0, int(seen.sum())) * off_s
    false_count = rng.poisson(false_share * len(hit_s) + (duration_s / 600 if false_share else 0.0))
    found = [
        *zip(hit_s, strengths[seen], strict=True),
        *zip(
            rng.uniform(1, max(1.1, duration_s - 1), false_count),
            rng.uniform(0.2, 0.6, false_count),
            strict=True,
        ),
    ]
    hints = [Cut(float(time_s), float(strength)) for time_s, strength in sorted(found)]
    before_s = [-1.0, *(cut.time_s for cut in hints)]
    return tuple(
        cut for cut, last_s in zip(hints, before_s, strict=False) if cut.time_s - last_s > 0.4
    )


def shot_lengths(video: SimulatedVideo) -> list[float]:
    """Seconds between the true cuts, first and last shot included."""
    return [end - start for start, end in pairwise([0.0, *video.cuts_s, video.info.duration_s])]
