"""What the answers tell of the rates: one step of expectation maximisation with expected counts (Baum et al. 1970).

Error rates are shrunk twice: the video's towards what is assumed, each tag's towards the video's. Otherwise every tag
would explain its own short events away as errors. Looks at tags that were never seen count as looks without a false
positive.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from operator import itemgetter

import numpy as np

from vlm_engine.search.evidence import MOST_LOGIT, Evidence, Flags, scene_starts
from vlm_engine.search.rates import (
    LONG_S,
    LONG_WEIGHT,
    SHOT_SHARE,
    STARTS_WEIGHT,
    Floats,
    Observer,
    Rates,
    Trust,
    assumed_errors,
)
from vlm_engine.search.smoothing import Smoothed, by_truth
from vlm_engine.search.transitions import LONG, OFF, SHORT, STATES

_VIDEO_WEIGHT = np.array([100.0, 12.0])
_TAG_WEIGHT = np.array([400.0, 300.0])
_RANGE = (1e-5, 0.4)
_SHARPNESS = (
    0.0,
    0.1,
    0.2,
    0.3,
    0.4,
    0.5,
    0.6,
    0.7,
    0.8,
    0.9,
    1.0,
    1.15,
    1.3,
    1.5,
    1.75,
    2.0,
    2.5,
    3.0,
)
_SHARPNESS_WEIGHT = 5.0
_SHARPNESS_IF_FOOLED = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""As a share of that in good shots."""
_NOES_OF_ALL = 10.0
"""How many noes of all tags count for each tag beside its own. Of right yeses a tag has too few to count by itself."""
_LEAST_EVENED = 1e-6
_BINS_PER_LOGIT = 20
_BINS = round(MOST_LOGIT * _BINS_PER_LOGIT) + 1
_LOGITS = np.arange(_BINS) / _BINS_PER_LOGIT


def learnt(rates: Rates, evidence: Evidence, smoothed: Smoothed, silent_looks: int | None) -> Rates:
    """Return ``rates`` improved by what was seen of K tags.

    ``silent_looks``: at tags never seen, in all. None: how often looks err is not learnt. A scan cannot tell it: it looks
    at most shots once, so a lone yes is as well a short event as an error.
    """
    states = smoothed.conditions()
    truths = by_truth(states)
    starts_short, starts_long, ends_long = _expected_moves(smoothed)
    spent_s = _expected_seconds(states, evidence.times_s)
    idle_s = spent_s[OFF] + STARTS_WEIGHT / rates.usual_starts_per_s
    observers = (
        rates.observers
        if silent_looks is None
        else _erring(rates.observers, evidence, truths, silent_looks)
    )
    return Rates(
        (starts_short + STARTS_WEIGHT) / idle_s,
        (starts_long + STARTS_WEIGHT) / idle_s,
        (ends_long + LONG_WEIGHT) / (spent_s[LONG] + LONG_WEIGHT * LONG_S),
        rates.usual_starts_per_s,
        tuple(
            _trusted(observer, evidence, number, truths)
            for number, observer in enumerate(observers)
        ),
    )


def _erring(
    observers: tuple[Observer, ...], evidence: Evidence, truths: Floats, silent_looks: int
) -> tuple[Observer, ...]:
    usual = assumed_errors(len(observers) > 1)
    return tuple(
        replace(
            observer, look_error=_look_error(evidence, number, usual[number], truths, silent_looks)
        )
        for number, observer in enumerate(observers)
    )


def _expected_moves(smoothed: Smoothed) -> tuple[Floats, Floats, Floats]:
    """(K,) each: how often a short event began, a long one began, a long one ended."""
    before, after = smoothed.forward[:-1], smoothed.backward[1:]
    after = (
        after
        / (
            smoothed.scale[1:]
            * np.einsum("nsk,nsk->nk", smoothed.forward[1:], smoothed.backward[1:])
        )[:, None]
    )

    def count(source: int, target: int) -> Floats:
        total = np.zeros(before.shape[2])
        for s in range(source, before.shape[1], STATES):
            for t in range(target, before.shape[1], STATES):
                total += np.einsum(
                    "nk,nk,nk->k", before[:, s], smoothed.moves[:, s, t], after[:, t]
                )
        return total

    return count(OFF, SHORT), count(OFF, LONG), count(LONG, OFF)


def _expected_seconds(states: Floats, times_s: Floats) -> Floats:
    """(4, K): how long each tag was in each state."""
    merged = states.sum(1)
    return np.asarray(np.einsum("nsk,n->sk", merged[1:] + merged[:-1], np.diff(times_s) / 2))


