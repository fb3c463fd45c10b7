"""Questions of a search, by the seconds that they take."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from tests.engine.searches import TAGS, Truth, play, says, video
from vlm_engine.config.models import SearchConfig
from vlm_engine.search import ONE_MODEL, Costs, VideoSearch
from vlm_engine.search.candidates import Candidate
from vlm_engine.search.pricing import Prices
from vlm_engine.types import (
    Form,
    FrameQuery,
    Observation,
    Purpose,
    QuestionCost,
    QuestionStyle,
    QuestionTerms,
)

INFO = video(1800.0, cuts=[7.0 * number for number in range(1, 250)])
TRUTH: Truth = {"Foul": [(100.0, 109.0), (640.0, 655.0)], "Goal": [(300.0, 700.0)]}
COST = QuestionCost()


def search_of(costs: Costs = ONE_MODEL, **settings: float) -> VideoSearch:
    return VideoSearch(INFO, TAGS, SearchConfig.model_validate(settings), costs)


def seconds_of(queries: list[FrameQuery]) -> float:
    """Count what these questions took, by hand: two tokens stand around a name."""
    answers = says(TRUTH)
    named = sum(
        len(tag) / 4 + 1.5
        for query in queries
        for tag, verdict in answers(query).verdicts.items()
        if verdict.present
    )
    tokens = 4 * len(queries) + named
    return len(queries) * (COST.call_s + COST.picture_s) + COST.answer_token_s * tokens


@pytest.mark.parametrize("factor", [0.1, 10])
def test_the_same_effort_asks_the_same_of_fast_and_slow_models(factor):
    usual, other = search_of(), search_of(Costs(QuestionTerms(cost=COST.times(factor))))
    assert play(other, says(TRUTH)) == play(usual, says(TRUTH))


def test_a_question_leaves_out_tags_not_worth_their_names():
    costs, _ = ONE_MODEL.of(TAGS)
    prices = Prices(costs, costs, runs=20, duration_s=3600.0, effort=1.0)
    shows = np.array([[0.9999, 0.0001, 0.7]])
    candidate = Candidate(10.0, 1.0, Purpose.EDGE, (2,))
    (priced,) = prices.priced([candidate], shows)
    assert [TAGS[column] for column in priced.columns] == ["Turnover", "Goal"]
    (sure,) = prices.priced([replace(candidate, columns=(0,))], shows)
    assert sure.columns == (0, 1, 2)
    assert sure.seconds > priced.seconds


def test_what_is_not_worth_its_seconds_is_not_asked():
    costs, _ = ONE_MODEL.of(TAGS)
    prices = Prices(costs, costs, runs=20, duration_s=3600.0, effort=1.0)
    shows = np.zeros((1, 3))
    worth = prices.least(Purpose.SCAN)
    assert prices.priced([Candidate(10.0, 1.01 * worth, Purpose.SCAN)], shows)
    assert not prices.priced([Candidate(10.0, 0.99 * worth, Purpose.SCAN)], shows)


@pytest.mark.parametrize("budget_s", [40, 80, 200])
def test_a_budget_of_seconds_is_kept(budget_s):
    rounds = play(search_of(seconds_per_hour=budget_s), says(TRUTH))
    asked = [query for queries in rounds for query in queries]
    assert seconds_of(asked) <= 1.05 * budget_s / 2
    assert seconds_of(asked) >= 0.5 * budget_s / 2


def test_the_tighter_of_two_budgets_holds():
    by_seconds = play(search_of(seconds_per_hour=60), says(TRUTH))
    both = search_of(seconds_per_hour=60, questions_per_hour=10_000)
    assert play(both, says(TRUTH)) == by_seconds
    few = search_of(seconds_per_hour=10_000, questions_per_hour=100)
    assert sum(map(len, play(few, says(TRUTH)))) <= 50


def test_a_budgeted_search_resumes_exactly():
    answers, first = says(TRUTH), search_of(seconds_per_hour=90)
    rounds = play(first, answers)
    again = search_of(seconds_per_hour=90)
    known = {query.time_s: answers(query) for queries in rounds[:2] for query in queries}
    repeated = []
    while queries := again.next_queries():
        repeated.append([*queries])
        shuffled = random.Random(3).sample(queries, len(queries))
        for query in shuffled:
            again.record(query, known.get(query.time_s) or answers(query))
    assert repeated == rounds
    assert again.spans() == first.spans()


def test_frames_that_cannot_be_judged_count_against_the_budget():
    search = search_of(seconds_per_hour=60)
    asked = 0
    while queries := search.next_queries():
        for query in queries:
            asked += 1
            lost = asked % 3 == 0
            search.record(query, Observation(query.time_s, {}) if lost else says(TRUTH)(query))
    assert asked * (COST.call_s + COST.picture_s) <= 31


def test_verdicts_are_asked_only_about_tags_in_doubt():
    verdicts, _ = Costs(QuestionTerms(QuestionStyle(Form.VERDICTS))).of(TAGS)
    prices = Prices(verdicts, verdicts, runs=20, duration_s=3600.0, effort=1.0)
    shows = np.array([[0.9999, 0.0001, 0.5]])
    (priced,) = prices.priced([Candidate(10.0, 1.0, Purpose.EDGE, (2,))], shows)
    assert [TAGS[column] for column in priced.columns] == ["Goal"]
