"""Learn the rates of a video from its answers.

This is expectation maximisation with expected counts (Baum et al. 1970). Error rates are shrunk
twice: those of the video towards what is assumed, those of each tag towards the video's. Otherwise
every tag would explain its own short events away as errors. Answers about tags that were never seen
count as answers without a false positive.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from operator import itemgetter

import numpy as np

from vlm_engine.search.evidence import MOST_LOGIT, Evidence, Flags, scene_starts
from vlm_engine.search.hmm import LONG, OFF, SHORT, STATES, Smoothed, by_truth, smooth
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

_VIDEO_WEIGHT = np.array([100.0, 12.0])
_TAG_WEIGHT = np.array([400.0, 300.0])
_RANGE = (1e-5, 0.4)
_SHARPNESS = (*(n / 10 for n in range(11)), 1.15, 1.3, 1.5, 1.75, 2.0, 2.5, 3.0)
_SHARPNESS_WEIGHT = 5.0
_SHARPNESS_IF_FOOLED = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""As a share of that in good shots."""
_NOES_OF_ALL = 10.0
"""Number of noes of all tags that count for each tag beside its own noes. Right yeses are counted
over all tags: a single tag has too few.
"""
_LEAST_MEAN = 1e-6
_BINS_PER_LOGIT = 20
_BINS = round(MOST_LOGIT * _BINS_PER_LOGIT) + 1
_LOGITS = np.arange(_BINS) / _BINS_PER_LOGIT


def learn_rates(evidence: Evidence, rates: Rates, steps: int, *, errors: bool = True) -> Rates:
    """Return ``rates`` after ``steps`` of learning, for the tags that were seen.

    ``errors``: learn how often answers err, too. A scan cannot tell that: it looks at most shots
    once, so a lone yes is as well a short event as an error.
    """
    is_seen = evidence.is_seen()
    seen = np.flatnonzero(is_seen)
    if not len(seen):
        return rates
    about_seen, learnt = evidence.of(seen), rates.of(seen)
    silent_answers = int(evidence.judged[:, ~is_seen].sum()) if errors else None
    for _ in range(steps):
        learnt = _step(learnt, about_seen, silent_answers)
    return rates.updated(seen, learnt)


def _step(rates: Rates, evidence: Evidence, silent_answers: int | None) -> Rates:
    """Return ``rates`` improved by one step.

    ``silent_answers``: about tags never seen; None: errors are not learnt.
    """
    smoothed = smooth(evidence, rates)
    states = smoothed.states()
    truths = by_truth(states)
    starts_short, starts_long, ends_long = _expected_moves(smoothed)
    spent_s = _expected_seconds(states, evidence.times_s)
    idle_s = spent_s[OFF] + STARTS_WEIGHT / rates.usual_starts_per_s
    usual = assumed_errors(len(rates.observers) > 1)
    observers = rates.observers
    if silent_answers is not None:
        observers = tuple(
            replace(each, error=_error(evidence, number, usual[number], truths, silent_answers))
            for number, each in enumerate(observers)
        )
    return Rates(
        (starts_short + STARTS_WEIGHT) / idle_s,
        (starts_long + STARTS_WEIGHT) / idle_s,
        (ends_long + LONG_WEIGHT) / (spent_s[LONG] + LONG_WEIGHT * LONG_S),
        rates.usual_starts_per_s,
        tuple(_trusted(each, evidence, number, truths) for number, each in enumerate(observers)),
    )


def _expected_moves(smoothed: Smoothed) -> tuple[Floats, Floats, Floats]:
    """Return (K,) each: how often a short event began, a long one began, a long one ended."""
    before, after = smoothed.forward[:-1], smoothed.backward[1:]
    both = np.einsum("nsk,nsk->nk", smoothed.forward[1:], after)
    after = after / (smoothed.scale[1:] * both)[:, None]

    def count(source: int, target: int) -> Floats:
        total = np.zeros(before.shape[2])
        for s in range(source, before.shape[1], STATES):
            for t in range(target, before.shape[1], STATES):
                moves = smoothed.moves[:, s, t]
                total += np.einsum("nk,nk,nk->k", before[:, s], moves, after[:, t])
        return total

    return count(OFF, SHORT), count(OFF, LONG), count(LONG, OFF)


def _expected_seconds(states: Floats, times_s: Floats) -> Floats:
    """Return (4, K): how long each tag was in each state."""
    merged = states.sum(1)
    return np.asarray(np.einsum("nsk,n->sk", merged[1:] + merged[:-1], np.diff(times_s) / 2))


