"""The search against scripted truths: no model, no video, only times and verdicts."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_engine.config.models import SearchConfig
from vlm_engine.search import VideoSearch
from vlm_engine.search.candidates import fitting_share
from vlm_engine.search.evidence import TimeWarp
from vlm_engine.search.rates import SHORT_S, SHORTEST_S, Floats
from vlm_engine.search.scan import scan_times
from vlm_engine.search.segments import Gap
from vlm_engine.types import Cut, FrameQuery, Observation, Purpose, Span, Verdict, VideoInfo

Truth = Mapping[str, Sequence[tuple[float, float]]]
TAGS = ("Foul", "Turnover", "Goal")
INTERVAL_S = SearchConfig().interval_for(600.0)


def video(
    duration_s: float = 600.0, cuts: Sequence[Cut] = (), key_frames_s: Sequence[float] = ()
) -> VideoInfo:
    return VideoInfo(
        "game.mp4",
        "id",
        duration_s,
        duration_s - 0.04,
        1280,
        720,
        25.0,
        "h264",
        tuple(key_frames_s),
        tuple(cuts),
    )


def seen(truth: Truth, query: FrameQuery) -> Observation:
    return Observation(
        query.time_s,
        {
            tag: Verdict(any(a <= query.time_s < b for a, b in truth.get(tag, ())))
            for tag in query.tags
        },
    )


def run(
    info: VideoInfo,
    truth: Truth,
    config: SearchConfig | None = None,
    tags: Sequence[str] = TAGS,
    seed: int = 0,
) -> tuple[VideoSearch, list[list[FrameQuery]]]:
    """Plays a search to its end; answers of one round arrive in an order drawn from ``seed``."""
    search, rounds, rng = VideoSearch(info, tags, config or SearchConfig()), [], random.Random(seed)
    while queries := search.next_queries():
        rounds.append(list(queries))
        for query in rng.sample(queries, len(queries)):
            search.record(query, seen(truth, query))
    return search, rounds


def spans_of(search: VideoSearch, tag: str) -> list[Span]:
    return [span for span in search.spans() if span.tag == tag]


def test_a_span_between_two_cuts_ends_on_them() -> None:
    cuts = [Cut(time_s, 0.9) for time_s in (50.0, 120.0, 180.0, 300.0)]
    search, _ = run(video(cuts=cuts), {"Foul": [(120.0, 180.0)]})
    (span,) = spans_of(search, "Foul")
    assert (span.start_s, span.end_s) == (120.0, 180.0)
    assert spans_of(search, "Turnover") == []


def test_a_span_without_any_cut_is_placed_within_the_tolerance() -> None:
    search, _ = run(video(), {"Foul": [(101.3, 117.7)]}, SearchConfig(edge_tolerance_s=0.5))
    (span,) = spans_of(search, "Foul")
    assert abs(span.start_s - 101.3) <= 1.5
    assert abs(span.end_s - 117.7) <= 1.5


def test_a_long_span_may_end_a_little_less_exactly_and_its_edges_are_asked_about_less() -> None:
    _, exact = run(video(), {"Foul": [(101.3, 117.7)]})
    search, rough = run(video(), {"Foul": [(101.3, 417.7)]})
    (span,) = spans_of(search, "Foul")
    assert abs(span.start_s - 101.3) <= 6
    edges = [
        sum(query.purpose is Purpose.EDGE for queries in rounds for query in queries)
        for rounds in (exact, rough)
    ]
    assert edges[1] < edges[0]


@pytest.mark.parametrize("duration_s", [300.0, 1800.0, 3600.0])
def test_an_event_that_a_scan_sees_once_in_an_otherwise_quiet_video_is_looked_at_again_and_found(
    duration_s: float,
) -> None:
    info = video(duration_s)
    at_s = scan_times(info, SearchConfig().interval_for(duration_s))[15]
    search, rounds = run(info, {"Foul": [(at_s - 4, at_s + 4)]})
    assert any(query.purpose is Purpose.SECOND_LOOK for queries in rounds for query in queries)
    (span,) = spans_of(search, "Foul")
    assert span.start_s < at_s < span.end_s


def test_a_tag_that_is_always_there_spans_the_video() -> None:
    search, rounds = run(video(), {"Foul": [(0.0, 600.0)]})
    (span,) = spans_of(search, "Foul")
    assert (span.start_s, span.end_s) == (0.0, 600.0)
    assert {query.purpose for queries in rounds for query in queries} == {Purpose.SCAN}


def test_one_question_serves_all_tags_and_nothing_is_asked_when_nothing_is_there() -> None:
    _, rounds = run(video(), {})
    assert len(rounds) == 1
    assert all(query.tags == TAGS and query.purpose is Purpose.SCAN for query in rounds[0])
    assert len(rounds[0]) == pytest.approx(600 / INTERVAL_S, abs=3)


def test_a_discovery_asks_about_all_tags_and_other_later_looks_only_about_those_in_doubt() -> None:
    _, rounds = run(video(), {"Foul": [(100.0, 130.0)]})
    later = [query for queries in rounds[1:] for query in queries]
    assert {query.tags for query in later if query.purpose is not Purpose.SCAN} == {("Foul",)}
    assert all(query.tags == TAGS for query in later if query.purpose is Purpose.SCAN)


def test_a_lone_mistake_is_overruled_by_other_frames() -> None:
    info = video()
    wrong_s = scan_times(info, INTERVAL_S)[20]
    search = VideoSearch(info, ("Foul",), SearchConfig())
    asked = []
    while queries := search.next_queries():
        for query in queries:
            asked.append(query)
            search.record(
                query, Observation(query.time_s, {"Foul": Verdict(query.time_s == wrong_s)})
            )
    assert search.spans() == ()
    second = [query for query in asked if query.purpose is Purpose.SECOND_LOOK]
    assert 1.0 in [round(abs(query.time_s - wrong_s), 3) for query in second]


def test_a_short_event_seen_once_is_upheld() -> None:
    info = video()
    at_s = scan_times(info, INTERVAL_S)[20]
    search, _ = run(info, {"Foul": [(at_s - 0.4, at_s + 2.1)]})
    (span,) = spans_of(search, "Foul")
    assert abs(span.start_s - (at_s - 0.4)) < 1
    assert abs(span.end_s - (at_s + 2.1)) < 1


def test_a_short_event_that_ends_before_the_frame_on_one_side_is_looked_at_on_the_other() -> None:
    truth = {"Foul": [(280.0, 301.0), (500.0, 530.0)], "Turnover": [(100.0, 109.0)]}
    scan = scan_times(video(), INTERVAL_S)
    seen_s = min(scan, key=lambda time_s: abs(time_s - 200))
    truth["Foul"].append((seen_s - 4.0, seen_s + 0.6))
    search, rounds = run(video(), truth)
    beside = {
        round(query.time_s - seen_s, 2)
        for queries in rounds
        for query in queries
        if abs(query.time_s - seen_s) <= 1.01
    }
    assert {0.0, 1.0, -1.0} <= beside
    assert any(span.start_s <= seen_s <= span.end_s for span in spans_of(search, "Foul"))


@given(
    before_s=st.floats(0.4, 12.0),
    after_s=st.floats(0.4, 12.0),
    shortest_s=st.sampled_from((SHORTEST_S, 5.0)),
)
def test_a_discovery_counts_the_events_that_fit_between_two_looks_and_show_in_the_frame(
    before_s: float, after_s: float, shortest_s: float
) -> None:
    """Against events thrown at random, of each kind two hundred thousand."""
    rng, stretch_s = np.random.default_rng(5), before_s + after_s
    begins_s = rng.uniform(0, stretch_s, 200_000)
    lasts_s = rng.exponential(1.0, begins_s.size)

    def share(lengths_s: Floats) -> float:
        ends_s = begins_s + lengths_s
        return float(np.mean((begins_s <= before_s) & (ends_s >= before_s) & (ends_s <= stretch_s)))

    wanted = share(shortest_s + (SHORT_S - SHORTEST_S) * lasts_s) / share(SHORT_S * lasts_s)
    factor = fitting_share(np.array([before_s]), np.array([after_s]), shortest_s)[0]
    assert factor == pytest.approx(wanted, rel=0.1, abs=0.05)


def test_between_looks_nearer_than_the_shortest_event_nothing_is_searched_for() -> None:
    assert fitting_share(np.array([0.9]), np.array([1.0]), SHORTEST_S)[0] == 0.0


def test_who_looks_for_long_events_only_is_asked_for_fewer_discoveries() -> None:
    cuts = [Cut(8.0 * number, 0.9) for number in range(1, 70)]
    truth = {"Foul": [(40.0, 90.0), (200.0, 260.0)], "Turnover": [(300.0, 340.0), (480.0, 530.0)]}
    counts = []
    for shortest_s in (5.0, 20.0):
        config = SearchConfig(shortest_event_s=shortest_s, frame_interval_s=8.0)
        search, rounds = run(video(cuts=cuts), truth, config)
        assert {span.tag for span in search.spans()} == {"Foul", "Turnover"}
        counts.append(
            sum(query.purpose is Purpose.SCAN for queries in rounds[1:] for query in queries)
        )
    assert counts[1] < counts[0]


def test_every_shot_is_looked_at_and_no_stretch_is_left_out() -> None:
    cuts = [Cut(20.0, 0.8), Cut(24.0, 0.8), Cut(90.0, 0.4), Cut(95.0, 0.1)]
    times = scan_times(video(200.0, cuts), 8.0)
    assert times[0] == 0.0
    assert times[-1] == pytest.approx(199.96)
    assert any(20 < time_s < 24 for time_s in times)
    assert all(later - earlier <= 12 for earlier, later in pairwise(times))


def test_a_scan_look_moves_to_a_key_frame_of_its_own_shot() -> None:
    times = scan_times(
        video(200.0, [Cut(100.0, 0.9)], key_frames_s=(0.0, 5.1, 99.0, 101.0, 150.0)), 8.0
    )
    assert 5.1 in times
    assert 150.0 in times


@pytest.mark.parametrize("duration_s", [0.04, 0.5, 1.0, 3.0])
def test_a_very_short_video_is_looked_at_and_ends(duration_s: float) -> None:
    search, rounds = run(video(duration_s), {"Foul": [(0.0, duration_s)]})
    assert rounds[0][0].time_s == 0.0
    assert [(span.start_s, span.end_s) for span in search.spans()] == [(0.0, duration_s)]


def test_unjudged_frames_are_worked_around_and_not_asked_again() -> None:
    info, truth = video(), {"Foul": [(100.0, 200.0)]}
    search, asked = VideoSearch(info, ("Foul",), SearchConfig()), []
    while queries := search.next_queries():
        for query in queries:
            asked.append(query.time_s)
            fails = len(asked) % 5 == 0
            search.record(query, Observation(query.time_s, {}) if fails else seen(truth, query))
    assert len(asked) == len(set(asked))
    (span,) = search.spans()
    assert abs(span.start_s - 100) < 6
    assert abs(span.end_s - 200) < 6


def test_a_search_goes_on_from_earlier_observations_without_asking_again() -> None:
    truth = {"Foul": [(101.0, 177.0)], "Goal": [(20.0, 26.0)]}
    first, _ = run(video(), truth)
    again = VideoSearch(video(), TAGS, SearchConfig())
    for time_s, observation in first.observations():
        again.record(FrameQuery(time_s, tuple(observation.verdicts), Purpose.SCAN), observation)
    assert again.next_queries() == ()
    assert again.spans() == first.spans()


def test_a_new_tag_is_asked_for_alone() -> None:
    first, _ = run(video(), {"Foul": [(101.0, 177.0)]}, tags=("Foul",))
    again = VideoSearch(video(), ("Foul", "Goal"), SearchConfig())
    for time_s, observation in first.observations():
        again.record(FrameQuery(time_s, tuple(observation.verdicts), Purpose.SCAN), observation)
    assert {query.tags for query in again.next_queries()} == {("Goal",)}


def test_every_span_has_a_confidence_told_or_not() -> None:
    search = VideoSearch(video(100.0), ("Foul", "Goal"), SearchConfig())
    while queries := search.next_queries():
        for query in queries:
            told = {"Foul": Verdict(True, 0.75), "Goal": Verdict(True)}
            search.record(query, Observation(query.time_s, {tag: told[tag] for tag in query.tags}))
    confidences = {span.tag: span.confidence or 0.0 for span in search.spans()}
    assert confidences.keys() == {"Foul", "Goal"}
    assert all(0.95 < confidence <= 1 for confidence in confidences.values())


def test_an_edge_that_may_lie_far_away_lowers_the_confidence() -> None:
    """Two looks at an event in a video that is scanned and not looked at again: where it ends is anybody's guess."""

    def confidence(step_s: float) -> float:
        search = VideoSearch(video(), ("Foul",), SearchConfig())
        for time_s in np.arange(0.0, 600.0, step_s).tolist():
            query = FrameQuery(time_s, ("Foul",), Purpose.SCAN)
            search.record(query, seen({"Foul": [(200.0, 260.0)]}, query))
        (span,) = search.spans()
        return span.confidence or 0.0

    assert confidence(4.0) > confidence(12.0) + 0.05 > confidence(30.0) + 0.1


