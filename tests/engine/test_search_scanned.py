"""The search where a smaller model scans, against scripted truths."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import chain

from tests.engine.searches import TAGS, Truth, bounds, play, replay, says, spans_of, video
from vlm_engine.config.models import SearchConfig
from vlm_engine.search import Costs, VideoSearch
from vlm_engine.search.evidence import TimeWarp, gather
from vlm_engine.search.learning import learn_rates
from vlm_engine.search.rates import JUDGE, SCANNER, assumed
from vlm_engine.types import FrameQuery, Observation, Purpose, QuestionCost, QuestionTerms, Verdict

TWO_MODELS = Costs(scanner=QuestionTerms(cost=QuestionCost().times(0.3)))

INFO = video(cuts=[12.0 * number for number in range(1, 50)])


def run(scanner: Truth, judge: Truth) -> tuple[VideoSearch, list[FrameQuery]]:
    search = VideoSearch(INFO, TAGS, SearchConfig(), TWO_MODELS)

    def answer(query: FrameQuery) -> Observation:
        if query.purpose is Purpose.SCAN:
            return replace(says(scanner)(query), scanned=True)
        return says(judge)(query)

    return search, list(chain(*play(search, answer, seed=0)))


PLAY = {"Foul": [(60.0, 132.0), (300.0, 312.0)], "Goal": [(456.0, 468.0)]}


def test_the_judge_sees_only_what_the_scan_leaves_in_doubt():
    search, queries = run(PLAY, PLAY)
    judged = [query for query in queries if query.purpose is not Purpose.SCAN]
    assert 0 < len(judged) < 0.3 * len(queries)
    assert {(span.tag, span.start_s, span.end_s) for span in search.spans()} == {
        (tag, start_s, end_s) for tag, spans in PLAY.items() for start_s, end_s in spans
    }


def test_the_judge_refutes_what_fools_the_scanner():
    search, queries = run({**PLAY, "Turnover": [(204.0, 216.0)]}, PLAY)
    assert [
        query
        for query in queries
        if query.purpose is not Purpose.SCAN and 204 <= query.time_s < 216
    ]
    assert {span.tag for span in search.spans()} == {"Foul", "Goal"}


def test_the_judge_fills_what_the_scanner_overlooks():
    search, _ = run({**PLAY, "Foul": [(60.0, 84.0), (96.0, 132.0), (300.0, 312.0)]}, PLAY)
    assert bounds(spans_of(search, "Foul")) == PLAY["Foul"]


def test_the_judge_is_shown_the_frame_that_the_scanner_saw():
    _, queries = run({**PLAY, "Turnover": [(204.0, 216.0)]}, PLAY)
    scanned = {query.time_s for query in queries if query.purpose is Purpose.SCAN}
    checked = [query.time_s for query in queries if query.purpose is Purpose.SECOND_LOOK]
    assert checked
    assert sum(time_s in scanned for time_s in checked) > len(checked) / 2
    judged = [query.time_s for query in queries if query.purpose is not Purpose.SCAN]
    assert len(judged) == len(set(judged))


def test_edges_are_the_scanners():
    truth = {"Foul": [(64.3, 127.1), (303.7, 309.9)]}
    search, queries = run(truth, truth)
    assert {query.purpose for query in queries} <= {Purpose.SCAN, Purpose.SECOND_LOOK}
    for span, (start_s, end_s) in zip(search.spans(), truth["Foul"], strict=True):
        assert abs(span.start_s - start_s) <= 0.1 * (end_s - start_s)
        assert abs(span.end_s - end_s) <= 0.1 * (end_s - start_s)


def test_the_judges_word_weighs_more_than_the_scanners():
    def belief(word: bool, *, scanned: bool) -> float:
        search = VideoSearch(INFO, TAGS, SearchConfig(), TWO_MODELS)
        for query in search.next_queries():
            search.record(query, replace(says(PLAY)(query), scanned=True))
        last = Observation(306.5, {"Foul": Verdict(word)}, scanned=scanned)
        search.record(FrameQuery(306.5, ("Foul",), Purpose.SECOND_LOOK), last)
        return dict(search.presence("Foul"))[306.5]

    assert belief(False, scanned=False) < belief(False, scanned=True)
    assert belief(True, scanned=False) > belief(True, scanned=True)


def test_each_observers_errors_are_learnt_apart():
    rng = random.Random(3)
    queries = [FrameQuery(2.0 * number, TAGS, Purpose.SCAN) for number in range(300)]
    seen = [replace(says(PLAY)(query), scanned=True) for query in queries]
    wrong = [
        replace(
            one,
            verdicts={
                tag: Verdict(verdict.present != (rng.random() < 0.15))
                for tag, verdict in one.verdicts.items()
            },
        )
        for one in seen
    ]
    judged = [Observation(one.time_s + 0.4, one.verdicts) for one in seen[::3]]
    evidence = gather([*wrong, *judged], TAGS, TimeWarp(INFO.duration_s, INFO.cuts), scanned=True)
    rates = learn_rates(evidence, assumed(len(TAGS), INFO.duration_s, scanned=True), 4)
    scanner, judge = (
        rates.observers[SCANNER].error.mean(),
        rates.observers[JUDGE].error.mean(),
    )
    assert 0.08 < scanner < 0.2
    assert judge < scanner / 4


def test_a_scanned_search_goes_on_from_what_was_seen():
    first, _ = run({**PLAY, "Turnover": [(204.0, 216.0)]}, PLAY)
    again = VideoSearch(INFO, TAGS, SearchConfig(), TWO_MODELS)
    replay(first, again)
    assert again.next_queries() == ()
    assert again.spans() == first.spans()


def test_a_judge_that_did_the_scan_itself_needs_no_scanner():
    search = VideoSearch(INFO, TAGS, SearchConfig(), TWO_MODELS)
    truth = {**PLAY, "Goal": [(456.0, 480.0)]}
    play(search, says(truth))
    assert {span.tag for span in search.spans()} == {"Foul", "Goal"}
