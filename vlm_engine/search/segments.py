"""From beliefs at single frames to runs: from when to when a tag applies, and how exactly its ends are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vlm_engine.search.edges import Change, Gap
from vlm_engine.search.posterior import Posterior

_CUT_SHARE = 0.6
_CUT_SHARE_WEIGHT = 10.0
_MOST_CUT_SHARE = 0.95
_NARROW_S = 1.6


@dataclass(frozen=True, slots=True)
class Edge:
    """A change between two judged frames that disagree. ``sure``: how probably there is one there at all."""

    gap: Gap
    change: Change
    sure: float


@dataclass(frozen=True, slots=True)
class Run:
    """A stretch in which the tag in ``column`` applies; it has no edge where the video begins or ends."""

    column: int
    begin: Edge | None
    end: Edge | None
    start_s: float
    end_s: float

    @property
    def edges(self) -> tuple[Edge, ...]:
        """Those it has, in order."""
        return tuple(edge for edge in (self.begin, self.end) if edge)


_Flip = tuple[float, float, bool, float]  # from, to (seconds), comes or goes, how sure


class Segments:
    """The runs of all tags under one belief, each tag's in order of time."""

    def __init__(self, belief: Posterior, duration_s: float) -> None:
        self._duration_s = duration_s
        self._clock = belief.clock
        self._edges: dict[tuple[float, float], tuple[Gap, Change]] = {}
        flips = {column: _flips(belief, column) for column in map(int, belief.live)}
        self._cut_share = self._learnt_cut_share(flips)
        self._runs = [
            run for column, (shown, own) in flips.items() for run in self._of(column, shown, own)
        ]

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs)

    def _learnt_cut_share(self, flips: dict[int, tuple[bool, list[_Flip]]]) -> float:
        """Of the changes that are known closely, how many have a cut beside them; no matter of one tag alone."""
        if not len(self._clock.cuts_s):
            return 0.0
        narrow = np.array(
            sorted(
                {
                    flip[:2]
                    for _, own in flips.values()
                    for flip in own
                    if flip[1] - flip[0] <= _NARROW_S
                }
            )
        )
        narrow = narrow.reshape(-1, 2)
        cut = np.diff(self._clock.shots(narrow), axis=1) > 0
        share = (cut.sum() + _CUT_SHARE * _CUT_SHARE_WEIGHT) / (len(narrow) + _CUT_SHARE_WEIGHT)
        return min(_MOST_CUT_SHARE, float(share))

    def _of(self, column: int, shown: bool, flips: list[_Flip]) -> Iterator[Run]:
        edges = [Edge(*self._edge(start_s, end_s), sure) for start_s, end_s, _, sure in flips]
        bounds: list[Edge | None] = [*([None] if shown else []), *edges]
        if len(bounds) % 2:
            bounds.append(None)
        for begin, end in zip(bounds[::2], bounds[1::2], strict=True):
            start_s = begin.change.time_s if begin else 0.0
            end_s = end.change.time_s if end else self._duration_s
            yield Run(column, begin, end, start_s, end_s)

    def _edge(self, start_s: float, end_s: float) -> tuple[Gap, Change]:
        if (start_s, end_s) not in self._edges:
            gap = Gap(start_s, end_s, self._clock, self._cut_share)
            self._edges[start_s, end_s] = gap, gap.change()
        return self._edges[start_s, end_s]


def _flips(belief: Posterior, column: int) -> tuple[bool, list[_Flip]]:
    """Whether the tag shows at first, and every change between two frames judged for it."""
    rows = np.flatnonzero(belief.evidence.judged[:, column])
    times_s, present, shown = (
        belief.evidence.times_s[rows],
        belief.present[rows, column],
        belief.shown[rows, column],
    )
    sure = np.where(shown, present, 1 - present)
    changes = np.flatnonzero(shown[1:] != shown[:-1])
    flips = [
        (
            float(times_s[i]),
            float(times_s[i + 1]),
            bool(shown[i + 1]),
            float(min(sure[i], sure[i + 1])),
        )
        for i in changes
    ]
    return bool(shown[0]), flips
