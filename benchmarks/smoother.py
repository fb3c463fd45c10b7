"""An honest reading of noisy verdicts, for the yardsticks: a two-state hidden Markov model per tag,
in continuous time.

Changes prefer cut hints; error rates and rates of change are re-estimated from the evidence, held
back by prior counts (MAP-EM).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from benchmarks.oracle import Oracle, Presence, Times
from vlm_engine.types import Cut, Span

CUT_STRENGTH = 0.3
CUT_SHARE = 0.6
"""Share of cut hints in the inclination to change, and in the belief where a change lies."""

_MISS, _FALSE_ALARM = 0.06, 0.01
_ON_RATE, _OFF_RATE = 1 / 240, 1 / 25
_MISS_COUNT, _FALSE_ALARM_COUNT, _CHANGE_COUNT = 60.0, 150.0, 2.0
_GRID = 12

Floats = NDArray[np.float64]


class Hints:
    """The cut hints that are believed, and their weights."""

    def __init__(self, cuts: Sequence[Cut]) -> None:
        believed = [cut for cut in cuts if cut.strength >= CUT_STRENGTH]
        self.times_s = np.array([cut.time_s for cut in believed])
        self.weights = np.array([max(0.05, cut.strength - 0.2) for cut in believed])

    def inside(self, start_s: float, end_s: float) -> tuple[Floats, Floats]:
        """Times and weights of the hints strictly between two times."""
        chosen = (self.times_s > start_s) & (self.times_s < end_s)
        return self.times_s[chosen], self.weights[chosen]

    def effective_gaps(self, times_s: Times, duration_s: float) -> Floats:
        """Seconds between successive looks, as much longer as hints lie between them, and shorter
        where none does.
        """
        gaps_s = np.diff(times_s)
        if not len(self.times_s):
            return gaps_s
        total = float(self.weights.sum())
        passed = np.concatenate([[0.0], np.cumsum(self.weights)])[
            np.searchsorted(self.times_s, times_s)
        ]
        effective_s: Floats = (
            (1 - CUT_SHARE) * gaps_s + CUT_SHARE * duration_s * np.diff(passed) / total + 1e-3
        )
        return effective_s


class Change:
    """Probability of each time at which a tag changes between two observations that differ: partly
    anywhere, partly on a cut hint.
    """

    def __init__(self, start_s: float, end_s: float, hints: Hints) -> None:
        self.cuts_s, weights = hints.inside(start_s, end_s)
        even_s = start_s + (np.arange(_GRID) + 0.5) * (end_s - start_s) / _GRID
        even = np.full(_GRID, (1 - CUT_SHARE if len(weights) else 1.0) / _GRID)
        times_s = np.concatenate([even_s, self.cuts_s])
        order = np.argsort(times_s)
        self._times_s = times_s[order]
        self._masses = np.concatenate([even, CUT_SHARE * weights / max(weights.sum(), 1e-9)])[order]
        middle = min(len(times_s) - 1, int(np.searchsorted(np.cumsum(self._masses), 0.5)))
        self.median_s = float(self._times_s[middle])
        self.error_s = float(self._masses @ np.abs(self._times_s - self.median_s))

    def before(self, time_s: float) -> float:
        """Return the probability that the change lies before this time."""
        return float(self._masses[self._times_s <= time_s].sum())


class Smoother:
    """Reads all verdicts on one video; what it has learnt of rates is kept from one reading to the
    next.
    """

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        self.hints = Hints(oracle.video.cuts)
        tags = len(oracle.tags)
        self._miss, self._false_alarm = np.full(tags, _MISS), np.full(tags, _FALSE_ALARM)
        self._on, self._off = np.full(tags, _ON_RATE), np.full(tags, _OFF_RATE)
        self._has_learnt = False

    def read(self) -> tuple[Times, Floats, Presence]:
        """Times of all looks so far, posteriors of presence, and the likeliest course (looks x
        tags).
        """
        numbers, seen = self._oracle.known()
        times_s = numbers / self._oracle.video.frame_rate
        gaps_s = self.hints.effective_gaps(times_s, self._oracle.video.duration_s)
        live = np.array(seen.any(axis=0))  # a tag that was never seen needs no inference
        posterior, course = np.zeros(seen.shape), np.zeros(seen.shape, bool)
        for _ in range(1 if self._has_learnt else 2):
            if live.any():
                posterior[:, live], course[:, live] = self._infer(seen[:, live], gaps_s, live)
            self._learn(times_s, seen, course)
        self._has_learnt = True
        return times_s, posterior, course

    def _infer(self, seen: Presence, gaps_s: Floats, live: Presence) -> tuple[Floats, Presence]:
        on, off = self._on[live], self._off[live]
        mixed = 1 - np.exp(-np.outer(gaps_s, on + off))
        turns_on, turns_off = mixed * on / (on + off), mixed * off / (on + off)
        miss, false_alarm = self._miss[live], self._false_alarm[live]
        evidence = np.where(seen, (1 - miss) / false_alarm, miss / (1 - false_alarm))
        return _posterior(evidence, turns_on, turns_off, on / off), _course(
            evidence, turns_on, turns_off, on / off
        )

    def _learn(self, times_s: Times, seen: Presence, course: Presence) -> None:
        began, ended = (~course[:-1] & course[1:]).sum(0), (course[:-1] & ~course[1:]).sum(0)
        on_s = (course[:-1] * np.diff(times_s)[:, None]).sum(0)
        self._on = (began + _CHANGE_COUNT) / (
            self._oracle.video.duration_s - on_s + _CHANGE_COUNT / _ON_RATE
        )
        self._off = (ended + _CHANGE_COUNT) / (on_s + _CHANGE_COUNT / _OFF_RATE)
        self._false_alarm = ((~course & seen).sum(0) + _FALSE_ALARM * _FALSE_ALARM_COUNT) / (
            (~course).sum(0) + _FALSE_ALARM_COUNT
        )
        self._miss = ((course & ~seen).sum(0) + _MISS * _MISS_COUNT) / (course.sum(0) + _MISS_COUNT)


def _posterior(evidence: Floats, turns_on: Floats, turns_off: Floats, prior_odds: Floats) -> Floats:
    """Forward-backward, in odds."""
    odds = np.empty(evidence.shape)
    odds[0] = prior_odds * evidence[0]
    for i in range(1, len(odds)):
        on, off = turns_on[i - 1], turns_off[i - 1]
        odds[i] = (odds[i - 1] * (1 - off) + on) / (odds[i - 1] * off + 1 - on) * evidence[i]
    later = np.ones(evidence.shape[1])
    for i in range(len(odds) - 2, -1, -1):
        ahead = evidence[i + 1] * later
        later = ((1 - turns_off[i]) * ahead + turns_off[i]) / (
            turns_on[i] * ahead + 1 - turns_on[i]
        )
        odds[i] *= later
    return odds / (1 + odds)


def _course(evidence: Floats, turns_on: Floats, turns_off: Floats, prior_odds: Floats) -> Presence:
    """Return the likeliest sequence of states (Viterbi), by the log-odds of the best way into
    either state.
    """
    on, off, stays_on, stays_off = (
        np.log(p + 1e-12) for p in (turns_on, turns_off, 1 - turns_off, 1 - turns_on)
    )
    lead = np.log(prior_odds * evidence[0])
    came_from_on = np.zeros((2, *evidence.shape), bool)  # into off, into on
    for i in range(1, len(evidence)):
        came_from_on[0, i] = lead + off[i - 1] > stays_off[i - 1]
        came_from_on[1, i] = lead + stays_on[i - 1] > on[i - 1]
        best_on = np.maximum(lead + stays_on[i - 1], on[i - 1])
        lead = best_on - np.maximum(lead + off[i - 1], stays_off[i - 1]) + np.log(evidence[i])
    course = np.empty(evidence.shape, bool)
    course[-1] = lead > 0
    for i in range(len(evidence) - 1, 0, -1):
        course[i - 1] = np.where(course[i], came_from_on[1, i], came_from_on[0, i])
    return course


def spans_of(oracle: Oracle, times_s: Times, course: Presence, hints: Hints) -> tuple[Span, ...]:
    """Return the spans of a course, an edge where its change most evenly may lie."""
    spans = []
    for column, tag in enumerate(oracle.tags):
        states = course[:, column]
        edges_s = [0.0] if states[0] else []
        for i, (before, after) in enumerate(pairwise(states)):
            if before != after:
                edges_s.append(Change(times_s[i], times_s[i + 1], hints).median_s)
        edges_s += [oracle.video.duration_s] if len(edges_s) % 2 else []
        spans += [
            Span(tag, start_s, end_s)
            for start_s, end_s in zip(edges_s[::2], edges_s[1::2], strict=True)
        ]
    return tuple(spans)
