"""Forward-backward (Rabiner 1989, section III) for all tags of a video at once.

Beside the chain's four states every tag has two conditions: in a good shot a look errs at the rate of looks; in a bad
one, where a player hides what matters or something looks just like it, every look errs. The condition is drawn anew at
each cut and whenever the tag comes or goes. So there are eight states: 4 x condition + state of the chain. Where a smaller
model scans there are three: nobody is fooled, the scanner alone, or the judge, and then mostly the scanner, too.

Tags are the last axis of every array: what is done for all of them at once is then one run through memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlm_engine.search.evidence import Evidence, Flags
from vlm_engine.search.rates import FOOLED_ALONG, SCANNER, SURE_ERROR, Floats, Rates, Trust
from vlm_engine.search.transitions import SHOWS, STATES, TransitionModel, chain_of

_RESCALED_EVERY = 4
"""Frames after which rows are brought back to a sum of one, long before they would underflow in single precision."""


@dataclass(frozen=True, slots=True)
class Smoothed:
    """What the answers say of K tags at n frames; of states there are 8 or 12.

    ``forward`` (n, 8, K) weighs the answers up to each frame, ``backward`` those after it; both sum to one over the states,
    and ``scale`` (n, K) is what ``forward`` was divided by. ``likely`` (n, 8, K) is the likelihood of each answer, and
    ``moves`` (n - 1, 8, 8, K) are the transitions, each times the likelihood of the answer it leads to.
    """

    chain: TransitionModel
    likely: Floats
    moves: Floats
    forward: Floats
    backward: Floats
    scale: Floats

    def states(self) -> Floats:
        """(n, 8, K): the probability of each state, all answers considered."""
        both = self.forward * self.backward
        return np.asarray(both / both.sum(1, keepdims=True))

    def conditions(self) -> Floats:
        """(n, 2 or 3, 4, K): the same by condition and state of the chain."""
        return by_condition(self.states())


def by_condition(weights: Floats) -> Floats:
    """(n, 2 or 3, 4, K) out of weights of all states (n, 8 or 12, K)."""
    return weights.reshape(len(weights), -1, STATES, weights.shape[2])


def by_truth(weights: Floats) -> Floats:
    """(n, 2 or 3, 2, K) out of weights by condition and state: those of the states without the tag and of those with it."""
    return np.stack([weights[:, :, truth == SHOWS].sum(2) for truth in (0, 1)], 2)


def smooth(evidence: Evidence, rates: Rates) -> Smoothed:
    """``evidence`` read by ``rates``."""
    chain = chain_of(rates)
    shares = rates.conditions
    likely = likelihoods(evidence, rates)
    by_state = likely[:, :, SHOWS].astype(np.float32)
    moves = _moves(evidence, chain, shares, by_state)
    start = chain.law * shares[:, SHOWS] * by_state[0]
    forward, scale = _forward(start.reshape(-1, start.shape[2]), moves)
    backward = _backward(moves)
    return Smoothed(chain, by_state.reshape(forward.shape), moves, forward, backward, scale)


def likelihoods(evidence: Evidence, rates: Rates) -> Floats:
    """(n, 2 or 3 conditions, 2 truths, K): of each answer; 1 where there is none.

    All looks of a bad shot see the same look-alike, so that their confidences count as much as one look's.
    """
    wrong = np.stack([evidence.present, ~evidence.present], 1)
    good, bad = np.empty(wrong.shape), np.empty(wrong.shape)
    for number, observer in enumerate(rates.observers):
        own = evidence.observers == number
        look_error, logits = observer.look_error.T, evidence.logits[own]
        error = look_error * _doubt(observer.trust, logits, evidence.told[own])
        sure_error = SURE_ERROR * _doubt(observer.trust_if_fooled, logits, evidence.parts[own])
        good[own] = np.where(wrong[own], error, 1 - look_error)
        bad[own] = np.where(wrong[own], sure_error, 1 - SURE_ERROR)
    if len(rates.observers) == 1:
        conditions = [good, bad]
    else:
        by_scanner = (evidence.observers == SCANNER)[:, None, None]
        along = np.where(wrong, FOOLED_ALONG, 1 - FOOLED_ALONG)
        conditions = [good, np.where(by_scanner, bad, good), np.where(by_scanner, along, bad)]
    return np.where(evidence.judged[:, None, None], np.stack(conditions, 1), 1.0)


def _doubt(trust: Trust, logits: Floats, weights: Floats | Flags) -> Floats:
    """(n, 2 truths, K): how much more probable than in a right answer these confidences are in a wrong one; 1 without weight."""
    leaning = trust.sharpness * logits[:, None] + np.log(trust.evened)
    return np.asarray(np.exp(-leaning * weights[:, None]))


def _moves(evidence: Evidence, chain: TransitionModel, shares: Floats, likely: Floats) -> Floats:
    """(n - 1, 8, 8, K): from state to state, times the likelihood of the answer there, which is (n, 2 or 3, 4, K).

    The condition stays within a shot while the tag neither comes nor goes; else it is drawn by its ``shares``.
    """
    steps, arrived = chain.steps(evidence.lapses_s), likely[1:]
    conditions = len(shares)
    drawn = (shares[:, SHOWS].astype(np.float32) * arrived)[:, None].repeat(conditions, 1)
    kept = drawn.copy()
    same_shot = evidence.shots[1:] == evidence.shots[:-1]
    kept[same_shot] = (
        np.eye(conditions, dtype=np.float32)[:, :, None, None] * arrived[same_shot, None]
    )
    moves = np.empty((len(steps), conditions, STATES, *drawn.shape[2:]), np.float32)
    for truth in (0, 1):
        weights = drawn.copy()
        weights[:, :, :, truth == SHOWS] = kept[:, :, :, truth == SHOWS]
        for before in np.flatnonzero(truth == SHOWS):
            np.multiply(steps[:, None, before, None], weights, out=moves[:, :, before])
    return moves.reshape(len(steps), conditions * STATES, conditions * STATES, steps.shape[3])


def _forward(first: Floats, moves: Floats) -> tuple[Floats, Floats]:
    """Rows (n, 8, K) that sum to one over the states, and the (n, K) factors by which each was smaller before."""
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
