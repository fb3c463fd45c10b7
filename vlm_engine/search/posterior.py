"""What to believe of each tag at each frame that was looked at, and at frames that were not.

A tag comes and goes by a chain. What the chain's rates are, and how often the model errs, is learnt from the answers
themselves: the rates from the scan, then, from there, both from all answers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vlm_engine.search.evidence import Evidence, Flags
from vlm_engine.search.learning import learnt
from vlm_engine.search.rates import FOOLED_ALONG, JUDGE, SURE_ERROR, Floats, Rates
from vlm_engine.search.smoothing import Smoothed, by_condition, by_truth, smooth
from vlm_engine.search.time_warp import TimeWarp
from vlm_engine.search.transitions import SHOWS, STATES

_SECOND_LOOK = 1.25
"""A second look is worth so many times the fall in p (1 - p): comparable to the worth of edges and discoveries."""


@dataclass(frozen=True, slots=True)
class Posterior:
    """About K tags at the n frames of ``evidence``.

    ``live``: the tags that were seen at all, as column numbers; the others are believed absent throughout.
    ``present`` (n, K): the probability that a tag shows. ``shown`` (n, K): whether it is taken to show: more probably
    than not, or doubtful and yet confirmed.
    """

    evidence: Evidence
    clock: TimeWarp
    live: NDArray[np.intp]
    present: Floats
    shown: Flags
    rates: Rates
    smoothed: Smoothed | None

    def gain(self, observer: int = JUDGE) -> Floats:
        """(n, K): how much doubt a look of this observer's at another frame of the same shot would take away, on average.

        Doubt is p (1 - p), half the Brier score of the best guess. Counted in wrong labels instead, a look that cannot
        overturn a verdict alone would be worth nothing, though two could. Such a look errs as looks do in a good shot
        and nearly always in a bad one, so it says little about a verdict that looks like a bad shot's.
        """
        out = np.zeros_like(self.present)
        if self.smoothed is None:
            return out
        shares = by_truth(self.smoothed.conditions())
        error = self._error(shares / (shares.sum(1, keepdims=True) + 1e-300), observer)
        false, missed = error[:, 0], error[:, 1]
        on = self.present[:, self.live]
        after = _undecided(on * (1 - missed), (1 - on) * false) + _undecided(
            on * missed, (1 - on) * (1 - false)
        )
        out[:, self.live] = _SECOND_LOOK * np.maximum(_undecided(on, 1 - on) - after, 0)
        return out

    def _error(self, shares: Floats, observer: int) -> Floats:
        """(n, 2, live): how often a look of this observer's errs where the conditions are as probable as ``shares`` says."""
        look_error, fooled = self.rates.observers[observer].look_error[self.live].T, shares[:, -1]
        if observer == JUDGE:
            return np.asarray((1 - fooled) * look_error + fooled * SURE_ERROR)
        alone = shares[:, 1]
        return np.asarray(
            (1 - alone - fooled) * look_error + alone * SURE_ERROR + fooled * FOOLED_ALONG
        )

    def doubt_at(self, times_s: Floats) -> tuple[Floats, Floats]:
        """At m other times, each between two frames of the evidence, (m, K) each: how probably the tag shows, and
        how probably something is hidden there: it is not as at the frame before and the frame after, which are alike."""
        shows, hidden = (np.zeros((len(times_s), self.present.shape[1])) for _ in range(2))
        if self.smoothed is None or not len(times_s):
            return shows, hidden
        from_left, from_right = self._reach(times_s)
        here = (from_left[0] + from_left[1]) * (from_right[0] + from_right[1])
        total = here.sum(1)
        shows[:, self.live] = here[:, SHOWS == 1].sum(1) / total
        otherwise = [
            (from_left[truth] * from_right[truth])[:, truth != SHOWS].sum(1) for truth in (0, 1)
        ]
        hidden[:, self.live] = (otherwise[0] + otherwise[1]) / total
        return shows, hidden

    def _reach(self, times_s: Floats) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
        """The weight of each state at the times, (m, 4, K) each: from a frame before that does not show the tag, from one that
        does; towards a frame after that does not, towards one that does."""
        assert self.smoothed is not None
        smoothed, seen_s = self.smoothed, self.evidence.times_s
        after = np.searchsorted(seen_s, times_s).clip(1, len(seen_s) - 1)
        here = smoothed.chain.steps(self.clock.between(seen_s[after - 1], times_s))
        there = smoothed.chain.steps(self.clock.between(times_s, seen_s[after]))
        before = by_condition(smoothed.forward).sum(1)
        coming = _mean_of_conditions(
            smoothed.likely * smoothed.backward, self.rates.of(self.live)
        ).astype(np.float32)
        return _passed_on(before[after - 1], here), _passed_on(coming[after], there.swapaxes(1, 2))


