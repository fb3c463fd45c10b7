"""Forward-backward (Rabiner 1989, section III) for all tags of a video at once.

Beside the chain's four states every tag has two conditions: in a good shot a look errs at the rate of looks; in a bad
one, where a player hides what matters or something looks just like it, every look errs. The condition is drawn anew at
each cut and whenever the tag comes or goes. So there are eight states: 4 x condition + state of the chain. Where a smaller
model scans there are three: nobody is fooled, the scanner alone, or the judge, and then mostly the scanner, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlm_engine.search.chain import SHOWS, STATES, Chain, chain_of
from vlm_engine.search.evidence import Evidence
from vlm_engine.search.rates import FOOLED_ALONG, SCANNER, SURE_ERROR, Floats, Rates

_RESCALED_EVERY = 4
"""Frames after which rows are brought back to a sum of one, long before they would underflow in single precision."""
_ONES = np.ones(3 * STATES, np.float32)
"""A product with it is a sum over the states, several times as fast as numpy's own over so short an axis."""


@dataclass(frozen=True, slots=True)
class Smoothed:
    """What the answers say of K tags at n frames; states run over the last axis, 8 or 12 of them.

    ``forward`` (n, K, 8) weighs the answers up to each frame, ``backward`` those after it; each row sums to one,
    and ``scale`` (n, K) is what the forward rows were divided by. ``likely`` (n, K, 8) is the likelihood of each answer, and
    ``moves`` (n - 1, K, 8, 8) are the transitions, each times the likelihood of the answer it leads to. ``absent_odds`` (K,):
    how much better the answers are explained by a tag that never occurs.
    """

    chain: Chain
    likely: Floats
    moves: Floats
    forward: Floats
    backward: Floats
    scale: Floats
    absent_odds: Floats

    def states(self) -> Floats:
        """(n, K, 8): the probability of each state, all answers considered."""
        both = self.forward * self.backward
        return np.asarray(both / (both @ _ONES[: both.shape[2]])[..., None])

    def conditions(self) -> Floats:
        """(n, K, 2 or 3, 4): the same by condition and state of the chain."""
        return by_condition(self.states())


def by_condition(weights: Floats) -> Floats:
    """(n, K, 2 or 3, 4) out of weights of all states (n, K, 8 or 12)."""
    return weights.reshape(*weights.shape[:2], -1, STATES)


def over_conditions(weights: Floats) -> Floats:
    """(n, K, 4): their sums over the conditions (n, K, 2 or 3, 4); numpy's own take longer over so short an axis."""
    total = weights[:, :, 0] + weights[:, :, 1]
    return total if weights.shape[2] == 2 else total + weights[:, :, 2]


def smooth(evidence: Evidence, rates: Rates) -> Smoothed:
    """``evidence`` read by ``rates``."""
    chain = chain_of(rates)
    shares = rates.conditions
    likely = likelihoods(evidence, rates)
    by_state = likely[..., SHOWS].reshape(*likely.shape[:2], -1).astype(np.float32)
    moves = _moves(evidence, chain, shares, by_state)
    start = np.tile(chain.law, (1, shares.shape[1])) * shares[..., SHOWS].reshape(len(shares), -1)
    forward, scale = _forward(start * by_state[0], moves)
    backward = _backward(moves)
    absent = _absent_log_likelihood(evidence, shares[..., 0], likely[..., 0])
    odds = np.exp(np.clip(absent - np.log(scale).sum(0), -50, 50))
    return Smoothed(chain, by_state, moves, forward, backward, scale, odds)


def likelihoods(evidence: Evidence, rates: Rates) -> Floats:
    """(n, K, 2 or 3 conditions, 2 truths): of each answer; 1 where there is none.

    Confidence counts in a good shot only: what passes for the thing itself is often seen with full confidence.
    """
    wrong = np.stack([evidence.present, ~evidence.present], 2)
    good, number = np.empty(wrong.shape), evidence.observers
    for own, observer in enumerate(rates.observers):
        rows = slice(None) if len(rates.observers) == 1 else number == own
        doubt = np.exp(-observer.sharpness * evidence.logits[rows])[:, :, None] / observer.evened
        error = observer.look_error * np.where(evidence.told[rows][:, :, None], doubt, 1.0)
        good[rows] = np.where(wrong[rows], error, 1 - observer.look_error)
    bad = np.where(wrong, SURE_ERROR, 1 - SURE_ERROR)
    if len(rates.observers) == 1:
        conditions = [good, bad]
    else:
        by_scanner = (number == SCANNER)[:, None, None]
        along = np.where(wrong, FOOLED_ALONG, 1 - FOOLED_ALONG)
        conditions = [good, np.where(by_scanner, bad, good), np.where(by_scanner, along, bad)]
    return np.where(evidence.judged[:, :, None, None], np.stack(conditions, 2), 1.0)


