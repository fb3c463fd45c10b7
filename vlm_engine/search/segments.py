"""From probabilities at frames to spans: where a tag applies, how exactly and how surely."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vlm_engine.search.evidence import TimeWarp
from vlm_engine.search.posterior import Posterior
from vlm_engine.types import Span

CUT_MARGIN_S = 0.3
"""Hints place a cut to about a tenth of a second: nearer than this, a frame may be of either shot.
"""
_LEAST_GAP_S = 0.8
_CUT_SHARE = 0.6
_CUT_SHARE_WEIGHT = 10.0
_MOST_CUT_SHARE = 0.95
_NARROW_S = 1.6
_TEMPERATURE = 1.4
_EDGES = 4.0
_LEAST_PLACED = 0.6


class Gap:
    """The stretch between two neighbouring frames that disagree about a tag.

    One change is assumed in it. Its prior: every second carries its part of the changes that are
    not at cuts, and every cut, by its weight, its part of those that are, which is ``cut_share`` of
    all. The change is placed at the prior's median, ``time_s``, because that has the least expected
    distance from the truth, ``expected_error_s``.
    """

    def __init__(self, start_s: float, end_s: float, warp: TimeWarp, cut_share: float) -> None:
        self.start_s, self.end_s = start_s, end_s
        # A frame at the beginning of a shot, often a key frame, has the cut at its very time: the
        # change may be there.
        inside = slice(*np.searchsorted(warp.cuts_s, [start_s, end_s], side="right"))
        masses = cut_share * warp.seconds_per_cut[inside]
        self._cuts: list[tuple[float, float]] = list(
            zip(warp.cuts_s[inside].tolist(), masses.tolist(), strict=True)
        )
        self._per_s = 1.0 - cut_share
        self._mass: float = self._per_s * (end_s - start_s) + sum(mass for _, mass in self._cuts)
        self.time_s, self.expected_error_s = start_s, 0.0
        if end_s > start_s:  # else a scanner and a judge disagree about one frame
            self.time_s = self._median_s()
            self.expected_error_s = self._distance_from(self.time_s)

    def _median_s(self) -> float:
        missing, reached_s = self._mass / 2, self.start_s
        for cut_s, mass in self._cuts:
            before = self._per_s * (cut_s - reached_s)
            if missing <= before:
                break
            missing, reached_s = missing - before - mass, cut_s
            if missing <= 0:
                return cut_s
        return reached_s + missing / self._per_s

    def _distance_from(self, time_s: float) -> float:
        off_cuts = self._per_s * ((time_s - self.start_s) ** 2 + (self.end_s - time_s) ** 2) / 2
        at_cuts = sum(mass * abs(cut_s - time_s) for cut_s, mass in self._cuts)
        return (off_cuts + at_cuts) / self._mass

    def best_frame(self, is_free: Callable[[float], bool]) -> float | None:
        """Return the free time whose answer would best halve the prior's mass, or None."""
        if self.end_s - self.start_s <= _LEAST_GAP_S:
            return None
        return min(
            filter(is_free, self._candidates()),
            key=lambda time_s: (abs(self._mass_before(time_s) - 0.5), time_s),
            default=None,
        )

    def _mass_before(self, time_s: float) -> float:
        at_cuts = sum(mass for cut_s, mass in self._cuts if cut_s <= time_s)
        return (self._per_s * (time_s - self.start_s) + at_cuts) / self._mass

    def _candidates(self) -> list[float]:
        length_s = self.end_s - self.start_s
        times = [cut_s + side for cut_s, _ in self._cuts for side in (-CUT_MARGIN_S, CUT_MARGIN_S)]
        times += [self.start_s + share * length_s for share in (1 / 3, 1 / 2, 2 / 3)]
        inside = [time_s for time_s in times if self.start_s < time_s < self.end_s]
        clear = [
            time_s
            for time_s in inside
            if all(abs(cut_s - time_s) >= CUT_MARGIN_S - 1e-6 for cut_s, _ in self._cuts)
        ]
        return clear or inside


@dataclass(frozen=True, slots=True)
class Edge:
    """A change between two judged frames that disagree.

    ``sure``: the probability that there is one at all.
    """

    gap: Gap
    sure: float


