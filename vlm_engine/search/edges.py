"""Where, between two looks that disagree, does a tag begin or end? And which frame would tell best?

Between two neighbouring looks that disagree one change is assumed. Its prior: every second carries its part of the changes
that are not at cuts, and every cut, by its weight, its part of those that are. The change is placed at the prior's median.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vlm_engine.search.clock import Clock

CUT_MARGIN_S = 0.3
"""Hints place a cut to about a tenth of a second: nearer than this, a frame may be of either shot."""
LEAST_GAP_S = 0.8
_GRID = 12


@dataclass(frozen=True, slots=True)
class Change:
    """The believed place of one change: its ``time_s``, and the expected distance of the truth from it."""

    time_s: float
    expected_error_s: float


class Gap:
    """The stretch between two looks at a tag that disagree. ``cut_share``: of all changes, so many are at cuts."""

    def __init__(self, start_s: float, end_s: float, clock: Clock, cut_share: float) -> None:
        self.start_s, self.end_s = start_s, end_s
        first, last = np.searchsorted(clock.cuts_s, [start_s + 1e-9, end_s - 1e-9])
        self._cuts_s = clock.cuts_s[first:last]
        if first == last:
            return
        length_s = end_s - start_s
        even_s = start_s + (np.arange(_GRID) + 0.5) * length_s / _GRID
        times_s = np.concatenate([even_s, self._cuts_s])
        masses = np.concatenate(
            [np.full(_GRID, (1 - cut_share) * length_s / _GRID), cut_share * clock.seconds_per_cut[first:last]]
        )
        order = np.argsort(times_s, kind="stable")
        self._times_s, self._masses = times_s[order], masses[order] / (masses.sum() or 1.0)

    def change(self) -> Change:
        """The median of the prior and the mean distance from it."""
        if not len(self._cuts_s):
            return Change((self.start_s + self.end_s) / 2, (self.end_s - self.start_s) / 4)
        median_s = self._times_s[np.searchsorted(np.cumsum(self._masses), 0.5).clip(max=len(self._times_s) - 1)]
        return Change(float(median_s), float(self._masses @ np.abs(self._times_s - median_s)))

    def best_look(self, is_free: Callable[[float], bool]) -> float | None:
        """The time whose answer would best halve the prior's mass, among those that are free; None when there is none."""
        if self.end_s - self.start_s <= LEAST_GAP_S:
            return None
        candidates = [time_s for time_s in self._candidates() if is_free(time_s)]
        return min(candidates, key=lambda time_s: (abs(self._mass_before(time_s) - 0.5), time_s), default=None)

    def _mass_before(self, time_s: float) -> float:
        if not len(self._cuts_s):
            return (time_s - self.start_s) / (self.end_s - self.start_s)
        return float(self._masses[self._times_s <= time_s].sum())

    def _candidates(self) -> list[float]:
        length_s = self.end_s - self.start_s
        beside_cuts = [float(cut_s) + side for cut_s in self._cuts_s for side in (-CUT_MARGIN_S, CUT_MARGIN_S)]
        times = [*beside_cuts, *(self.start_s + share * length_s for share in (1 / 3, 1 / 2, 2 / 3))]
        inside = [time_s for time_s in times if self.start_s < time_s < self.end_s]
        clear = [time_s for time_s in inside if not self._near_cut(time_s)]
        return clear or inside

    def _near_cut(self, time_s: float) -> bool:
        return bool(len(self._cuts_s)) and float(np.abs(self._cuts_s - time_s).min()) < CUT_MARGIN_S - 1e-6
