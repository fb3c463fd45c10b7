"""What a search knows or learns of its video: how often tags come, how long they stay, how often the model errs.

The figures that stand here are what is assumed before anything is seen. They hold until the answers outweigh them: each
counts like so many observed seconds or looks (maximum a posteriori, as in Dempster, Laird and Rubin 1977).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

SHORT_S = 7.0
"""Mean length of a short event."""
PAUSE_S = 9.0
"""Mean length of a pause within a long event."""
PAUSES_PER_LONG = 0.4
ABSENT_SHARE = 0.2
"""Of the tags that a user lists, so many never occur in a given video."""

STARTS_PER_VIDEO, FEWEST_STARTS_PER_S, MOST_STARTS_PER_S = 3.0, 1 / 240, 1 / 15
"""Of short and of long events each. A short clip was cut to what it shows: there, more happens per second."""
STARTS_WEIGHT = 1.0
LONG_S = 60.0
LONG_WEIGHT = 3.0

FALSE_AND_MISSED = np.array([0.004, 0.04])
"""Errors per look: a tag is seen that is not there, a tag is not seen that is."""
SHOT_SHARE = 0.3
"""Of all errors, so many hold for a whole shot: it is bad."""
SURE_ERROR = 0.9
"""In a bad shot a look errs this surely; so many looks that agree speak against a bad one."""


_BY_TAG = ("short_per_s", "long_per_s", "end_per_s", "look_error", "shot_error")


@dataclass(frozen=True, slots=True)
class Rates:
    """For each of K tags. The last axis of the error rates is what is true: 0 absent (so: false positives), 1 present (misses).

    ``sharpness`` says how much a confidence is worth: a wrong answer's density at logit c, against a right one's, falls like
    exp(-sharpness c); ``evened`` (one for absent, one for present) makes that ratio a ratio of densities.
    """

    short_per_s: Floats
    long_per_s: Floats
    end_per_s: Floats
    look_error: Floats
    shot_error: Floats
    usual_starts_per_s: float
    sharpness: float = 0.0
    evened: tuple[float, float] = (1.0, 1.0)

    def of(self, columns: NDArray[np.intp]) -> Rates:
        """The same for some of the tags."""
        parts = {name: getattr(self, name)[columns] for name in _BY_TAG}
        return replace(self, **parts)

    def with_those_of(self, columns: NDArray[np.intp], other: Rates) -> Rates:
        """Those of ``other``, which has only the tags in ``columns``; for the rest, these."""
        parts = {name: getattr(self, name).copy() for name in _BY_TAG}
        for name, part in parts.items():
            part[columns] = getattr(other, name)
        return replace(other, **parts)


def assumed(tags: int, duration_s: float) -> Rates:
    """The rates before anything was seen."""
    usual = min(MOST_STARTS_PER_S, max(FEWEST_STARTS_PER_S, STARTS_PER_VIDEO / max(duration_s, 1e-6)))
    starts = np.full(tags, usual)
    errors = np.tile(FALSE_AND_MISSED, (tags, 1))
    return Rates(starts, starts, np.full(tags, 1 / LONG_S), errors * (1 - SHOT_SHARE), errors * SHOT_SHARE, usual)
