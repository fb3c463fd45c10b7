"""Where, between two looks that disagree, does a tag begin or end? And which frame would tell best?

Between two neighbouring looks one change is assumed. Its prior: ``CUT_SHARE`` of the mass lies on the cuts
in between, by their weight, the rest is spread evenly; without a cut all of it is. The change is placed at the
prior's median, and asked about further while that is expected to be off by more than the tolerance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlm_engine.types import Cut

CUT_SHARE = 0.6
CUT_MARGIN_S = 0.3
"""Hints place a cut to about a tenth of a second: nearer than this, a frame may be of either shot."""
LEAST_GAP_S = 0.8
_GRID = 24


@dataclass(frozen=True, slots=True)
class Change:
    """The believed place of one change: its ``time_s``, and the expected distance of the truth from it."""

    time_s: float
    expected_error_s: float


class Prior:
    """What is believed of the place of one change between ``start_s`` and ``end_s``: masses at ascending times, 1 in all.

    ``cuts_s``: the cuts in between.
    """

    def __init__(
        self,
        start_s: float,
        end_s: float,
        cuts_s: NDArray[np.floating[Any]],
        times_s: NDArray[np.floating[Any]],
        masses: NDArray[np.floating[Any]],
    ) -> None:
        self.start_s, self.end_s = start_s, end_s
        self._cuts_s, self._times_s, self._masses = cuts_s, times_s, masses

    def change(self) -> Change:
        """The median of the prior and the mean distance from it."""
        median_s = self._times_s[np.searchsorted(np.cumsum(self._masses), 0.5).clip(max=len(self._times_s) - 1)]
        return Change(float(median_s), float(self._masses @ np.abs(self._times_s - median_s)))

    def best_look(self, is_free: Callable[[float], bool]) -> float | None:
        """The time whose answer would best halve the prior's mass, among those that are free; None when there is none."""
        if self.end_s - self.start_s <= LEAST_GAP_S:
            return None
        candidates = [time_s for time_s in self._candidates() if is_free(time_s)]
        return min(candidates, key=lambda time_s: (abs(self._mass_before(time_s) - 0.5), time_s), default=None)

    def _mass_before(self, time_s: float) -> float:
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


class Gap(Prior):
    """The stretch between two looks at a tag that disagree. ``cuts`` are all cuts of the video, in order of time."""

    def __init__(self, start_s: float, end_s: float, cuts: Sequence[Cut]) -> None:
        inside = [cut for cut in cuts if start_s < cut.time_s < end_s]
        cuts_s = np.array([cut.time_s for cut in inside])
        weights = np.array([max(0.05, cut.strength - 0.2) for cut in inside])
        even_s = start_s + (np.arange(_GRID) + 0.5) * (end_s - start_s) / _GRID
        even_share = 1 - CUT_SHARE if inside else 1.0
        times_s = np.concatenate([even_s, cuts_s])
        masses = np.concatenate([np.full(_GRID, even_share / _GRID), CUT_SHARE * weights / (weights.sum() or 1.0)])
        order = np.argsort(times_s, kind="stable")
        super().__init__(start_s, end_s, cuts_s, times_s[order], masses[order])
