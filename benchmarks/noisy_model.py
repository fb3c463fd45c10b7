"""The simulated model: right about most frames, and wrong in the ways that models are.

Deterministic, like temperature 0.

A share of its errors holds for a whole shot (a tag hidden, a look-alike), where no other frame
helps; the rest holds for half a second, so that asking about the same moment again never helps and
another moment may.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from benchmarks.oracle import Numbers, Oracle, Presence
from benchmarks.tokens import SMALL, SMALL_LIST, RequestStyle
from benchmarks.world import SimulatedVideo

_BUCKET_S = 0.5
_MOST_RATE = 0.45
_BLIND_RATE = 0.6

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Noise:
    """Error rates of a model, per tag and frame.

    ``shot_share``: share of the errors that a whole shot has in common. ``tag_spread``: standard
    deviation of the logarithm by which rates differ between tags. ``confidence``: None: it tells
    verdicts only; 1: calibrated probabilities; 2: twice as sure (in logits) as it should be.
    ``sure_shots``: as sure as of the thing itself where a whole shot is wrong. ``sure_noes``: how
    many times surer (in logits) a right no is than it should be. ``misses_by_tag``: from the least
    to the largest miss rate, by tag, instead of one rate. ``blind_share``: share of the tags that
    are hard to see in small pictures: six in ten of what shows are missed there besides.
    ``blind_list`` tells which: another number, other tags.
    """

    miss_rate: float = 0.0
    false_alarm_rate: float = 0.0
    shot_share: float = 0.3
    tag_spread: float = 0.0
    confidence: float | None = None
    sure_shots: bool = False
    sure_noes: float = 1.0
    misses_by_tag: tuple[float, float] | None = None
    blind_share: float = 0.0
    blind_list: int = 0


@dataclass(frozen=True, slots=True)
class _Errors:
    """Shots and half seconds that are judged wrongly where the tag is in one state (shots x tags,
    buckets x tags).
    """

    shots: Presence
    buckets: Presence

    def __or__(self, other: _Errors) -> _Errors:
        return _Errors(self.shots | other.shots, self.buckets | other.buckets)


class NoisyModel(Oracle):
    """Answers from the truth of a simulated video, with errors.

    ``factors``: how many times as often it errs when it is asked in a style.
    """

    def __init__(self, video: SimulatedVideo, noise: Noise, seed: tuple[int, ...]) -> None:
        super().__init__(video.info, tuple(video.truth))
        self._made_of = video, noise, seed
        self.factors: Mapping[RequestStyle, float] = {}
        self._worse: dict[float, NoisyModel] = {}
        self.truth = video.truth
        self._edges_s = [
            np.array([edge for span in spans for edge in span]) for spans in video.truth.values()
        ]
        self._cuts_s = video.cuts_s
        self._rng = np.random.default_rng(seed)
        self._scale = self._spread(noise.tag_spread)
        self._buckets = int(video.info.duration_s / _BUCKET_S) + 1
        self._misses = self._errors(self._miss_rates(noise), noise.shot_share)
        self._false_alarms = self._errors(noise.false_alarm_rate * self._scale, noise.shot_share)
        self._blind = self._blindness(noise, (*seed, 2))
        self._sureness = self._graded(noise) if noise.confidence is not None else None

    def _erring(self, factor: float) -> NoisyModel:
        """Return the same model, wrong so many times as often: also wherever this one is wrong."""
        if factor in self._worse:
            return self._worse[factor]
        video, noise, seed = self._made_of
        worse = replace(
            noise,
            miss_rate=noise.miss_rate * factor,
            false_alarm_rate=noise.false_alarm_rate * factor,
        )
        self._worse[factor] = NoisyModel(video, worse, seed)
        return self._worse[factor]

    def another(self, noise: Noise) -> NoisyModel:
        """Another model for the same video, which errs in other places."""
        video, _, seed = self._made_of
        return NoisyModel(video, noise, (*seed, 1))

    def judge(
        self, numbers: Numbers, style: RequestStyle = SMALL_LIST
    ) -> tuple[Presence, Floats | None]:
        factor = self.factors.get(style, 1.0)
        if factor != 1.0:
            return self._erring(factor).judge(numbers)
        times_s = numbers / self.video.frame_rate
        shot = np.searchsorted(self._cuts_s, times_s, side="right")
        bucket = np.minimum((times_s / _BUCKET_S).astype(np.int64), self._buckets - 1)
        truth = self.truth_at(times_s)
        misses = self._misses if style.side > SMALL else self._misses | self._blind
        by_shot = np.where(truth, misses.shots[shot], self._false_alarms.shots[shot])
        wrong = by_shot | np.where(
            truth, misses.buckets[bucket], self._false_alarms.buckets[bucket]
        )
        present = truth ^ wrong
        if self._sureness is None:
            return present, None
        right_x, wrong_x, shot_x = self._sureness
        state = truth.astype(np.int64)
        columns = np.arange(len(self.tags))
        x = np.where(
            by_shot, shot_x[state, shot[:, None], columns], wrong_x[state, bucket[:, None], columns]
        )
        logit = np.where(wrong, x, right_x[state, bucket[:, None], columns])
        return present, 1 / (1 + np.exp(np.where(present, -logit, logit)))

    def truth_at(self, times_s: Floats) -> Presence:
        """Return the tags that apply at these times (times x tags)."""
        odd = [
            np.searchsorted(edges_s, times_s, side="right") % 2 == 1 for edges_s in self._edges_s
        ]
        return np.array(odd).T.reshape(len(times_s), len(self.tags))

    def _spread(self, spread: float) -> Floats:
        """Return a factor on the error rates for each tag, 1 on average."""
        return (
            np.exp(self._rng.normal(-(spread**2) / 2, spread, len(self.tags)))
            if spread
            else np.ones(len(self.tags))
        )

    def _miss_rates(self, noise: Noise) -> Floats:
        if noise.misses_by_tag is None:
            return noise.miss_rate * self._scale
        least, most = np.log(noise.misses_by_tag)
        return np.exp(self._rng.uniform(least, most, len(self.tags)))

    def _errors(self, by_tag: Floats, shot_share: float) -> _Errors:
        rates = np.minimum(by_tag, _MOST_RATE)
        return self._drawn(self._rng, rates, shot_share)

    def _blindness(self, noise: Noise, seed: tuple[int, ...]) -> _Errors:
        """Return what is missed in small pictures besides. Other draws do not depend on it."""
        count = len(self.tags)
        order = np.random.default_rng((noise.blind_list, count)).permutation(count)
        rates = np.zeros(count)
        rates[order[: round(noise.blind_share * count)]] = _BLIND_RATE
        return self._drawn(np.random.default_rng(seed), rates, noise.shot_share)

    def _drawn(self, rng: np.random.Generator, rates: Floats, shot_share: float) -> _Errors:
        count = len(self.tags)
        return _Errors(
            rng.random((len(self._cuts_s) + 1, count)) < rates * shot_share,
            rng.random((self._buckets, count)) < rates * (1 - shot_share),
        )

    def _graded(self, noise: Noise) -> tuple[Floats, Floats, Floats]:
        """Return its confidence as a logit: where right, where wrong, where a whole shot is wrong;
        each by truth (no, yes), place, tag.

        Evidence x is normal around m1 where the tag is there and around -m0 where it is not, and
        the verdict its sign: that gives just these error rates, and the logit (m0 + m1) x is
        calibrated.
        """
        missed, invented = (
            NormalDist().inv_cdf(1 - max(rate, 1e-4))
            for rate in (noise.miss_rate, noise.false_alarm_rate)
        )
        factor = (noise.confidence or 0.0) * (missed + invented)

        def draw(places: int, sign: int) -> Floats:
            shape = (places, len(self.tags))
            return factor * np.stack(
                [_positive(self._rng, sign * mean, shape) for mean in (invented, missed)]
            )

        right, wrong = draw(self._buckets, 1), draw(self._buckets, -1)
        right[0] *= noise.sure_noes
        return right, wrong, draw(len(self._cuts_s) + 1, 1 if noise.sure_shots else -1)


def _positive(rng: np.random.Generator, mean: float, shape: tuple[int, int]) -> Floats:
    """Normal numbers of this mean and variance 1, given that they are positive."""
    drawn = np.empty(shape[0] * shape[1])
    left = np.arange(len(drawn))
    while len(left):
        if mean >= 0:
            x = rng.normal(mean, 1, len(left))
            taken = x > 0
        else:  # far in the tail nearly nothing is accepted: propose from a covering exponential
            x = rng.exponential(-1 / mean, len(left))
            taken = rng.random(len(left)) < np.exp(-x * x / 2)
        drawn[left[taken]] = x[taken]
        left = left[~taken]
    return drawn.reshape(shape)
