"""The search where a smaller model scans, against scripted truths."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from vlm_engine.config.models import SearchConfig
from vlm_engine.search import VideoSearch
from vlm_engine.search.evidence import TimeWarp, gather
from vlm_engine.search.learning import learn_rates
from vlm_engine.search.rates import JUDGE, SCANNER, assumed
from vlm_engine.types import Cut, FrameQuery, Observation, Purpose, Span, Verdict, VideoInfo

Truth = Mapping[str, Sequence[tuple[float, float]]]
TAGS = ("Foul", "Turnover", "Goal")
CUTS = tuple(Cut(12.0 * number, 0.9) for number in range(1, 50))
INFO = VideoInfo("game.mp4", "id", 600.0, 599.96, 1280, 720, 25.0, "h264", (), CUTS)


def says(truth: Truth) -> Callable[[FrameQuery], Observation]:
    """A model that tells just this."""

    def tell(query: FrameQuery) -> Observation:
        shown = {
            tag: any(start <= query.time_s < end for start, end in truth.get(tag, ()))
            for tag in query.tags
        }
        return Observation(query.time_s, {tag: Verdict(present) for tag, present in shown.items()})

    return tell


def run(scanner: Truth, judge: Truth) -> tuple[VideoSearch, list[FrameQuery]]:
    """Plays a search to its end."""
    search, asked, rng = (
        VideoSearch(INFO, TAGS, SearchConfig(), scanned=True),
        list[FrameQuery](),
        random.Random(0),
    )
    by_scanner, by_judge = says(scanner), says(judge)
    while queries := search.next_queries():
        asked += queries
        for query in rng.sample(queries, len(queries)):
            scans = query.purpose is Purpose.SCAN
            search.record(
                query, replace(by_scanner(query), scanned=True) if scans else by_judge(query)
            )
    return search, asked


def bounds(spans: Sequence[Span]) -> list[tuple[float, float]]:
    return [(span.start_s, span.end_s) for span in spans]


PLAY = {"Foul": [(60.0, 132.0), (300.0, 312.0)], "Goal": [(456.0, 468.0)]}


def test_the_scan_is_the_scanners_and_the_judge_sees_what_is_in_doubt() -> None:
    search, asked = run(PLAY, PLAY)
    judged = [query for query in asked if query.purpose is not Purpose.SCAN]
    assert 0 < len(judged) < 0.3 * len(asked)
    assert {(span.tag, span.start_s, span.end_s) for span in search.spans()} == {
        (tag, start_s, end_s) for tag, spans in PLAY.items() for start_s, end_s in spans
    }


def test_what_fools_the_scanner_for_a_whole_shot_is_refuted_by_the_judge() -> None:
    search, asked = run({**PLAY, "Turnover": [(204.0, 216.0)]}, PLAY)
    assert [
        query for query in asked if query.purpose is not Purpose.SCAN and 204 <= query.time_s < 216
    ]
    assert {span.tag for span in search.spans()} == {"Foul", "Goal"}


def test_what_the_scanner_overlooks_within_an_event_is_filled_by_the_judge() -> None:
    search, _ = run({**PLAY, "Foul": [(60.0, 84.0), (96.0, 132.0), (300.0, 312.0)]}, PLAY)
    assert bounds([span for span in search.spans() if span.tag == "Foul"]) == PLAY["Foul"]


def test_the_judge_looks_at_the_very_frame_that_the_scanner_saw() -> None:
    _, asked = run({**PLAY, "Turnover": [(204.0, 216.0)]}, PLAY)
    scanned = {query.time_s for query in asked if query.purpose is Purpose.SCAN}
    checked = [query.time_s for query in asked if query.purpose is Purpose.SECOND_LOOK]
    assert checked
    assert sum(time_s in scanned for time_s in checked) > len(checked) / 2
    judged = [query.time_s for query in asked if query.purpose is not Purpose.SCAN]
    assert len(judged) == len(set(judged))


def test_edges_are_the_scanners() -> None:
    truth = {"Foul": [(64.3, 127.1), (303.7, 309.9)]}
    search, asked = run(truth, truth)
    assert {query.purpose for query in asked} <= {Purpose.SCAN, Purpose.SECOND_LOOK}
    for span, (start_s, end_s) in zip(search.spans(), truth["Foul"], strict=True):
        assert abs(span.start_s - start_s) <= 0.1 * (end_s - start_s)
        assert abs(span.end_s - end_s) <= 0.1 * (end_s - start_s)


def test_the_judges_word_weighs_more_than_the_scanners() -> None:
    def belief(word: bool, *, scanned: bool) -> float:
        search = VideoSearch(INFO, TAGS, SearchConfig(), scanned=True)
        for query in search.next_queries():
            search.record(query, replace(says(PLAY)(query), scanned=True))
        last = Observation(306.5, {"Foul": Verdict(word)}, scanned=scanned)
        search.record(FrameQuery(306.5, ("Foul",), Purpose.SECOND_LOOK), last)
        return dict(search.presence("Foul"))[306.5]

    assert belief(False, scanned=False) < belief(False, scanned=True)
    assert belief(True, scanned=False) > belief(True, scanned=True)


def test_each_observers_errors_are_learnt_apart() -> None:
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
    evidence = gather([*wrong, *judged], TAGS, TimeWarp(INFO.duration_s, CUTS), scanned=True)
    rates = learn_rates(evidence, assumed(len(TAGS), INFO.duration_s, scanned=True), 4)
    scanner, judge = (
        rates.observers[SCANNER].error.mean(),
        rates.observers[JUDGE].error.mean(),
    )
    assert 0.08 < scanner < 0.2
    assert judge < scanner / 4


def test_a_search_that_is_given_what_was_seen_asks_nothing_more() -> None:
    first, _ = run({**PLAY, "Turnover": [(204.0, 216.0)]}, PLAY)
    again = VideoSearch(INFO, TAGS, SearchConfig(), scanned=True)
    for time_s, seen in first.observations():
        again.record(FrameQuery(time_s, tuple(seen.verdicts), Purpose.SCAN), seen)
    assert again.next_queries() == ()
    assert again.spans() == first.spans()


def test_a_judge_that_did_the_scan_itself_needs_no_scanner() -> None:
    search = VideoSearch(INFO, TAGS, SearchConfig(), scanned=True)
    truth = {**PLAY, "Goal": [(456.0, 480.0)]}
    while queries := search.next_queries():
        for query in queries:
            search.record(query, says(truth)(query))
    assert {span.tag for span in search.spans()} == {"Foul", "Goal"}