@dataclass(frozen=True, slots=True)
class Run:
    """A stretch in which the tag in ``column`` applies.

    It has no edge where the video begins or ends.
    """

    column: int
    start_s: float
    end_s: float
    edges: tuple[Edge, ...]


@dataclass(frozen=True, slots=True)
class _Change:
    """Two neighbouring judged frames that disagree about a tag."""

    start_s: float
    end_s: float
    sure: float


def find_runs(posterior: Posterior, duration_s: float) -> list[Run]:
    """Return the runs of all tags, in the order of tags and time."""
    changes = {column: _changes(posterior, column) for column in map(int, posterior.seen)}
    cut_share = _cut_share(
        posterior.warp, [each for _, of_tag in changes.values() for each in of_tag]
    )
    gaps: dict[tuple[float, float], Gap] = {}

    def edge(change: _Change) -> Edge:
        place = change.start_s, change.end_s
        if place not in gaps:
            gaps[place] = Gap(*place, posterior.warp, cut_share)
        return Edge(gaps[place], change.sure)

    runs = []
    for column, (shows_first, of_tag) in changes.items():
        bounds = [*([None] if shows_first else []), *map(edge, of_tag)]
        if len(bounds) % 2:
            bounds.append(None)
        for begin, end in zip(bounds[::2], bounds[1::2], strict=True):
            start_s = begin.gap.time_s if begin else 0.0
            end_s = end.gap.time_s if end else duration_s
            edges = tuple(each for each in (begin, end) if each)
            runs.append(Run(column, start_s, end_s, edges))
    return runs


def _changes(posterior: Posterior, column: int) -> tuple[bool, list[_Change]]:
    """Return whether the tag shows at first, and every change between two frames judged for it."""
    rows = np.flatnonzero(posterior.evidence.judged[:, column])
    times_s, shows = posterior.evidence.times_s[rows], posterior.shows[rows, column]
    present = posterior.present[rows, column]
    sure = np.where(shows, present, 1 - present)
    changes = [
        _Change(float(times_s[i]), float(times_s[i + 1]), float(min(sure[i], sure[i + 1])))
        for i in np.flatnonzero(shows[1:] != shows[:-1])
    ]
    return bool(shows[0]), changes


def _cut_share(warp: TimeWarp, changes: Sequence[_Change]) -> float:
    """Return the share of changes, among those known closely, that have a cut beside them.

    It is the same for all tags.
    """
    if not len(warp.cuts_s):
        return 0.0
    places = {(each.start_s, each.end_s) for each in changes}
    narrow = np.array([(a, b) for a, b in sorted(places) if b - a <= _NARROW_S]).reshape(-1, 2)
    cut = np.diff(warp.shots(narrow), axis=1) > 0
    share = (cut.sum() + _CUT_SHARE * _CUT_SHARE_WEIGHT) / (len(narrow) + _CUT_SHARE_WEIGHT)
    return min(_MOST_CUT_SHARE, float(share))


def spans_of(posterior: Posterior, runs: Sequence[Run], tags: Sequence[str]) -> Iterator[Span]:
    """Yield the runs as spans, in the order of tags and time."""
    for run in runs:
        if run.end_s > run.start_s:
            yield Span(tags[run.column], run.start_s, run.end_s, _confidence(posterior, run))


def _confidence(posterior: Posterior, run: Run) -> float:
    """Return the probability that the run is an event and shares half of the time that both cover.

    It is as sure as the less sure of its edges. Probabilities are surer than they are right,
    because answers err together in more ways than the model has, so their logits are divided by a
    temperature (Guo et al., *On calibration of modern neural networks*, 2017). An edge that may lie
    far away, for the length of the run, takes away up to four tenths. The three figures are fitted
    to simulated and to real footage: docs/benchmarks.md has the resulting reliability.
    """
    sure = min((edge.sure for edge in run.edges), default=None)
    if sure is None:  # from the first frame to the last
        judged = posterior.evidence.judged[:, run.column]
        sure = float(posterior.present[judged, run.column].min())
    off_s = sum(edge.gap.expected_error_s for edge in run.edges)
    placed = 1 - math.exp(-(run.end_s - run.start_s) / (_EDGES * off_s)) if off_s else 1.0
    odds = max(sure, 1e-9) / max(1 - sure, 1e-9)
    return float(1 / (1 + odds ** (-1 / _TEMPERATURE))) * max(_LEAST_PLACED, placed)
