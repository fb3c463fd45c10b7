"""What a search knows or learns of its video: how often tags come, how long they stay, how often the model errs.

The figures that stand here are what is assumed before anything is seen. They hold until the answers outweigh them: each
counts like so many observed seconds or looks (maximum a posteriori, as in Dempster, Laird and Rubin 1977).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

SHORT_S = 7.0
"""Mean length of a short event."""
SHORTEST_S = 2.0
"""Nobody is expected to look for events, or pauses, shorter than this."""
PAUSE_S = 9.0
"""Mean length of a pause within a long event."""
PAUSES_PER_LONG = 0.4
STARTS_PER_VIDEO, FEWEST_STARTS_PER_S, MOST_STARTS_PER_S = 3.0, 1 / 240, 1 / 15
"""Of short and of long events each. A short clip was cut to what it shows: there, more happens per second."""
STARTS_WEIGHT = 1.0
LONG_S = 60.0
LONG_WEIGHT = 3.0

FALSE_AND_MISSED = np.array([0.005, 0.05])
"""Errors per look: a tag is seen that is not there, a tag is not seen that is."""
SCANNER_FALSE_AND_MISSED = np.array([0.02, 0.1])
"""The same of a smaller model that scans for another."""
SHOT_SHARE = np.array([0.25, 0.1])
"""The share of these errors that holds for a whole shot: the shot is bad. Nothing in one video's answers tells it: a
bad shot looks like an event, or a pause, that fills the shot. So it is assumed, never learnt."""
SURE_ERROR = 0.9
"""In a bad shot a look errs this surely; so many looks that agree speak against a bad one."""
FOOLED_ALONG = 0.6
"""Where a shot fools the judge, a look of the scanner's errs this often: two models are not fooled by all the same."""

SCANNER, JUDGE = 0, -1
"""Their places among the observers; without a scanner, the one observer is both."""

_BY_TAG = ("short_per_s", "long_per_s", "end_per_s")


@dataclass(frozen=True, slots=True)
class Trust:
    """How much a confidence is worth: a wrong answer's density at logit c, against a right one's, falls like
    exp(-sharpness c).

    ``evened`` makes that ratio a ratio of densities: (2, K), a row for absent and one for present, or (2, 1) for all
    tags alike.
    """

    sharpness: float = 0.0
    evened: Floats = field(default_factory=lambda: np.ones((2, 1)))

    def of(self, columns: NDArray[np.intp]) -> Trust:
        """Return the same for some of the tags."""
        return self if self.evened.shape[1] == 1 else replace(self, evened=self.evened[:, columns])

    def spread(self, tags: int, columns: NDArray[np.intp]) -> Trust:
        """Return the same for ``tags`` tags, of which these are the ``columns``; the others get the mean."""
        evened = np.tile(self.evened.mean(1, keepdims=True), tags)
        evened[:, columns] = self.evened
        return replace(self, evened=evened)


@dataclass(frozen=True, slots=True)
class Observer:
    """How one model errs, for each of K tags: (K, 2), by what is true: 0 absent (so: false positives), 1 present (misses).

    ``trust`` is put in its confidences in a good shot, ``trust_if_fooled`` in those of a bad one.
    """

    look_error: Floats
    trust: Trust = field(default_factory=Trust)
    trust_if_fooled: Trust = field(default_factory=Trust)

    @property
    def shot_error(self) -> Floats:
        """(K, 2): how often a whole shot is bad."""
        return np.asarray(self.look_error * (SHOT_SHARE / (1 - SHOT_SHARE)))

    def of(self, columns: NDArray[np.intp]) -> Observer:
        """The same for some of the tags."""
        trusts = self.trust.of(columns), self.trust_if_fooled.of(columns)
        return Observer(self.look_error[columns], *trusts)

    def with_those_of(self, columns: NDArray[np.intp], other: Observer) -> Observer:
        """The errors of ``other``, which has only the tags in ``columns``; for the rest, these."""
        looks = self.look_error.copy()
        looks[columns] = other.look_error
        tags = len(looks)
        return Observer(
            looks, other.trust.spread(tags, columns), other.trust_if_fooled.spread(tags, columns)
        )


@dataclass(frozen=True, slots=True)
class Rates:
    """For each of K tags how often it comes and goes; and how those who look err, the one that errs most first."""

    short_per_s: Floats
    long_per_s: Floats
    end_per_s: Floats
    usual_starts_per_s: float
    observers: tuple[Observer, ...]

    @property
    def conditions(self) -> Floats:
        """(observers + 1, 2, K): how probable each condition of a shot is: nobody is fooled; each of the observers is."""
        fooled = np.stack([observer.shot_error.T for observer in self.observers])
        return np.concatenate([1 - fooled.sum(0, keepdims=True), fooled])

    def of(self, columns: NDArray[np.intp]) -> Rates:
        """The same for some of the tags."""
        parts = {name: getattr(self, name)[columns] for name in _BY_TAG}
        return replace(
            self, **parts, observers=tuple(observer.of(columns) for observer in self.observers)
        )

    def with_those_of(self, columns: NDArray[np.intp], other: Rates) -> Rates:
        """Those of ``other``, which has only the tags in ``columns``; for the rest, these."""
        parts = {name: getattr(self, name).copy() for name in _BY_TAG}
        for name, part in parts.items():
            part[columns] = getattr(other, name)
        both = zip(self.observers, other.observers, strict=True)
        return replace(
            other, **parts, observers=tuple(mine.with_those_of(columns, its) for mine, its in both)
        )


def assumed_errors(scanned: bool) -> tuple[Floats, ...]:
    """Errors per look that each observer is assumed to make: one, or one that scans and one that judges."""
    return (SCANNER_FALSE_AND_MISSED, FALSE_AND_MISSED) if scanned else (FALSE_AND_MISSED,)


def assumed(tags: int, duration_s: float, *, scanned: bool = False) -> Rates:
    """The rates before anything was seen. ``scanned``: a smaller model scans for the one that judges."""
    usual = min(
        MOST_STARTS_PER_S, max(FEWEST_STARTS_PER_S, STARTS_PER_VIDEO / max(duration_s, 1e-6))
    )
    starts = np.full(tags, usual)
    observers = (
        Observer(np.tile(each * (1 - SHOT_SHARE), (tags, 1))) for each in assumed_errors(scanned)
    )
    return Rates(starts, starts, np.full(tags, 1 / LONG_S), usual, tuple(observers))
