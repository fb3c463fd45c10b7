"""The rates assumed, and then learnt, of one video: how tags begin and end, how models err.

The constants hold before anything is seen. Each counts like a number of seconds or frames already
observed, until the answers outweigh it (maximum a posteriori, as in Dempster, Laird and Rubin
1977).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Columns = NDArray[np.intp]

SHORT_S = 7.0
"""Mean length of a short event."""
SHORTEST_S = 2.0
"""Events and pauses shorter than this are not searched for."""
PAUSE_S = 9.0
"""Mean length of a pause within a long event."""
PAUSES_PER_LONG = 0.4
STARTS_PER_VIDEO, FEWEST_STARTS_PER_S, MOST_STARTS_PER_S = 3.0, 1 / 240, 1 / 15
"""Of short and of long events each. A short clip was cut to what it shows, so more happens in each
second of it.
"""
STARTS_WEIGHT = 1.0
LONG_S = 60.0
LONG_WEIGHT = 3.0

FALSE_AND_MISSED = np.array([0.005, 0.05])
"""Errors per answer: the share of absent tags that are reported, and the share of present tags that
are missed.
"""
SCANNER_FALSE_AND_MISSED = np.array([0.02, 0.1])
"""The same for a smaller model that scans for another."""
SHOT_SHARE = np.array([0.25, 0.1])
"""The share of these errors that holds for a whole shot: the shot is bad. It is assumed, never
learnt, because one video cannot teach it: a bad shot looks like an event, or a pause, that fills
the shot.
"""
SURE_ERROR = 0.9
"""Error rate of an answer in a bad shot. It is below 1, so many answers that agree speak against a
bad shot.
"""
FOOLED_ALONG = 0.6
"""Error rate of the scanner in a shot that fools the judge: two models are not fooled by all the
same things.
"""

SCANNER, JUDGE = 0, -1
"""Places among the observers. Without a scanner there is one observer, which is at both."""


@dataclass(frozen=True, slots=True)
class Trust:
    """The weight of a model's confidence: what it says about whether an answer is right.

    At logit c a wrong answer is exp(-sharpness c) / normaliser times as frequent as a right one of
    the same kind. ``normaliser`` (2, K) is the mean of that exponential over the right answers: row
    0 for absent tags, row 1 for present ones.
    """

    sharpness: float
    normaliser: Floats

    @classmethod
    def none(cls, tags: int) -> Trust:
        """Return the trust in confidences that say nothing."""
        return cls(0.0, np.ones((2, tags)))

    def of(self, columns: Columns) -> Trust:
        """Return the trust for some of the tags."""
        return replace(self, normaliser=self.normaliser[:, columns])

    def spread(self, tags: int, columns: Columns) -> Trust:
        """Return the trust for ``tags`` tags, of which these are the ``columns``.

        The others get the mean.
        """
        normaliser = np.tile(self.normaliser.mean(1, keepdims=True), tags)
        normaliser[:, columns] = self.normaliser
        return replace(self, normaliser=normaliser)


@dataclass(frozen=True, slots=True)
class Observer:
    """The errors of one model about each of K tags.

    ``error`` (K, 2): in a good shot, the share of absent tags reported and of present tags missed.
    ``trust`` is put in its confidences in a good shot, ``trust_if_fooled`` in those of a bad one.
    """

    error: Floats
    trust: Trust
    trust_if_fooled: Trust

    @property
    def shot_error(self) -> Floats:
        """(K, 2): how often a whole shot is bad."""
        return np.asarray(self.error * (SHOT_SHARE / (1 - SHOT_SHARE)))

    def of(self, columns: Columns) -> Observer:
        """Return the same for some of the tags."""
        return Observer(
            self.error[columns], self.trust.of(columns), self.trust_if_fooled.of(columns)
        )

    def updated(self, columns: Columns, other: Observer) -> Observer:
        """Return this with what ``other`` has, which has only the tags in ``columns``."""
        tags = len(self.error)
        return Observer(
            _updated(self.error, columns, other.error),
            other.trust.spread(tags, columns),
            other.trust_if_fooled.spread(tags, columns),
        )


@dataclass(frozen=True, slots=True)
class Rates:
    """The rates of K tags, which begin and end so often per second, and the ``observers``' errors.

    The scanner comes before the judge.
    """

    short_per_s: Floats
    long_per_s: Floats
    end_per_s: Floats
    usual_starts_per_s: float
    observers: tuple[Observer, ...]

    @property
    def conditions(self) -> Floats:
        """(observers + 1, 2, K): the probability of each condition of a shot.

        None is fooled, or each of the observers is.
        """
        fooled = np.stack([observer.shot_error.T for observer in self.observers])
        return np.concatenate([1 - fooled.sum(0, keepdims=True), fooled])

    def of(self, columns: Columns) -> Rates:
        """Return the same for some of the tags."""
        return Rates(
            self.short_per_s[columns],
            self.long_per_s[columns],
            self.end_per_s[columns],
            self.usual_starts_per_s,
            tuple(observer.of(columns) for observer in self.observers),
        )

    def updated(self, columns: Columns, other: Rates) -> Rates:
        """Return this with the rates of ``other``, which has only the tags in ``columns``."""
        pairs = zip(self.observers, other.observers, strict=True)
        return Rates(
            _updated(self.short_per_s, columns, other.short_per_s),
            _updated(self.long_per_s, columns, other.long_per_s),
            _updated(self.end_per_s, columns, other.end_per_s),
            self.usual_starts_per_s,
            tuple(before.updated(columns, after) for before, after in pairs),
        )


def _updated(values: Floats, columns: Columns, fresh: Floats) -> Floats:
    values = values.copy()
    values[columns] = fresh
    return values


def assumed_errors(scanned: bool) -> tuple[Floats, ...]:
    """Return the errors per answer assumed of each observer.

    ``scanned``: there are a scanner and a judge, not one model.
    """
    return (SCANNER_FALSE_AND_MISSED, FALSE_AND_MISSED) if scanned else (FALSE_AND_MISSED,)


def assumed(tags: int, duration_s: float, *, scanned: bool = False) -> Rates:
    """Return the rates before anything was seen.

    ``scanned``: a smaller model scans for the one that judges.
    """
    usual = min(
        MOST_STARTS_PER_S, max(FEWEST_STARTS_PER_S, STARTS_PER_VIDEO / max(duration_s, 1e-6))
    )
    starts, trust = np.full(tags, usual), Trust.none(tags)
    observers = (
        Observer(np.tile(error * (1 - SHOT_SHARE), (tags, 1)), trust, trust)
        for error in assumed_errors(scanned)
    )
    return Rates(starts, starts, np.full(tags, 1 / LONG_S), usual, tuple(observers))
