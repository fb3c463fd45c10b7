"""The hidden Markov model of a tag, and forward-backward smoothing over it.

The smoothing (Rabiner 1989, section III) is done for all tags at once. The states of a tag are:

    short event <-> OFF <-> LONG event <-> pause within it

A tag comes and goes by a chain of these four states in continuous time. Two states would not do:
their lengths are geometric, and real tags mix bursts of seconds with scenes of minutes that have
holes.

A tag also has a condition in every shot. In a good shot each answer errs independently; in a bad
one, where a player hides what matters or something looks just like it, nearly every answer errs.
The condition is drawn anew at each cut and whenever the tag comes or goes. So there are eight
states: 4 x condition + state of the chain. Where a smaller model scans there are three conditions
and twelve states: no model is fooled, the scanner alone is, or the judge is, and then mostly the
scanner too.

Tags are the last axis of every array, so that one pass through memory serves all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlm_engine.search.evidence import Evidence, Flags
from vlm_engine.search.rates import (
    FOOLED_ALONG,
    PAUSE_S,
    PAUSES_PER_LONG,
    SCANNER,
    SHORT_S,
    SURE_ERROR,
    Columns,
    Floats,
    Rates,
    Trust,
)

OFF, SHORT, LONG, PAUSE = range(4)
STATES = 4
SHOWS: Columns = np.array([0, 1, 1, 0])
"""For each state: whether the tag shows in the picture."""
_LEAST = np.float32(1e-12)
_RESCALED_EVERY = 4
"""Frames after which rows are scaled to a sum of one, long before they would underflow in single
precision.
"""


@dataclass(frozen=True, slots=True)
class TransitionModel:
    """The chains of K tags.

    ``stationary`` is (4, K), ``decays_per_s`` (K, 4) and ``modes`` (K, 4, 4 x 4). The chain is
    reversible, so its generator Q becomes symmetric when scaled by the square root of its
    stationary law, and exp(Q h) is a sum of four modes: exp(w_m h) A_m (Kelly 1979, section 1.2).
    """

    stationary: Floats
    decays_per_s: Floats
    modes: Floats

    @classmethod
    def of(cls, rates: Rates) -> TransitionModel:
        """Return the chains that ``rates`` describe."""
        tags = len(rates.short_per_s)
        generator = np.zeros((tags, STATES, STATES))
        generator[:, OFF, SHORT], generator[:, OFF, LONG] = rates.short_per_s, rates.long_per_s
        generator[:, SHORT, OFF], generator[:, LONG, OFF] = 1 / SHORT_S, rates.end_per_s
        generator[:, LONG, PAUSE] = PAUSES_PER_LONG * rates.end_per_s
        generator[:, PAUSE, LONG] = 1 / PAUSE_S
        generator[:, range(STATES), range(STATES)] = -generator.sum(2)
        shares = [
            np.ones(tags),
            rates.short_per_s * SHORT_S,
            rates.long_per_s / rates.end_per_s,
            rates.long_per_s * PAUSES_PER_LONG * PAUSE_S,
        ]
        law = np.stack(shares, 1)
        law /= law.sum(1, keepdims=True)
        root = np.sqrt(law)
        decays, vectors = np.linalg.eigh(root[:, :, None] * generator / root[:, None, :])
        left, right = vectors / root[:, :, None], vectors * root[:, :, None]
        modes = np.einsum("kum,kwm->kmuw", left, right).reshape(tags, STATES, STATES * STATES)
        return cls(law.T, np.minimum(decays, 0.0), modes)

    def steps(self, elapsed_s: Floats) -> Floats:
        """Return (n, 4, 4, K): the probability to pass between states in each of n lapses."""
        fading = np.exp(elapsed_s[None, :, None] * self.decays_per_s[:, None, :]).astype(np.float32)
        passed = np.maximum(fading @ self.modes.astype(np.float32), _LEAST)
        return np.ascontiguousarray(passed.transpose(1, 2, 0)).reshape(
            len(elapsed_s), STATES, STATES, len(passed)
        )


@dataclass(frozen=True, slots=True)
class Smoothed:
    """The states of K tags at n frames, given all answers; of states there are 8 or 12.

    ``forward`` (n, 8, K) weighs the answers up to each frame, ``backward`` those after it; both sum
    to one over the states, and ``scale`` (n, K) is what ``forward`` was divided by. ``likely`` (n,
    8, K) is the likelihood of each answer, and ``moves`` (n - 1, 8, 8, K) are the transitions, each
    times the likelihood of the answer it leads to.
    """

    chain: TransitionModel
    likely: Floats
    moves: Floats
    forward: Floats
    backward: Floats
    scale: Floats

    def states(self) -> Floats:
        """Return (n, 2 or 3, 4, K): the probability of each condition and state of the chain."""
        both = self.forward * self.backward
        return by_condition(np.asarray(both / both.sum(1, keepdims=True)))


def by_condition(weights: Floats) -> Floats:
    """Return weights of all states (n, 8 or 12, K) as (n, 2 or 3, 4, K)."""
    return weights.reshape(len(weights), -1, STATES, weights.shape[2])


def by_truth(weights: Floats) -> Floats:
    """Return (n, 2 or 3, 2, K): weights summed over the states without and with the tag."""
    return np.stack([weights[:, :, truth == SHOWS].sum(2) for truth in (0, 1)], 2)


def smooth(evidence: Evidence, rates: Rates) -> Smoothed:
    """Return what ``evidence`` says of the states, by these rates."""
    chain, shares = TransitionModel.of(rates), rates.conditions
    by_state = _likelihoods(evidence, rates)[:, :, SHOWS].astype(np.float32)
    moves = _moves(evidence, chain, shares, by_state)
    start = chain.stationary * shares[:, SHOWS] * by_state[0]
    forward, scale = _forward(start.reshape(-1, start.shape[2]), moves)
    backward = _backward(moves)
    return Smoothed(chain, by_state.reshape(forward.shape), moves, forward, backward, scale)


def _likelihoods(evidence: Evidence, rates: Rates) -> Floats:
    """Return the likelihood of each answer: (n, 2 or 3 conditions, 2 truths, K).

    It is 1 where there is no answer. All answers about a bad shot see the same look-alike, so their
    confidences together count as much as one.
    """
    wrong = np.stack([evidence.present, ~evidence.present], 1)
    good, bad = np.empty(wrong.shape), np.empty(wrong.shape)
    for number, observer in enumerate(rates.observers):
        rows = evidence.observers == number
        usual, logits = observer.error.T, evidence.logits[rows]
        error = usual * _doubt(observer.trust, logits, evidence.has_confidence[rows])
        sure_error = SURE_ERROR * _doubt(
            observer.trust_if_fooled, logits, evidence.scene_weights[rows]
        )
        good[rows] = np.where(wrong[rows], error, 1 - usual)
        bad[rows] = np.where(wrong[rows], sure_error, 1 - SURE_ERROR)
    if len(rates.observers) == 1:
        conditions = [good, bad]
    else:
        by_scanner = (evidence.observers == SCANNER)[:, None, None]
        along = np.where(wrong, FOOLED_ALONG, 1 - FOOLED_ALONG)
        conditions = [good, np.where(by_scanner, bad, good), np.where(by_scanner, along, bad)]
    return np.where(evidence.judged[:, None, None], np.stack(conditions, 1), 1.0)


def _doubt(trust: Trust, logits: Floats, weights: Floats | Flags) -> Floats:
    """Return (n, 2 truths, K): how much more frequent the confidences are in wrong answers."""
    leaning = trust.sharpness * logits[:, None] + np.log(trust.normaliser)
    return np.asarray(np.exp(-leaning * weights[:, None]))


def _moves(evidence: Evidence, chain: TransitionModel, shares: Floats, likely: Floats) -> Floats:
    """Return (n - 1, 8, 8, K): from state to state, times the likelihood of the answer there.

    The condition stays within a scene while the tag neither comes nor goes; otherwise it is drawn
    by its ``shares``.
    """
    steps, arrived = chain.steps(evidence.lapses_s), likely[1:]
    conditions = len(shares)
    drawn = (shares[:, SHOWS].astype(np.float32) * arrived)[:, None].repeat(conditions, 1)
    kept = drawn.copy()
    same_scene = evidence.scenes[1:] == evidence.scenes[:-1]
    kept[same_scene] = (
        np.eye(conditions, dtype=np.float32)[:, :, None, None] * arrived[same_scene, None]
    )
    moves = np.empty((len(steps), conditions, STATES, *drawn.shape[2:]), np.float32)
    for truth in (0, 1):
        weights = drawn.copy()
        weights[:, :, :, truth == SHOWS] = kept[:, :, :, truth == SHOWS]
        for before in np.flatnonzero(truth == SHOWS):
            np.multiply(steps[:, None, before, None], weights, out=moves[:, :, before])
    return moves.reshape(len(steps), conditions * STATES, conditions * STATES, steps.shape[3])


def _forward(first: Floats, moves: Floats) -> tuple[Floats, Floats]:
    """Return rows (n, 8, K) that sum to one over the states, and their (n, K) scale.

    The scale is the factor by which each row was smaller before.
    """
    rows = np.empty((len(moves) + 1, *first.shape), np.float32)
    divided = np.ones((len(rows), first.shape[1]))
    rows[0] = first
    for number, (before, move, after) in enumerate(zip(rows[:-1], moves, rows[1:], strict=True)):
        if number % _RESCALED_EVERY == _RESCALED_EVERY - 1:
            divided[number] = before.sum(0)
            np.divide(before, divided[number], out=before)
        np.einsum("sk,stk->tk", before, move, out=after)
    kept = rows.sum(1)
    scale = kept * divided
    scale[1:] /= kept[:-1]
    return rows / kept[:, None], scale


def _backward(moves: Floats) -> Floats:
    rows = np.empty((len(moves) + 1, *moves.shape[2:]), np.float32)
    rows[-1] = 1.0
    for number, (after, move, before) in enumerate(
        zip(rows[:0:-1], moves[::-1], rows[-2::-1], strict=True)
    ):
        if number % _RESCALED_EVERY == _RESCALED_EVERY - 1:
            np.divide(after, after.sum(0), out=after)
        np.einsum("stk,tk->sk", move, after, out=before)
    return np.asarray(rows / rows.sum(1, keepdims=True))
