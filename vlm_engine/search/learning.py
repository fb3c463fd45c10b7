"""What the answers tell of the rates: one step of expectation maximisation with expected counts (Baum et al. 1970).

Error rates are shrunk twice: the video's towards what is assumed, each tag's towards the video's. Else every tag would explain
its own short events away as errors. Looks at tags that were never seen count as looks without a false positive.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter

import numpy as np

from vlm_engine.search.chain import LONG, OFF, SHORT, STATES
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

_VIDEO_WEIGHT = (100.0, 40.0)
_TAG_LOOKS_WEIGHT = (150.0, 40.0)
_TAG_SHOTS_WEIGHT = 3000.0
_RANGE = (1e-5, 0.4)
_SHARPNESS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.15, 1.3, 1.5, 1.75, 2.0, 2.5, 3.0)
_SHARPNESS_WEIGHT = 5.0
_SHARPNESS_IF_FOOLED = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""As a share of that in good shots."""
_BINS_PER_LOGIT = 20
_BINS = round(MOST_LOGIT * _BINS_PER_LOGIT) + 1
_LOGITS = np.arange(_BINS) / _BINS_PER_LOGIT


def learnt(
    rates: Rates, evidence: Evidence, smoothed: Smoothed, present_share: Floats, silent_looks: int, silent_shots: int
) -> Rates:
    """``rates`` improved by what was seen of K tags.

    ``present_share``, (K,): how probably each occurs at all. ``silent_looks``, ``silent_shots``: at tags never seen, in all.
    """
    states = smoothed.conditions()
    starts_short, starts_long, ends_long = _expected_moves(smoothed)
    spent_s = _expected_seconds(states, evidence.times_s)
    idle_s = spent_s[OFF] + STARTS_WEIGHT / rates.usual_starts_per_s
    truths = by_truth(states)
    here = truths[:, :, 1].sum(1) * present_share
    return Rates(
        (starts_short * present_share + STARTS_WEIGHT) / idle_s,
        (starts_long * present_share + STARTS_WEIGHT) / idle_s,
        (ends_long + LONG_WEIGHT) / (spent_s[LONG] + LONG_WEIGHT * LONG_S),
        rates.usual_starts_per_s,
        tuple(
            _observer(evidence, number, usual, truths, here, silent_looks, silent_shots)
            for number, usual in enumerate(assumed_errors(len(rates.observers) > 1))
        ),
    )


def _expected_moves(smoothed: Smoothed) -> tuple[Floats, Floats, Floats]:
    """(K,) each: how often a short event began, a long one began, a long one ended."""
    before, after = smoothed.forward[:-1], smoothed.backward[1:]
    after = after / (smoothed.scale[1:] * np.einsum("nsk,nsk->nk", smoothed.forward[1:], smoothed.backward[1:]))[:, None]

    def count(source: int, target: int) -> Floats:
        total = np.zeros(before.shape[2])
        for s in range(source, before.shape[1], STATES):
            for t in range(target, before.shape[1], STATES):
                total += np.einsum("nk,nk,nk->k", before[:, s], smoothed.moves[:, s, t], after[:, t])
        return total

    return count(OFF, SHORT), count(OFF, LONG), count(LONG, OFF)


def _expected_seconds(states: Floats, times_s: Floats) -> Floats:
    """(4, K): how long each tag was in each state."""
    merged = states.sum(1)
    return np.asarray(np.einsum("nsk,n->sk", merged[1:] + merged[:-1], np.diff(times_s) / 2))


def _observer(
    evidence: Evidence, number: int, usual: Floats, truths: Floats, here: Floats, silent_looks: int, silent_shots: int
) -> Observer:
    """How the observer of this number errs, of whom ``usual`` errors are assumed."""
    own = evidence.judged & (evidence.observers == number)[:, None]
    wrong = np.stack([evidence.present, ~evidence.present], 1)
    clear = truths[:, : number + 1].sum(1)  # this observer is not fooled
    good = clear * own[:, None]
    silent = round(silent_looks * own.sum() / max(1, evidence.judged.sum()))
    looks = _shrunk((good * wrong).sum(0).T, good.sum(0).T, usual * (1 - SHOT_SHARE), silent, np.array(_TAG_LOOKS_WEIGHT))
    starts = scene_starts(evidence.shots)
    bad, shots = truths[starts, number + 1].sum(0).T, truths[starts].sum((0, 1)).T
    shot = _shrunk(bad, shots, usual * SHOT_SHARE, silent_shots, np.full(2, _TAG_SHOTS_WEIGHT))
    fooled = truths[:, number + 1] * evidence.parts[:, None]
    return Observer(looks, shot, *_trust(evidence, own & evidence.told, clear, fooled, here))


def _shrunk(errors: Floats, chances: Floats, assumed: Floats, silent: int, weight: Floats) -> Floats:
    """(K, 2): each tag's errors in so many chances, drawn to the video's rate, that one drawn to the assumed."""
    video_weight = np.array(_VIDEO_WEIGHT)
    pooled = (errors.sum(0) + video_weight * assumed) / (chances.sum(0) + np.array([silent, 0]) + video_weight)
    return np.asarray(np.clip((errors + weight * pooled) / (chances + weight), *_RANGE))


def _trust(evidence: Evidence, told: Flags, good: Floats, fooled: Floats, here: Floats) -> tuple[Trust, Trust]:
    """How sharply confidence tells wrong answers from right ones (temperature, Platt 1999): in good shots, and where fooled.

    What passes for the thing itself may be seen with full confidence, and may not: that is for the answers to tell.
    They are counted by their logit first, in bins so narrow that nothing is lost by it.
    """
    if not told.any():
        return Trust(), Trust()
    bins, seen = np.rint(evidence.logits[told] * _BINS_PER_LOGIT).astype(np.intp), evidence.present[told]

    def counted(weights: Floats) -> Floats:
        return np.asarray(np.bincount(bins, weights, _BINS), dtype=np.float64)

    def wrong(weights: Floats) -> list[Floats]:
        return [counted(weights[:, truth][told] * (seen != truth)) for truth in (0, 1)]

    right = [counted(share[told] * (seen == truth)) for truth, share in ((0, 1 - here), (1, here))]
    answers = counted(np.ones(len(bins)))

    def best(sharpness: Iterable[float], errors: list[Floats], weight: float) -> Trust:
        fits = (_fit(each, answers, errors, right, weight) for each in sharpness)
        return max(fits, key=itemgetter(0))[1]

    trust = best(_SHARPNESS, wrong(good), _SHARPNESS_WEIGHT)
    return trust, best((share * trust.sharpness for share in _SHARPNESS_IF_FOOLED), wrong(fooled), 0.0)


def _fit(sharpness: float, answers: Floats, wrong: list[Floats], right: list[Floats], weight: float) -> tuple[float, Trust]:
    """How well a sharpness explains counts of answers by logit; with it, and with what makes its ratios ratios of densities.

    ``weight``: of the assumption that confidences are calibrated.
    """
    faded = np.exp(-sharpness * _LOGITS)
    typical = float(answers @ faded / answers.sum())
    evened = [max(1e-6, (float(share @ faded) + typical) / (float(share.sum()) + 1)) for share in right]
    fit = -weight * abs(float(np.log(max(sharpness, 0.05))))
    for share, even in zip(wrong, evened, strict=True):
        fit -= sharpness * float(share @ _LOGITS) + float(share.sum()) * float(np.log(even))
    return fit, Trust(sharpness, (evened[0], evened[1]))
