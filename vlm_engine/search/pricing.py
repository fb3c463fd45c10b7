"""The price of a question in model seconds, and the choice of the questions that are worth it.

A question's seconds are those of the call, the picture, the text that names its tags, and the
answer. As a rule an answer is a list of the tags shown. Then a tag that is absent costs nothing to
ask about, and one that shows costs the tokens of its name. A verdict costs as much for either.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from vlm_engine.config.models import SearchConfig
from vlm_engine.search.candidates import Candidate
from vlm_engine.search.evidence import Flags
from vlm_engine.search.rates import Floats
from vlm_engine.types import Form, Purpose, QuestionCost, QuestionTerms

_EMPTY_LIST = 4.0
"""Tokens of an answer beside the names."""
_BYTES_PER_TOKEN = 4.0
_AROUND_NAME = 1.5
"""Tokens of the quotes and the comma."""
_AROUND_VERDICT = 3.5
"""The same, and those of a yes or no."""
_SHOWN_USUALLY = 2.0
"""Tags that a frame of a scan shows."""
_SCANNER_AT_MOST = 0.5
"""Whoever sets a model that scans for another means a cheaper one."""

_PRICE = 0.113
_USUAL_RUNS_PER_HOUR = 130.0
_FEWEST, _MOST = 0.05, 2.0
_BUSTLE_COUNTS = 0.7
"""With 1 every video counts alike, however much happens in it; with 0 every label."""
_LONG_S, _CHEAPEST = 1000.0, 0.65
_LEAST_SHARE = 0.01
_SPENT_PER_ROUND = 0.5
_LEAST_ROUND = 0.04


@dataclass(frozen=True, slots=True)
class Costs:
    """The terms of questions: to the judge, and to the model that scans for it, if there is one."""

    judge: QuestionTerms = field(default_factory=QuestionTerms)
    scanner: QuestionTerms | None = None

    def of(self, tags: Sequence[str]) -> tuple[TagCosts, TagCosts]:
        """Return those of the judge and of the model that scans, which may be the same."""
        judge = TagCosts.of(self.judge, tags)
        if self.scanner is None:
            return judge, judge
        scanner = TagCosts.of(self.scanner, tags)
        factor = min(1.0, _SCANNER_AT_MOST * judge.usual_s / scanner.usual_s)
        return judge, replace(scanner, cost=scanner.cost.times(factor))


ONE_MODEL = Costs()
"""One model of a usual cost, which answers with lists."""


@dataclass(frozen=True, slots=True)
class TagCosts:
    """The seconds of questions to one model about K tags.

    ``names`` (K,): the tokens of each tag in an answer, estimated by the length of its name.
    ``lists_all``: an answer has every tag of the question, not only those that show.
    """

    cost: QuestionCost
    names: Floats
    lists_all: bool

    @classmethod
    def of(cls, terms: QuestionTerms, tags: Sequence[str]) -> TagCosts:
        """Return the costs of questions about ``tags``."""
        lists_all = terms.style.form is Form.VERDICTS
        around = _AROUND_VERDICT if lists_all else _AROUND_NAME
        lengths = [len(tag.encode()) / _BYTES_PER_TOKEN + around for tag in tags]
        return cls(terms.cost, np.array(lengths, dtype=np.float64), lists_all)

    def answered_s(
        self, tags: Sequence[str], requested: Sequence[str], named: Iterable[str]
    ) -> float:
        """Return the seconds of a question about some tags, whose answer ``named`` some."""
        is_asked, is_named = (np.isin(tags, [*some]) for some in (requested, named))
        return float(self.seconds(is_asked[None], is_named[None].astype(np.float64))[0])

    @property
    def least_s(self) -> float:
        """Seconds of a question whose answer names no tag."""
        cost = self.cost
        return cost.call_s + cost.picture_s + cost.answer_token_s * _EMPTY_LIST

    @property
    def usual_s(self) -> float:
        """Seconds of a usual question of a scan."""
        count = len(self.names) if self.lists_all else min(_SHOWN_USUALLY, len(self.names) / 2)
        return self.least_s + self.cost.answer_token_s * count * float(self.names.mean())

    def naming_s(self, shows: Floats) -> Floats:
        """Return (m, K): the expected seconds that each tag adds to an answer, if it is asked."""
        written = np.ones_like(shows) if self.lists_all else shows
        return np.asarray(self.cost.answer_token_s * self.names * written)

    def seconds(self, requested: Flags, shows: Floats) -> Floats:
        """Return (m,): the expected seconds of questions about the tags ``requested`` (m, K).

        ``shows`` (m, K): how probably each tag shows. The text names the tags that are asked about
        or those that are left out, whichever is shorter.
        """
        answer_s = (requested * self.naming_s(shows)).sum(1)
        text = np.minimum(requested @ self.names, ~requested @ self.names)
        return np.asarray(self.least_s + answer_s + self.cost.text_token_s * text)


@dataclass(frozen=True, slots=True)
class Allowance:
    """Frames and model seconds that are left; infinite where there is no limit."""

    frames: float = math.inf
    seconds: float = math.inf

    @classmethod
    def of(cls, config: SearchConfig, duration_s: float) -> Allowance:
        """Return the budget that the settings give to a video."""
        frames, seconds = config.questions_per_hour, config.seconds_per_hour
        hours = duration_s / 3600
        return cls(
            math.inf if frames is None else round(frames * hours),
            math.inf if seconds is None else seconds * hours,
        )

    @property
    def is_exceeded(self) -> bool:
        """True where more was taken than there was."""
        return self.frames < 0 or self.seconds < 0

    def less(self, frames: float, seconds: float) -> Allowance:
        """Return what is left after so much."""
        return Allowance(self.frames - frames, self.seconds - seconds)

    def questions(self, usual_s: float) -> float:
        """Return how many usual questions it allows."""
        return min(self.frames, self.seconds / usual_s)

    def of_round(self, budget: Allowance) -> Allowance:
        """Return what the next round may take: half of what is left of the ``budget``.

        Later rounds can then follow up what the earlier ones found.
        """

        def part(left: float, whole: float, least: float) -> float:
            if math.isinf(whole):
                return whole
            return max(0.0, min(left, max(left * _SPENT_PER_ROUND, whole * _LEAST_ROUND, least)))

        return Allowance(
            part(self.frames, budget.frames, 1.0), part(self.seconds, budget.seconds, 0.0)
        )


class Prices:
    """The value that a question must have by the second, where ``runs`` are known in a video.

    The price is counted in usual questions to the judge, so that the same effort asks the same
    questions of a fast and of a slow model; ``effort`` divides it. The more happens in a video, the
    less one of its labels matters; in a short video, a question matters less.
    """

    def __init__(
        self, judge: TagCosts, scanner: TagCosts, runs: int, duration_s: float, effort: float
    ) -> None:
        per_hour = runs / max(duration_s, 1e-6) * 3600
        bustle = min(_MOST, max(_FEWEST, per_hour / _USUAL_RUNS_PER_HOUR)) ** _BUSTLE_COUNTS
        price = _PRICE / effort * bustle * min(1.0, max(_CHEAPEST, duration_s / _LONG_S))
        self.per_s: float = price / judge.usual_s
        self._judge, self._scanner = judge, scanner

    def usual(self, purpose: Purpose) -> float:
        """Return the value that a usual question of this purpose must have."""
        return self.per_s * self._costs(purpose).usual_s

    def least(self, purpose: Purpose) -> float:
        """Return the value that the cheapest question of this purpose must have."""
        return self.per_s * self._costs(purpose).least_s

    def priced(self, candidates: Sequence[Candidate], shows: Floats) -> list[Candidate]:
        """Return the candidates that are worth it, each with its seconds and all its tags.

        ``shows`` (m, K): how probably each tag shows there. A question asks also about the tags
        whose doubt is worth what they add to the answer, on average: if it is a list, about all but
        those that surely show.
        """
        doubt, worthy = np.minimum(shows, 1 - shows), []
        for purpose in dict.fromkeys(each.purpose for each in candidates):
            rows = [row for row, each in enumerate(candidates) if each.purpose is purpose]
            costs, likely = self._costs(purpose), shows[rows]
            requested = doubt[rows] >= self.per_s * costs.naming_s(likely)
            for row, tags in zip(rows, requested, strict=True):
                tags[list(candidates[row].columns)] = True
            seconds = costs.seconds(requested, likely).tolist()
            for row, tags, taken_s in zip(rows, requested, seconds, strict=True):
                if candidates[row].value >= self.per_s * taken_s:
                    columns = tuple(map(int, np.flatnonzero(tags)))
                    worthy.append(replace(candidates[row], columns=columns, seconds=taken_s))
        return worthy

    def _costs(self, purpose: Purpose) -> TagCosts:
        return self._scanner if purpose is Purpose.SCAN else self._judge


def choose(
    candidates: Iterable[Candidate], allowance: Allowance, apart_s: float
) -> list[Candidate]:
    """Return the candidates for one round, those of most value by the second first.

    None is nearer than ``apart_s`` to another. All together stay within the ``allowance``.
    """
    taken: dict[int, Candidate] = {}
    for candidate in sorted(
        candidates, key=lambda each: (-each.value / each.seconds, each.time_s, each.purpose)
    ):
        cell = int(candidate.time_s / apart_s)
        beside = [taken[near].time_s for near in (cell - 1, cell, cell + 1) if near in taken]
        if all(abs(time_s - candidate.time_s) > apart_s for time_s in beside):
            allowance = allowance.less(1, candidate.seconds)
            if allowance.is_exceeded:
                break
            taken[cell] = candidate
    return list(taken.values())


def is_worth_a_round(candidates: Sequence[Candidate], runs: int) -> bool:
    """Return whether the candidates set enough right to wait for another round.

    ``runs``: how many are known.
    """
    worth = sum(each.value for each in candidates)
    return bool(candidates) and worth >= _LEAST_SHARE * max(1, runs)
