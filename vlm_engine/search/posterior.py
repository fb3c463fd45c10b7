"""The probability that each tag shows, at frames that were asked about and at others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlm_engine.search.evidence import Evidence, Flags, TimeWarp
from vlm_engine.search.hmm import SHOWS, STATES, Smoothed, by_condition, by_truth, smooth
from vlm_engine.search.rates import FOOLED_ALONG, JUDGE, SURE_ERROR, Columns, Floats, Rates


@dataclass(frozen=True, slots=True)
class Posterior:
    """The beliefs about K tags at the n frames of ``evidence``.

    ``seen``: the columns of the tags that some answer saw; the others are believed absent
    throughout. ``present`` (n, K): the probability that a tag shows. ``shows`` (n, K): whether it
    is taken to show: it is more probable than not, or doubtful and yet confirmed.
    """

    evidence: Evidence
    warp: TimeWarp
    seen: Columns
    present: Floats
    shows: Flags
    rates: Rates
    smoothed: Smoothed | None

    @classmethod
    def of(cls, evidence: Evidence, warp: TimeWarp, rates: Rates) -> Posterior:
        """Return what to believe, given the evidence and these rates."""
        present = np.zeros(evidence.judged.shape)
        seen = np.flatnonzero(evidence.is_seen())
        if not len(seen):
            return cls(evidence, warp, seen, present, present > 0, rates, None)
        smoothed = smooth(evidence.of(seen), rates.of(seen))
        present[:, seen] = by_truth(smoothed.states())[:, :, 1].sum(1)
        shows = (present > 0.5) | _confirmed(evidence, present)
        return cls(evidence, warp, seen, present, shows, rates, smoothed)

    def gain(self, observer: int = JUDGE) -> Floats:
        """Return (n, K): how much doubt one more answer by this observer would remove.

        The answer is about another frame of the shot; the doubt that it removes is an average.
        Doubt is p (1 - p), half the Brier score of the best guess. Counted in wrong labels instead,
        an answer that cannot overturn a verdict alone would be worth nothing, though two could.
        Such an answer errs at the usual rate in a good shot and nearly always in a bad one, so it
        says little about a verdict that looks like a bad shot's.
        """
        gain = np.zeros_like(self.present)
        if self.smoothed is None:
            return gain
        shares = by_truth(self.smoothed.states())
        error = self._error(shares / (shares.sum(1, keepdims=True) + 1e-300), observer)
        false, missed = error[:, 0], error[:, 1]
        on = self.present[:, self.seen]
        after = _undecided(on * (1 - missed), (1 - on) * false) + _undecided(
            on * missed, (1 - on) * (1 - false)
        )
        gain[:, self.seen] = np.maximum(_undecided(on, 1 - on) - after, 0)
        return gain

    def _error(self, shares: Floats, observer: int) -> Floats:
        """Return (n, 2, seen): how often this observer errs, given the ``shares`` of conditions."""
        usual, fooled = self.rates.observers[observer].error[self.seen].T, shares[:, -1]
        if observer == JUDGE:
            return np.asarray((1 - fooled) * usual + fooled * SURE_ERROR)
        alone = shares[:, 1]
        return np.asarray((1 - alone - fooled) * usual + alone * SURE_ERROR + fooled * FOOLED_ALONG)

    def doubt_at(self, times_s: Floats) -> tuple[Floats, Floats]:
        """Return (m, K) each: the probability that a tag shows, and that something is hidden.

        Each time lies between two frames of the evidence. Hidden: the tag is not as at the frames
        before and after, which agree.
        """
        present, hidden = (np.zeros((len(times_s), self.present.shape[1])) for _ in range(2))
        if self.smoothed is None or not len(times_s):
            return present, hidden
        from_left, from_right = self._reach(self.smoothed, times_s)
        here = (from_left[0] + from_left[1]) * (from_right[0] + from_right[1])
        total = here.sum(1)
        present[:, self.seen] = here[:, SHOWS == 1].sum(1) / total
        otherwise = [
            (from_left[truth] * from_right[truth])[:, truth != SHOWS].sum(1) for truth in (0, 1)
        ]
        hidden[:, self.seen] = (otherwise[0] + otherwise[1]) / total
        return present, hidden

    def _reach(
        self, smoothed: Smoothed, times_s: Floats
    ) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
        """Return the weights of the states at the times, from the frame before and the one after.

        They are (m, 4, K) each. Each of the two is a pair: coming from (or going to) states that do
        not show the tag, and those that do.
        """
        seen_s = self.evidence.times_s
        after = np.searchsorted(seen_s, times_s).clip(1, len(seen_s) - 1)
        here = smoothed.chain.steps(self.warp.between(seen_s[after - 1], times_s))
        there = smoothed.chain.steps(self.warp.between(times_s, seen_s[after]))
        before = by_condition(smoothed.forward).sum(1)
        shares = self.rates.of(self.seen).conditions[:, SHOWS]
        coming = (by_condition(smoothed.likely * smoothed.backward) * shares).sum(1)
        coming = coming.astype(np.float32)
        return _passed_on(before[after - 1], here), _passed_on(coming[after], there.swapaxes(1, 2))


def _undecided(on: Floats, off: Floats) -> Floats:
    """Return p (1 - p) after an answer, times the probability of the answer.

    ``on`` and ``off`` are its probabilities jointly with the tag showing and not showing.
    """
    return np.asarray(on * off / (on + off + 1e-300))


def _passed_on(weights: Floats, steps: Floats) -> tuple[Floats, Floats]:
    """Return ``weights`` (m, 4, K) after ``steps`` (m, 4, 4, K).

    They are those of states without the tag, and of those with it.
    """
    passed = [weights[:, state, None] * steps[:, state] for state in range(STATES)]
    without, with_tag = (
        [passed[state] for state in np.flatnonzero(truth == SHOWS)] for truth in (0, 1)
    )
    return without[0] + without[1], with_tag[0] + with_tag[1]


def _confirmed(evidence: Evidence, present: Floats) -> Flags:
    """Return (n, K): the frames of events that are confirmed, and yet not believed.

    Confirmed: two or more answers say yes and none between denies it. What several answers confirm
    is never dropped in silence: it is reported, with the little confidence that it has.
    """
    columns, rows = np.nonzero(evidence.judged.T)  # the answers about each tag in order of time
    confirmed = np.zeros(present.shape, bool)
    said_yes = evidence.present[rows, columns]
    fresh = np.diff(columns, prepend=-1) | np.diff(said_yes, prepend=False)
    starts = np.flatnonzero(fresh)
    lengths = np.diff(starts, append=len(rows))
    most = np.maximum.reduceat(present[rows, columns], starts)
    runs = said_yes[starts] & (lengths > 1) & (most <= 0.5)
    confirmed[rows, columns] = runs.repeat(lengths)
    return confirmed
