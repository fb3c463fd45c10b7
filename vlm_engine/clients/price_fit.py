"""Fit of an endpoint's rates to the times of its answers. No I/O.

An endpoint works on some of its questions at once and keeps the others waiting, first come, first
served. Of those it works on, it does one of two things: it reads the prompts one after another,
which stops the writing of all answers, and writes the answers together (llama.cpp, vLLM, SGLang);
or each question proceeds by itself (a cloud service, several processes). Either way the time of an
answer is a linear function of a, b and c:

    time in service = sum of (a + b * read) of the prompts begun meanwhile + c * written / share
    time in service * share = a + b * read + c * written

with ``share`` as the mean share of a question. How many questions the endpoint works on, and in
which way, is what makes the times that follow from a, b and c rank the answers best. A question
that is answered while n earlier ones are not was worked on beside them, which tells the least
number; it is hardly four times as large. A server that tells how long it read and wrote gives two
equations for one.

The equations are solved by least squares with non-negative results. Outliers count less, and so do
old answers. Guesses pull the result towards their ratios, so that what the answers do not tell
stays usual: with pictures of one size, a and b cannot be told apart. The guess that fits best
counts, scaled to the endpoint.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from vlm_engine.clients.server_time import Request

Rates = tuple[float, float, float]
_Numbers = NDArray[np.float64]

_HALF_LIFE = 24
_LATEST = 20
_SIMPLER_BY = 0.12
_MOST_READ_OFF = 8  # beyond it, too many prompts are read whose answers are not there yet
_FIRST_DEVIATION, _LATER_DEVIATION = 0.6, 0.5


def fitted_rates(
    answered: Sequence[Request], requests: Sequence[Request], guesses: Sequence[Rates]
) -> Rates | None:
    """Return a, b and c; None if no time has passed.

    ``answered``: the answers that count, the latest last; ``requests``: all that are known.
    Several ``guesses`` are first ones, a single one comes from earlier answers.
    """
    widest = max(one.beside for one in answered)
    if widest <= _MOST_READ_OFF and all(one.times for one in answered):
        best = _read_off(answered, requests, guesses)
        return None if best is None else _as_rates(best)
    least = 1 + int(np.quantile([one.overtaken for one in answered], 0.97))
    waits_s = sum(one.end - one.start for one in answered)
    share = sum(one.seconds for one in answered) / max(1e-12, waits_s)
    best, best_match = None, -math.inf
    most = min(widest, 4 * least)
    powers = [2**power for power in range(10) if least <= 2**power < most]
    for at_once, together in product((*powers, most), (False, True)):
        starts = _service_starts(requests, at_once)
        part = max(share, 1 / at_once)
        equations = _equations(answered, starts, part, starts if together else None)
        solved = _solve(equations, guesses)
        if solved is None:
            continue
        rates, match = solved
        match += 0.0 if together else _SIMPLER_BY
        if match > best_match + 0.02:
            best, best_match = rates, match
    return None if best is None else _as_rates(best)


def _as_rates(values: _Numbers) -> Rates:
    a, b, c = map(float, values)
    return a, b, c


def _read_off(
    answered: Sequence[Request], requests: Sequence[Request], guesses: Sequence[Rates]
) -> _Numbers | None:
    """Return a, b and c of a server that tells the times of every answer."""
    timed = [(one, one.times) for one in answered if one.times]
    begun = {one: max(one.start, one.end - t.prompt_s - t.answer_s) for one, t in timed}
    # Half-way through a prompt: its beginning and the end of the one before it are the same moment.
    reads_at = {one: begun[one] + times.prompt_s / 2 for one, times in timed}
    at_once = max(sum(reads_at[other] < one.end <= other.end for other in begun) for one in begun)
    at_once = max(1, at_once)  # a prompt and answer that took no time are read at their very end
    idle_s, free_from = 0.0, answered[0].start
    for one, start in sorted(begun.items(), key=lambda item: item[1]):
        idle_s += max(0.0, start - free_from)
        free_from = max(free_from, one.end)
    served_s = sum(one.end - start for one, start in begun.items())
    share = (free_from - answered[0].start - idle_s) / max(1e-12, served_s)
    share = min(1.0, max(1 / at_once, share))
    starts = _service_starts(requests, at_once)
    equations = _equations(answered, starts | begun, share, starts | reads_at, split=True)
    solved = _solve(equations, guesses)
    if solved is None:
        return None
    return solved[0] + (idle_s / len(answered), 0.0, 0.0)


def _service_starts(requests: Sequence[Request], at_once: int) -> dict[Request, float]:
    """Return when a server that works on ``at_once`` requests began with each one."""
    starts: dict[Request, float] = {}
    ends: list[float] = []
    for request in sorted(requests, key=lambda each: each.start):
        free = ends[-at_once] if len(ends) >= at_once else 0.0
        starts[request] = min(max(request.start, free), request.end)
        insort(ends, request.end)
    return starts


@dataclass(frozen=True, slots=True)
class _Equations:
    """Equations ``factors @ (a, b, c) = seconds``, one or two for each answer, the latest first.

    ``ages``: the place of each equation's answer.
    """

    factors: _Numbers
    seconds: _Numbers
    weights: _Numbers
    ages: NDArray[np.int64]

    def by_answer(self, values: _Numbers) -> _Numbers:
        """Return the sums of the values of each answer's equations."""
        return np.bincount(self.ages, values).astype(float)