def _error(
    evidence: Evidence, number: int, usual: Floats, truths: Floats, silent_answers: int
) -> Floats:
    """Return (K, 2): how often this observer errs in a good shot.

    ``usual`` errors are assumed. An error counts only where the scene was looked at again, so that
    another answer could contradict it.
    """
    judged = evidence.judged & (evidence.observers == number)[:, None]
    good = truths[:, : number + 1].sum(1) * judged[:, None]
    wrong = np.stack([evidence.present, ~evidence.present], 1) & _looked_again(evidence)[:, None]
    errors, chances = (good * wrong).sum(0).T, good.sum(0).T
    silent = round(silent_answers * judged.sum() / max(1, evidence.judged.sum()))
    in_video = chances.sum(0) + np.array([silent, 0]) + _VIDEO_WEIGHT
    of_video = (errors.sum(0) + _VIDEO_WEIGHT * usual * (1 - SHOT_SHARE)) / in_video
    return np.asarray(np.clip((errors + _TAG_WEIGHT * of_video) / (chances + _TAG_WEIGHT), *_RANGE))


def _looked_again(evidence: Evidence) -> Flags:
    """Return (n, K): whether there are two or more answers about the scene, by any observer."""
    starts = scene_starts(evidence.scenes)
    answers = np.add.reduceat(evidence.judged, starts, axis=0, dtype=np.intp)
    return np.asarray((answers > 1).repeat(np.diff(starts, append=len(evidence.scenes)), axis=0))


def _trusted(observer: Observer, evidence: Evidence, number: int, truths: Floats) -> Observer:
    """Return ``observer`` with the trust that its confidences prove to be worth.

    That is how sharply they tell wrong answers from right ones. The sharpness is a temperature
    (Platt 1999), in good shots and where fooled. A wrong yes is weighed against right yeses, a
    wrong no against right noes of the same tag, because models are far surer of what is not there,
    and of some tags more than of others. A look-alike may be seen with full confidence or not: the
    answers tell. Answers are counted by logit first, in bins so narrow that nothing is lost.
    """
    chosen = evidence.has_confidence & (evidence.observers == number)[:, None]
    tags = chosen.shape[1]
    if not chosen.any():
        none = Trust.none(tags)
        return replace(observer, trust=none, trust_if_fooled=none)
    bins = np.rint(evidence.logits * _BINS_PER_LOGIT).astype(np.intp) * tags + np.arange(tags)

    def counted(weights: Floats, says_yes: bool) -> Floats:
        """Return (bins, K): the answers that say so, each by its weight."""
        answers = chosen & (evidence.present == says_yes)
        count = np.bincount(bins[answers], weights[answers], _BINS * tags)
        return np.asarray(count.reshape(_BINS, tags), dtype=np.float64)

    def wrong(weights: Floats) -> list[Floats]:
        return [counted(weights[:, truth], not truth) for truth in (0, 1)]

    here = truths[:, :, 1].sum(1)
    right = [counted(here, True), counted(1 - here, False)]

    def best(sharpness: Iterable[float], errors: list[Floats], weight: float) -> Trust:
        return max((_fit(each, errors, right, weight) for each in sharpness), key=itemgetter(0))[1]

    trust = best(_SHARPNESS, wrong(truths[:, : number + 1].sum(1)), _SHARPNESS_WEIGHT)
    fooled = wrong(truths[:, number + 1] * evidence.scene_weights[:, None])
    return replace(
        observer,
        trust=trust,
        trust_if_fooled=best(
            (share * trust.sharpness for share in _SHARPNESS_IF_FOOLED), fooled, 0.0
        ),
    )


def _fit(
    sharpness: float, wrong: list[Floats], right: list[Floats], weight: float
) -> tuple[float, Trust]:
    """Return how well a sharpness explains counts of answers by logit, and the trust that has it.

    ``wrong`` and ``right``: of those that say yes, and of those that say no. ``weight``: of the
    assumption that confidences are calibrated.
    """
    faded = np.exp(-sharpness * _LOGITS)
    of_yes, of_no = (_mean(faded, counts.sum(1)) for counts in right)
    by_tag = (faded @ right[1] + _NOES_OF_ALL * of_no) / (right[1].sum(0) + _NOES_OF_ALL)
    normaliser = np.maximum(_LEAST_MEAN, np.stack([np.full_like(by_tag, of_yes), by_tag]))
    fit = -weight * abs(float(np.log(max(sharpness, 0.05))))
    for errors, mean in zip(wrong, normaliser, strict=True):
        fit -= sharpness * float(_LOGITS @ errors.sum(1)) + float(errors.sum(0) @ np.log(mean))
    return fit, Trust(sharpness, normaliser)


def _mean(values: Floats, counts: Floats) -> float:
    """Return the mean of values by bin; 1 where nothing is counted."""
    return (float(values @ counts) + _LEAST_MEAN) / (float(counts.sum()) + _LEAST_MEAN)
