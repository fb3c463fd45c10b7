"""Time as tags feel it: much of what changes, changes at a cut.

Between two looks pass the seconds between them, in part, and in part the share of the video's cuts that lies
between them, counted by weight, in seconds of the video's duration. Without cuts it is plain time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vlm_engine.search.rates import Floats
from vlm_engine.types import Cut

CUT_SHARE = 0.5
_LEAST_STEP_S = 1e-3
_LONGEST_SCENE_S = 30.0


class TimeWarp:
    """The clock of one video. ``cuts`` in order of time."""

    def __init__(self, duration_s: float, cuts: Sequence[Cut]) -> None:
        self.cuts_s: Floats = np.array([cut.time_s for cut in cuts], dtype=np.float64)
        self.seconds_per_cut = cut_weights(cuts) * duration_s
        self._passed = np.concatenate([[0.0], np.cumsum(self.seconds_per_cut)])

    def at(self, times_s: Floats) -> Floats:
        """What the clock shows."""
        if not len(self.cuts_s):
            return times_s
        passed = self._passed[np.searchsorted(self.cuts_s, times_s, side="right")]
        return np.asarray((1 - CUT_SHARE) * times_s + CUT_SHARE * passed, dtype=np.float64)

    def between(self, earlier_s: Floats, later_s: Floats) -> Floats:
        """What passes on the clock from one to the other; never quite nothing."""
        return np.maximum(self.at(later_s) - self.at(earlier_s), 0.0) + _LEAST_STEP_S

    def shots(self, times_s: Floats) -> NDArray[np.intp]:
        """The number of the shot in which each of the times lies."""
        return np.searchsorted(self.cuts_s, times_s, side="right")

    def scenes(self, times_s: Floats) -> NDArray[np.intp]:
        """The same, with long shots divided: what is hidden or mistaken is not so for minutes."""
        shots = self.shots(times_s)
        began_s = np.concatenate([[0.0], self.cuts_s])[shots]
        piece = np.floor((times_s - began_s) / _LONGEST_SCENE_S)
        fresh = (np.diff(shots) > 0) | (np.diff(piece) > 0)
        return np.cumsum(np.concatenate([[0], fresh]))[: len(times_s)]


def cut_weights(cuts: Sequence[Cut]) -> Floats:
    """What each cut counts, of 1 for all: strong ones more, and none nothing."""
    weights = np.array([max(0.05, cut.strength - 0.2) for cut in cuts])
    return weights / (weights.sum() or 1.0)