def _equations(
    answered: Sequence[Request],
    starts: Mapping[Request, float],
    share: float,
    reads_at: Mapping[Request, float] | None,
    *,
    split: bool = False,
) -> _Equations:
    """Return what the answers say if the server does it this way. See the module's text.

    ``starts``: when it began with each request; ``share``: the mean part of the server that one
    has. ``reads_at``: when it reads each prompt while others wait; None if they do not. ``split``:
    use the times that it tells.
    """
    rows: list[tuple[float, float, float, int]] = []  # from, to, written, age
    places = {one: place for place, one in enumerate(starts)}
    begun = np.zeros((2 * len(answered), len(starts)), dtype=bool)
    for age, one in enumerate(reversed(answered)):
        begun[len(rows), places[one]] = True
        start, end = starts[one], one.end
        if one.times is None or not split:
            rows.append((start, end, one.written, age))
        else:
            writes_from = min(end, max(start, end - one.times.answer_s))
            rows += [(start, writes_from, 0, age), (writes_from, end, one.written, age)]
    since, until, written, ages = np.array(rows, dtype=float).T
    begun = begun[: len(rows)]
    if reads_at is not None:
        at = np.array([reads_at[one] for one in starts])
        begun |= (at >= since[:, None]) & (at < until[:, None])
    read = np.array([one.read for one in starts])
    if reads_at is not None:
        written = written / share
    factors = np.stack([begun.sum(1), begun @ read, written], 1)
    seconds = (until - since) * (share if reads_at is None else 1.0)
    return _Equations(factors, seconds, 0.5 ** (ages / _HALF_LIFE), ages.astype(int))


def _solve(equations: _Equations, guesses: Sequence[Rates]) -> tuple[_Numbers, float] | None:
    """Return a, b and c, and how well they rank the answers; None if no time has passed."""
    factors, seconds, weights = equations.factors, equations.seconds, equations.weights
    deviation = _FIRST_DEVIATION if len(guesses) > 1 else _LATER_DEVIATION
    best, least = np.array(guesses[0]), math.inf
    for guess in map(np.array, guesses):
        scale = weights @ seconds / (weights @ (factors @ guess))
        if not scale > 0:
            return None
        rates = usual = guess * scale
        expected = factors @ usual
        expected = np.maximum(expected, 0.3 * np.average(expected, weights=weights))
        parts, targets = factors * usual / expected[:, None], seconds / expected
        for _ in range(4):
            off = np.abs(targets - parts @ (rates / usual))
            typical = max(0.05, 1.48 * float(np.median(off)))
            trust = weights * np.minimum(1, 2 * typical / np.maximum(off, 1e-9)) / typical**2
            rates = usual * _non_negative(parts, targets, trust, deviation)
        off = np.minimum(1, np.abs(targets - parts @ (rates / usual)))
        loss = float(np.average(off**2, weights=weights))
        if loss < least:
            best, least = np.maximum(rates, 0.05 * usual), loss
    expected = equations.by_answer(factors @ best)
    seen = equations.by_answer(seconds)
    return best * _pace(expected[:_LATEST], seen[:_LATEST]), _rank_correlation(expected, seen)


def _pace(expected: _Numbers, seen: _Numbers) -> float:
    """Return how long the answers took, as a multiple of what is expected."""
    pace = 1.0
    for _ in range(3):
        clipped = np.clip(seen, pace * expected / 3, pace * expected * 3)
        pace = float(clipped.sum()) / float(expected.sum())
    return pace


def _non_negative(
    factors: _Numbers, targets: _Numbers, weights: _Numbers, deviation: float
) -> _Numbers:
    """Return the non-negative least squares solution that is expected near 1, by trying each set of
    unknowns that are not 0.
    """
    unknown = np.eye(factors.shape[1])
    squares = (factors.T * weights) @ factors + unknown / deviation**2
    products = factors.T @ (weights * targets) + 1 / deviation**2
    kept = np.array([*product((False, True), repeat=len(unknown))])
    systems = np.where(kept[:, :, None] & kept[:, None, :], squares, unknown)
    found = np.linalg.solve(systems, np.where(kept, products, 0.0)[:, :, None])[:, :, 0]
    losses = ((found @ squares) * found).sum(1) - 2 * found @ products
    losses[(found < 0).any(1)] = math.inf
    return np.asarray(found[losses.argmin()])


def _rank_correlation(one: _Numbers, other: _Numbers) -> float:
    """Return Spearman's coefficient; 0 if one of them does not vary."""
    one, other = _ranks(one), _ranks(other)
    spread = math.sqrt(float(one @ one) * float(other @ other))
    return float(one @ other) / spread if spread else 0.0


def _ranks(values: _Numbers) -> _Numbers:
    """Return the ranks about their mean, equal ones for equal values."""
    _, place, counts = np.unique(np.round(values, 9), return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts)[place] - counts[place] / 2
    return np.asarray(ranks - ranks.mean())