def _undecided(on: Floats, off: Floats) -> Floats:
    """Return p (1 - p) after an answer, times how probable the answer is: ``on`` and ``off`` are its probabilities jointly with
    the tag showing and not showing."""
    return np.asarray(on * off / (on + off + 1e-300))


def _passed_on(weights: Floats, steps: Floats) -> tuple[Floats, Floats]:
    """(m, 4, K) each: ``weights`` (m, 4, K) after ``steps`` (m, 4, 4, K), of states without the tag and of those with it."""
    passed = [weights[:, state, None] * steps[:, state] for state in range(STATES)]
    without, shown = (
        [passed[state] for state in np.flatnonzero(truth == SHOWS)] for truth in (0, 1)
    )
    return without[0] + without[1], shown[0] + shown[1]


def _mean_of_conditions(weights: Floats, rates: Rates) -> Floats:
    """(n, 4, K): weights of all states, averaged over the conditions of a shot."""
    return np.asarray((by_condition(weights) * rates.conditions[:, SHOWS]).sum(1))


def learnt_rates(evidence: Evidence, rates: Rates, steps: int, *, errors: bool = True) -> Rates:
    """Return ``rates`` after ``steps`` of learning, for the tags that were seen.

    ``errors``: how often looks err is learnt, too.
    """
    live, silent = _seen(evidence)
    if not len(live):
        return rates
    own, now = evidence.of(live), rates.of(live)
    silent_looks = int(evidence.judged[:, silent].sum()) if errors else None
    for _ in range(steps):
        now = learnt(now, own, smooth(own, now), silent_looks)
    return rates.with_those_of(live, now)


def believe(evidence: Evidence, clock: TimeWarp, rates: Rates) -> Posterior:
    """What to make of the evidence, by these rates."""
    present = np.zeros(evidence.judged.shape)
    live, _ = _seen(evidence)
    if not len(live):
        return Posterior(evidence, clock, live, present, present > 0, rates, None)
    smoothed = smooth(evidence.of(live), rates.of(live))
    present[:, live] = by_truth(smoothed.conditions())[:, :, 1].sum(1)
    shown = present > 0.5
    return Posterior(
        evidence, clock, live, present, shown | _confirmed(evidence, present), rates, smoothed
    )


def _confirmed(evidence: Evidence, present: Floats) -> Flags:
    """(n, K): the frames of events that are not believed, although two or more looks say yes and none between denies it.

    What several looks confirm is never dropped in silence: it is told, with the little confidence that it has.
    """
    columns, rows = np.nonzero(evidence.judged.T)  # each tag's looks in order of time
    confirmed = np.zeros(present.shape, bool)
    if not len(rows):
        return confirmed
    said_yes = evidence.present[rows, columns]
    fresh = np.diff(columns, prepend=-1) | np.diff(said_yes, prepend=False)
    starts = np.flatnonzero(fresh)
    lengths = np.diff(starts, append=len(rows))
    most = np.maximum.reduceat(present[rows, columns], starts)
    runs = said_yes[starts] & (lengths > 1) & (most <= 0.5)
    confirmed[rows, columns] = runs.repeat(lengths)
    return confirmed


def _seen(evidence: Evidence) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The tags that were seen at all, and those that were not, as column numbers."""
    seen = (evidence.present & evidence.judged).any(0)
    return np.flatnonzero(seen), np.flatnonzero(~seen)