def _look_error(
    evidence: Evidence, number: int, usual: Floats, truths: Floats, silent_looks: int
) -> Floats:
    """(K, 2): how often a look of this observer errs in a good shot, of whom ``usual`` errors are assumed.

    An error counts where the scene was looked at again, so that another look could contradict it.
    """
    own = evidence.judged & (evidence.observers == number)[:, None]
    good = truths[:, : number + 1].sum(1) * own[:, None]
    wrong = np.stack([evidence.present, ~evidence.present], 1) & _looked_again(evidence)[:, None]
    errors, chances = (good * wrong).sum(0).T, good.sum(0).T
    silent = round(silent_looks * own.sum() / max(1, evidence.judged.sum()))
    in_video = chances.sum(0) + np.array([silent, 0]) + _VIDEO_WEIGHT
    of_video = (errors.sum(0) + _VIDEO_WEIGHT * usual * (1 - SHOT_SHARE)) / in_video
    return np.asarray(np.clip((errors + _TAG_WEIGHT * of_video) / (chances + _TAG_WEIGHT), *_RANGE))


def _looked_again(evidence: Evidence) -> Flags:
    """(n, K): whether the scene was looked at twice or more, by whichever observer."""
    starts = scene_starts(evidence.shots)
    looks = np.add.reduceat(evidence.judged, starts, axis=0, dtype=np.intp)
    return np.asarray((looks > 1).repeat(np.diff(starts, append=len(evidence.shots)), axis=0))


def _trusted(observer: Observer, evidence: Evidence, number: int, truths: Floats) -> Observer:
    """``observer`` with the trust that its confidences proved to be worth."""
    told = evidence.told & evidence.judged & (evidence.observers == number)[:, None]
    clear = truths[:, : number + 1].sum(1)  # this observer is not fooled
    fooled = truths[:, number + 1] * evidence.parts[:, None]
    trust, if_fooled = _trust(evidence, told, clear, fooled, truths[:, :, 1].sum(1))
    return replace(observer, trust=trust, trust_if_fooled=if_fooled)


def _trust(
    evidence: Evidence, told: Flags, good: Floats, fooled: Floats, here: Floats
) -> tuple[Trust, Trust]:
    """How sharply confidence tells wrong answers from right ones (temperature, Platt 1999): in good shots, and where fooled.

    A wrong yes is weighed against right yeses, a wrong no against right noes of the same tag: models are far surer of
    what is not there, and of some tags more than of others. What passes for the thing itself may be seen with full
    confidence, and may not: the answers tell. They are counted by logit first, in bins so narrow that nothing is lost.
    """
    if not told.any():
        return Trust(), Trust()
    tags = told.shape[1]
    bins = np.rint(evidence.logits * _BINS_PER_LOGIT).astype(np.intp) * tags + np.arange(tags)

    def counted(weights: Floats, said_yes: bool) -> Floats:
        """(bins, K): the answers that say so, each by its weight."""
        chosen = told & (evidence.present == said_yes)
        count = np.bincount(bins[chosen], weights[chosen], _BINS * tags)
        return np.asarray(count.reshape(_BINS, tags), dtype=np.float64)

    def wrong(weights: Floats) -> list[Floats]:
        return [counted(weights[:, truth], not truth) for truth in (0, 1)]

    right = [counted(here, True), counted(1 - here, False)]

    def best(sharpness: Iterable[float], errors: list[Floats], weight: float) -> Trust:
        return max((_fit(each, errors, right, weight) for each in sharpness), key=itemgetter(0))[1]

    trust = best(_SHARPNESS, wrong(good), _SHARPNESS_WEIGHT)
    return trust, best(
        (share * trust.sharpness for share in _SHARPNESS_IF_FOOLED), wrong(fooled), 0.0
    )


def _fit(
    sharpness: float, wrong: list[Floats], right: list[Floats], weight: float
) -> tuple[float, Trust]:
    """How well a sharpness explains counts of answers by logit; with it, and with what makes its ratios ratios of densities.

    ``wrong`` and ``right``: of those that say yes, and of those that say no. ``weight``: of the assumption that
    confidences are calibrated.
    """
    faded = np.exp(-sharpness * _LOGITS)
    of_yes, of_no = (_mean(faded, counts.sum(1)) for counts in right)
    by_tag = (faded @ right[1] + _NOES_OF_ALL * of_no) / (right[1].sum(0) + _NOES_OF_ALL)
    evened = np.maximum(_LEAST_EVENED, np.stack([np.full_like(by_tag, of_yes), by_tag]))
    fit = -weight * abs(float(np.log(max(sharpness, 0.05))))
    for errors, even in zip(wrong, evened, strict=True):
        fit -= sharpness * float(_LOGITS @ errors.sum(1)) + float(errors.sum(0) @ np.log(even))
    return fit, Trust(sharpness, evened)


def _mean(values: Floats, counts: Floats) -> float:
    """The mean of values by bin; 1 where nothing is counted."""
    return (float(values @ counts) + _LEAST_EVENED) / (float(counts.sum()) + _LEAST_EVENED)