def _moves(evidence: Evidence, chain: Chain, shares: Floats, likely: Floats) -> Floats:
    """(n - 1, K, 8, 8): from state to state, times the likelihood of the answer there.

    The condition stays within a shot while the tag neither comes nor goes.
    """
    tags, conditions, _ = shares.shape
    every = conditions * STATES
    shows = np.tile(SHOWS, conditions)
    drawn = np.broadcast_to(shares[:, None, :, SHOWS].reshape(tags, 1, every), (tags, every, every))
    stays = np.kron(np.eye(conditions), np.ones((STATES, STATES)))
    kept = np.where(shows[:, None] == shows, stays, drawn)
    same_shot = evidence.shots[1:] == evidence.shots[:-1]
    modes = np.tile(chain.modes.reshape(-1, STATES, STATES, STATES), (1, 1, conditions, conditions))
    fading = np.exp(evidence.lapses_s[None, :, None] * chain.decays_per_s[:, None, :]).astype(np.float32)
    within, across = ((modes * by[:, None]).reshape(-1, STATES, every * every).astype(np.float32) for by in (kept, drawn))
    moves = fading @ within
    moves[:, ~same_shot] = fading[:, ~same_shot] @ across
    np.maximum(moves, 0.0, out=moves)
    by_frame = moves.reshape(*moves.shape[:2], every, every).transpose(1, 0, 2, 3)
    by_frame *= likely[1:, :, None]
    return by_frame


def _forward(first: Floats, moves: Floats) -> tuple[Floats, Floats]:
    """Rows that sum to one, and the (n, K) factors by which each was smaller before."""
    rows, ones = np.empty((len(moves) + 1, *first.shape), np.float32), _ONES[: first.shape[1]]
    totals = np.empty(rows.shape[:2])
    rows[0] = first
    lying = rows[:, :, None]
    for number, (before, move, after) in enumerate(zip(lying[:-1], moves, lying[1:], strict=True)):
        if number % _RESCALED_EVERY == _RESCALED_EVERY - 1:
            totals[number] = rows[number] @ ones
            rows[number] /= totals[number][:, None]
        np.matmul(before, move, out=after)
    kept = rows @ ones
    rescaled = np.arange(len(moves)) % _RESCALED_EVERY == _RESCALED_EVERY - 1
    totals[:-1][~rescaled], totals[-1] = kept[:-1][~rescaled], kept[-1]
    totals[1:] /= kept[:-1]
    return rows / kept[..., None], totals


def _backward(moves: Floats) -> Floats:
    rows, ones = np.empty((len(moves) + 1, *moves.shape[1:3]), np.float32), _ONES[: moves.shape[2]]
    rows[-1] = 1.0
    standing = rows[..., None]
    for number, (after, move, before) in enumerate(zip(standing[:0:-1], moves[::-1], standing[-2::-1], strict=True)):
        if number % _RESCALED_EVERY == _RESCALED_EVERY - 1:
            np.divide(after, after.sum(1, keepdims=True), out=after)
        np.matmul(move, after, out=before)
    return np.asarray(rows / (rows @ ones)[..., None])


def _absent_log_likelihood(evidence: Evidence, shares: Floats, likely: Floats) -> Floats:
    """(K,): of the answers, if the tag never occurs: within each shot the condition is the same for all looks."""
    firsts = np.flatnonzero(np.diff(evidence.shots, prepend=-1))
    by_shot = np.add.reduceat(np.log(likely), firsts, axis=0) + np.log(shares)
    return np.asarray(np.logaddexp.reduce(by_shot, axis=2).sum(0))
