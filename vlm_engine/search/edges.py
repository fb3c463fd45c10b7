"""Where, between two looks that disagree, does a tag begin or end? And which frame would tell best?

Between two neighbouring looks that disagree one change is assumed. Its prior: every second carries its part of the changes
that are not at cuts, and every cut, by its weight, its part of those that are. The change is placed at the prior's median.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vlm_engine.search.time_warp import TimeWarp

CUT_MARGIN_S = 0.3
"""Hints place a cut to about a tenth of a second: nearer than this, a frame may be of either shot."""
LEAST_GAP_S = 0.8


@dataclass(frozen=True, slots=True)
class Change:
    """The believed place of one change: its ``time_s``, and the expected distance of the truth from it."""

    time_s: float
    expected_error_s: float


class Gap:
    """The stretch between two looks at a tag that disagree. ``cut_share``: of all changes, so many are at cuts."""

    def __init__(self, start_s: float, end_s: float, clock: TimeWarp, cut_share: float) -> None:
        self.start_s, self.end_s = start_s, end_s
        # A look at the first frame of a shot, often a key frame, has the cut at its very time: the change may be there.
        inside = slice(*np.searchsorted(clock.cuts_s, [start_s, end_s], side="right"))
        masses = cut_share * clock.seconds_per_cut[inside]
        self._cuts: list[tuple[float, float]] = list(
            zip(clock.cuts_s[inside].tolist(), masses.tolist(), strict=True)
        )
        self._per_s = 1.0 - cut_share
        self._mass: float = self._per_s * (end_s - start_s) + sum(mass for _, mass in self._cuts)

    def change(self) -> Change:
        """The median of the prior and the mean distance from it."""
        if self.end_s <= self.start_s:
            return Change(self.start_s, 0.0)  # a scanner and a judge that disagree about one frame
        median_s = self._median_s()
        off_cuts = self._per_s * ((median_s - self.start_s) ** 2 + (self.end_s - median_s) ** 2) / 2
        at_cuts = sum(mass * abs(cut_s - median_s) for cut_s, mass in self._cuts)
        return Change(median_s, (off_cuts + at_cuts) / self._mass)

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

    def best_look(self, is_free: Callable[[float], bool]) -> float | None:
        """The time whose answer would best halve the prior's mass, among those that are free; None when there is none."""
        if self.end_s - self.start_s <= LEAST_GAP_S:
            return None
        candidates = [time_s for time_s in self._candidates() if is_free(time_s)]
        return min(
            candidates,
            key=lambda time_s: (abs(self._mass_before(time_s) - 0.5), time_s),
            default=None,
        )

    def _mass_before(self, time_s: float) -> float:
        at_cuts = sum(mass for cut_s, mass in self._cuts if cut_s <= time_s)
        return (self._per_s * (time_s - self.start_s) + at_cuts) / self._mass

    def _candidates(self) -> list[float]:
        length_s = self.end_s - self.start_s
        beside_cuts = [
            cut_s + side for cut_s, _ in self._cuts for side in (-CUT_MARGIN_S, CUT_MARGIN_S)
        ]
        times = [
            *beside_cuts,
            *(self.start_s + share * length_s for share in (1 / 3, 1 / 2, 2 / 3)),
        ]
        inside = [time_s for time_s in times if self.start_s < time_s < self.end_s]
        clear = [time_s for time_s in inside if not self._near_cut(time_s)]
        return clear or inside

    def _near_cut(self, time_s: float) -> bool:
        return any(abs(cut_s - time_s) < CUT_MARGIN_S - 1e-6 for cut_s, _ in self._cuts)