def test_a_change_may_be_on_the_cut_at_which_a_look_was_made() -> None:
    """A key frame often is the first frame of a shot, so the look that moved there has the cut at its own time."""
    clock = TimeWarp(600, [Cut(100.0, 0.9), Cut(108.0, 0.9)])
    assert Gap(101.0, 108.0, clock, 0.6).time_s == 108.0
    assert Gap(100.0, 104.0, clock, 0.6).time_s == pytest.approx(102.0)


def test_the_expected_error_of_a_gap_shrinks_as_it_does() -> None:
    plain = TimeWarp(600, ())
    assert Gap(0, 8, plain, 0.6).expected_error_s == pytest.approx(2.0, abs=0.05)
    assert Gap(0, 2, plain, 0.6).expected_error_s == pytest.approx(0.5, abs=0.02)
    assert Gap(0, 8, TimeWarp(600, [Cut(6.0, 0.9)]), 0.6).time_s == pytest.approx(6.0)
    empty = Gap(4, 4, TimeWarp(600, [Cut(4.0, 0.9)]), 0.6)
    assert (empty.time_s, empty.expected_error_s) == (4.0, 0.0)


def _match_of_an_hour() -> tuple[VideoInfo, Truth]:
    rng = random.Random(4)
    cuts = [Cut(12.0 * number + rng.uniform(0, 9), rng.uniform(0.4, 1)) for number in range(1, 295)]
    truth = {
        tag: [(at, at + rng.uniform(3, 60)) for at in range(60, 3500, 150 + 40 * number)]
        for number, tag in enumerate(TAGS)
    }
    return video(3600.0, cuts), truth


