"""Where, between two looks that disagree, does a tag begin or end?

As in the product's search, with another prior: every second carries its part of the changes that are not at cuts, and every
cut, by its weight, its part of those that are.
"""

from __future__ import annotations

import numpy as np

from benchmarks.belief_search.clock import Clock
from vlm_engine.search.edges import Prior

_GRID = 12


class Gap(Prior):
    """The stretch between two looks at a tag that disagree. ``cut_share``: of all changes, so many are at cuts."""

    def __init__(self, start_s: float, end_s: float, clock: Clock, cut_share: float) -> None:
        first, last = np.searchsorted(clock.cuts_s, [start_s + 1e-9, end_s - 1e-9])
        length_s = end_s - start_s
        even_s = start_s + (np.arange(_GRID) + 0.5) * length_s / _GRID
        times_s = np.concatenate([even_s, clock.cuts_s[first:last]])
        masses = np.concatenate(
            [np.full(_GRID, (1 - cut_share) * length_s / _GRID), cut_share * clock.seconds_per_cut[first:last]]
        )
        order = np.argsort(times_s, kind="stable")
        super().__init__(start_s, end_s, clock.cuts_s[first:last], times_s[order], masses[order] / (masses.sum() or 1.0))
