"""Which questions are worth their price, and when it is enough.

A call has one price, whatever is asked; the more effort the user wants, the lower it is. Where a smaller model scans, calls
to it are cheap, so that they go first, and those to the judge dear. Where the user sets a budget besides,
each round spends half of what is left on what is worth most, so that later rounds can follow up what the earlier ones found.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vlm_engine.search.candidates import Candidate
from vlm_engine.types import Purpose

PRICE = 0.063
_USUAL_RUNS_PER_HOUR = 130.0
_FEWEST, _MOST = 0.05, 2.0
_BUSTLE_COUNTS = 0.7
"""With 1 every video counts alike, however much happens in it; with 0 every label."""
_LONG_S, _CHEAPEST = 1000.0, 0.65
_JUDGE, _SCANNER = 1.65, 0.5
_LEAST_SHARE = 0.01
_SPENT_PER_ROUND = 0.5
_LEAST_ROUND = 0.04


@dataclass(frozen=True, slots=True)
class Prices:
    """What a question must be worth to be asked: one to the judge, and one to the scanner, whose are those of scans."""

    judge: float
    scanner: float

    def of(self, question: Candidate) -> float:
        """The price of a question."""
        return self.scanner if question.purpose is Purpose.SCAN else self.judge


def price(runs: int, duration_s: float, effort: float) -> float:
    """What a call costs. The more happens in a video, the less one of its labels matters; in a short one, a call matters less."""
    per_hour = runs / max(duration_s, 1e-6) * 3600
    bustle = math.pow(min(_MOST, max(_FEWEST, per_hour / _USUAL_RUNS_PER_HOUR)), _BUSTLE_COUNTS)
    return PRICE / effort * bustle * min(1.0, max(_CHEAPEST, duration_s / _LONG_S))


def prices(one: float, *, scanned: bool) -> Prices:
    """Of calls, where one to a model that does everything costs ``one``."""
    return Prices(one * _JUDGE, one * _SCANNER) if scanned else Prices(one, one)


def share_of(budget: int, spent: int) -> int:
    """How many calls the next round may take, of a ``budget`` for the whole video of which so many are ``spent``."""
    left = max(0, budget - spent)
    return min(left, max(round(left * _SPENT_PER_ROUND), round(budget * _LEAST_ROUND), 1))


def chosen(
    questions: Iterable[Candidate], prices: Prices, most: int | None, apart_s: float
) -> list[Candidate]:
    """The questions to ask in one round, best for their price first, no two on the same frame (nearer than ``apart_s``).

    ``most``: how many at a time.
    """
    worthy = [question for question in questions if question.value >= prices.of(question)]
    taken: dict[int, Candidate] = {}
    for question in sorted(
        worthy,
        key=lambda question: (
            -question.value / prices.of(question),
            question.time_s,
            question.purpose,
        ),
    ):
        if most is not None and len(taken) >= most:
            break
        cell = int(question.time_s / apart_s)
        beside = [taken[near].time_s for near in (cell - 1, cell, cell + 1) if near in taken]
        if all(abs(time_s - question.time_s) > apart_s for time_s in beside):
            taken[cell] = question
    return list(taken.values())


def is_worth_a_round(questions: Sequence[Candidate], runs: int) -> bool:
    """Whether what the questions set right is worth the wait for another round, where so many runs are known."""
    return bool(questions) and sum(question.value for question in questions) >= _LEAST_SHARE * max(
        1, runs
    )