@pytest.mark.parametrize("per_hour", [60, 250, 450])
def test_a_budget_is_spent_and_not_exceeded(per_hour: int) -> None:
    info, truth = _match_of_an_hour()
    _, rounds = run(info, truth, SearchConfig(questions_per_hour=per_hour))
    assert 0.95 * per_hour <= sum(map(len, rounds)) <= per_hour


def test_a_larger_budget_finds_more() -> None:
    info, truth = _match_of_an_hour()
    found = [
        len(run(info, truth, SearchConfig(questions_per_hour=per_hour))[0].spans())
        for per_hour in (100, 700)
    ]
    assert found[0] < found[1]


def test_a_doubtful_answer_weighs_less_than_a_sure_one() -> None:
    """The model errs where it says .55 and is right where it says .99: after some answers the search knows."""
    info, truth = video(1200.0), {"Foul": [(200.0, 500.0), (800.0, 1000.0)]}

    def spans(probability_when_wrong: float | None, sure: float | None) -> int:
        search, rng = VideoSearch(info, ("Foul",), SearchConfig()), random.Random(1)
        while queries := search.next_queries():
            for query in queries:
                right = any(a <= query.time_s < b for a, b in truth["Foul"])
                wrong = rng.random() < 0.25
                told = probability_when_wrong if wrong else sure
                present = right != wrong
                probability = None if told is None else told if present else 1 - told
                search.record(
                    query, Observation(query.time_s, {"Foul": Verdict(present, probability)})
                )
        return sum(span.confidence is None or span.confidence >= 0.5 for span in search.spans())

    assert spans(0.55, 0.99) == 2
    assert spans(None, None) != 2


times = st.floats(0, 300, allow_nan=False, width=32)
truths = st.dictionaries(
    st.sampled_from(TAGS),
    st.lists(st.tuples(times, times).map(lambda pair: (min(pair), max(pair))), max_size=6),
)
hints = st.lists(st.builds(Cut, times, st.floats(0, 1, width=32)), max_size=40)


@given(
    st.floats(0.125, 300, width=32),
    hints,
    st.lists(times, max_size=30).map(sorted),
    truths,
    st.integers(0, 5),
    st.none() | st.floats(1, 2000),
)
def test_any_search_ends_asks_nothing_twice_and_does_not_depend_on_the_order_of_answers(
    duration_s: float,
    cuts: list[Cut],
    key_frames_s: list[float],
    truth: Truth,
    seed: int,
    per_hour: float | None,
) -> None:
    info, config = video(duration_s, cuts, key_frames_s), SearchConfig(questions_per_hour=per_hour)
    search, rounds = run(info, truth, config, seed=seed)
    asked = [round(query.time_s * 1000) for queries in rounds for query in queries]
    assert len(asked) == len(set(asked))
    assert all(0 <= time_ms <= duration_s * 1000 for time_ms in asked)
    for tag in TAGS:
        own = spans_of(search, tag)
        assert all(0 <= span.start_s < span.end_s <= duration_s for span in own)
        assert all(earlier.end_s < later.start_s for earlier, later in pairwise(own))
    other, _ = run(info, truth, config, seed=seed + 1)
    assert other.spans() == search.spans()
