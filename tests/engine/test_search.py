"""One model searches one video: where it looks, what it asks, what it finds."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import chain, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.searches import TAGS, Truth, bounds, play, replay, says, spans_of, video
from vlm_engine.config.models import SearchConfig
from vlm_engine.search import VideoSearch
from vlm_engine.search.candidates import fitting_share
from vlm_engine.search.evidence import TimeWarp
from vlm_engine.search.rates import SHORT_S, SHORTEST_S, Floats
from vlm_engine.search.scan import scan_times
from vlm_engine.search.segments import Gap
from vlm_engine.types import Cut, FrameQuery, Observation, Purpose, Verdict, VideoInfo

INTERVAL_S = SearchConfig().interval_for(600.0)


def run(
    info: VideoInfo, truth: Truth, seed: int = 0, **settings: float | None
) -> tuple[VideoSearch, list[list[FrameQuery]]]:
    search = VideoSearch(info, TAGS, SearchConfig.model_validate(settings))
    return search, play(search, says(truth), seed)


def purposes(rounds: Sequence[Sequence[FrameQuery]]) -> list[Purpose]:
    return [query.purpose for query in chain(*rounds)]


def test_a_span_between_two_cuts_ends_on_them():
    search, _ = run(video(cuts=(50.0, 120.0, 180.0, 300.0)), {"Foul": [(120.0, 180.0)]})
    assert bounds(search.spans()) == [(120.0, 180.0)]


def test_the_longer_a_span_the_less_exactly_it_is_placed():
    search, exact = run(video(), {"Foul": [(101.3, 117.7)]})
    ((start_s, end_s),) = bounds(search.spans())
    assert abs(start_s - 101.3) <= 1.5
    assert abs(end_s - 117.7) <= 1.5
    search, rough = run(video(), {"Foul": [(101.3, 417.7)]})
    ((start_s, _),) = bounds(search.spans())
    assert abs(start_s - 101.3) <= 6
    assert purposes(rough).count(Purpose.EDGE) < purposes(exact).count(Purpose.EDGE)


@pytest.mark.parametrize("duration_s", [300.0, 3600.0])
def test_an_event_that_the_scan_sees_once_is_found(duration_s):
    info = video(duration_s)
    at_s = scan_times(info, SearchConfig().interval_for(duration_s))[15]
    search, rounds = run(info, {"Foul": [(at_s - 4, at_s + 4)]})
    assert Purpose.SECOND_LOOK in purposes(rounds)
    ((start_s, end_s),) = bounds(search.spans())
    assert start_s < at_s < end_s


@pytest.mark.parametrize("spans", [[], [(0.0, 600.0)]], ids=["nothing", "always"])
def test_a_scan_is_enough_where_nothing_changes(spans):
    search, rounds = run(video(), {"Foul": spans})
    assert bounds(search.spans()) == spans
    assert spans or len(rounds) == 1
    assert set(purposes(rounds)) == {Purpose.SCAN}
    assert {query.tags for query in rounds[0]} == {TAGS}
    assert len(rounds[0]) == pytest.approx(600 / INTERVAL_S, abs=3)


def test_questions_leave_out_only_tags_that_surely_show():
    truth = {"Foul": [(100.0, 130.0)], "Goal": [(0.0, 600.0)]}
    _, (_, *later) = run(video(), truth, effort=0.2)
    about = {query.tags for query in chain(*later)}
    assert ("Foul", "Turnover") in about
    assert about <= {("Foul", "Turnover"), TAGS}


def test_a_lone_mistake_is_overruled_by_other_frames():
    wrong_s = scan_times(video(), INTERVAL_S)[20]
    search = VideoSearch(video(), ("Foul",), SearchConfig())
    rounds = play(
        search, lambda query: Observation(query.time_s, {"Foul": Verdict(query.time_s == wrong_s)})
    )
    assert search.spans() == ()
    seconds = [each.time_s for each in chain(*rounds) if each.purpose is Purpose.SECOND_LOOK]
    assert 1.0 in [round(abs(time_s - wrong_s), 3) for time_s in seconds]


def test_a_short_event_seen_once_is_upheld():
    at_s = scan_times(video(), INTERVAL_S)[20]
    search, _ = run(video(), {"Foul": [(at_s - 0.4, at_s + 2.1)]})
    ((start_s, end_s),) = bounds(search.spans())
    assert abs(start_s - (at_s - 0.4)) < 1
    assert abs(end_s - (at_s + 2.1)) < 1


def test_a_frame_is_looked_at_again_on_both_sides():
    """The event ends before the frame on one side; the one on the other side upholds it."""
    seen_s = min(scan_times(video(), INTERVAL_S), key=lambda time_s: abs(time_s - 200))
    fouls = [(280.0, 301.0), (500.0, 530.0), (seen_s - 4.0, seen_s + 0.6)]
    search, rounds = run(video(), {"Foul": fouls, "Turnover": [(100.0, 109.0)]})
    assert {0.0, 1.0, -1.0} <= {round(query.time_s - seen_s, 2) for query in chain(*rounds)}
    assert any(start_s <= seen_s <= end_s for start_s, end_s in bounds(spans_of(search, "Foul")))


@given(
    before_s=st.floats(0.4, 12.0),
    after_s=st.floats(0.4, 12.0),
    shortest_s=st.sampled_from((SHORTEST_S, 5.0)),
)
def test_a_discovery_counts_the_events_that_fit(before_s, after_s, shortest_s):
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


def test_looking_for_long_events_only_asks_less():
    cuts = [8.0 * number for number in range(1, 70)]
    truth = {"Foul": [(40.0, 90.0), (200.0, 260.0)], "Turnover": [(300.0, 340.0), (480.0, 530.0)]}
    counts = []
    for shortest_s in (5.0, 20.0):
        search, (_, *later) = run(
            video(cuts=cuts), truth, shortest_event_s=shortest_s, frame_interval_s=8.0, effort=2
        )
        assert {span.tag for span in search.spans()} == {"Foul", "Turnover"}
        counts.append(purposes(later).count(Purpose.SCAN))
    assert counts[1] < counts[0]


def test_every_shot_is_looked_at_and_no_stretch_is_left_out():
    cuts = [Cut(20.0, 0.8), Cut(24.0, 0.8), Cut(90.0, 0.4), Cut(95.0, 0.1)]
    times = scan_times(video(200.0, cuts), 8.0)
    assert (times[0], times[-1]) == (0.0, pytest.approx(199.96))
    assert any(20 < time_s < 24 for time_s in times)
    assert all(later - earlier <= 12 for earlier, later in pairwise(times))


def test_a_scan_prefers_key_frames_of_the_same_shot():
    key_frames_s = (0.0, 5.1, 99.0, 101.0, 150.0)
    assert {5.1, 150.0} <= set(scan_times(video(200.0, [100.0], key_frames_s), 8.0))


@pytest.mark.parametrize("duration_s", [0.04, 0.5, 3.0])
def test_a_very_short_video_is_looked_at_and_ends(duration_s):
    search, rounds = run(video(duration_s), {"Foul": [(0.0, duration_s)]})
    assert rounds[0][0].time_s == 0.0
    assert bounds(search.spans()) == [(0.0, duration_s)]


def test_unjudged_frames_are_worked_around_and_not_asked_again():
    search, queried_s = VideoSearch(video(), ("Foul",), SearchConfig()), []

    def answer(query: FrameQuery) -> Observation:
        queried_s.append(query.time_s)
        return Observation(query.time_s, {}) if len(queried_s) % 5 == 0 else right(query)

    right = says({"Foul": [(100.0, 200.0)]})
    play(search, answer)
    assert len(queried_s) == len(set(queried_s))
    ((start_s, end_s),) = bounds(search.spans())
    assert abs(start_s - 100) < 6
    assert abs(end_s - 200) < 6


def test_a_search_goes_on_from_earlier_observations():
    first, _ = run(video(), {"Foul": [(101.0, 177.0)], "Goal": [(20.0, 26.0)]})
    again = VideoSearch(video(), TAGS, SearchConfig())
    replay(first, again)
    assert again.next_queries() == ()
    assert again.spans() == first.spans()


def test_every_span_has_a_confidence_told_or_not():
    search = VideoSearch(video(100.0), ("Foul", "Goal"), SearchConfig())
    verdicts = {"Foul": Verdict(True, 0.75), "Goal": Verdict(True)}
    play(
        search,
        lambda query: Observation(query.time_s, {tag: verdicts[tag] for tag in query.tags}),
    )
    assert [span.tag for span in search.spans()] == ["Foul", "Goal"]
    assert all(0.95 < (span.confidence or 0) <= 1 for span in search.spans())


def test_an_edge_that_may_lie_far_away_lowers_the_confidence():
    """A video that is scanned and not looked at again: where the event ends is not known."""

    def confidence(step_s: float) -> float:
        search = VideoSearch(video(), ("Foul",), SearchConfig())
        for time_s in np.arange(0.0, 600.0, step_s).tolist():
            query = FrameQuery(time_s, ("Foul",), Purpose.SCAN)
            search.record(query, says({"Foul": [(200.0, 260.0)]})(query))
        (span,) = search.spans()
        return span.confidence or 0.0

    assert confidence(4.0) > confidence(12.0) + 0.05 > confidence(30.0) + 0.1


@pytest.mark.parametrize(
    ("start_s", "end_s", "cuts", "time_s", "error_s"),
    [
        (0, 8, [], 4.0, 2.0),
        (0, 2, [], 1.0, 0.5),
        (0, 8, [6.0], 6.0, None),
        (4, 4, [4.0], 4.0, 0.0),
        # A key frame often is the first frame of a shot: a look there has the cut at its own time.
        (101, 108, [100.0, 108.0], 108.0, None),
        (100, 104, [100.0, 108.0], 102.0, None),
    ],
)
def test_a_change_is_placed_at_a_cut_or_in_the_middle(start_s, end_s, cuts, time_s, error_s):
    gap = Gap(start_s, end_s, TimeWarp(600, [Cut(cut_s, 0.9) for cut_s in cuts]), 0.6)
    assert gap.time_s == pytest.approx(time_s)
    assert error_s is None or gap.expected_error_s == pytest.approx(error_s, abs=0.05)


def test_a_budget_is_spent_and_not_exceeded_and_more_finds_more():
    rng = random.Random(4)
    cuts = [Cut(12.0 * number + rng.uniform(0, 9), rng.uniform(0.4, 1)) for number in range(1, 295)]
    truth = {
        tag: [(at, at + rng.uniform(3, 60)) for at in range(60, 3500, 150 + 40 * number)]
        for number, tag in enumerate(TAGS)
    }
    found = []
    for per_hour in (60, 450):
        search, rounds = run(video(3600.0, cuts), truth, questions_per_hour=per_hour)
        assert 0.95 * per_hour <= len(purposes(rounds)) <= per_hour
        found.append(len(search.spans()))
    assert found[0] < found[1]


def test_a_doubtful_answer_weighs_less_than_a_sure_one():
    """The model errs where it says .55 and is right where it says .99: the search learns that."""

    def spans(doubtful: float | None, sure: float | None) -> int:
        search, rng = VideoSearch(video(1200.0), ("Foul",), SearchConfig()), random.Random(1)
        right = says({"Foul": [(200.0, 500.0), (800.0, 1000.0)]})

        def answer(query: FrameQuery) -> Observation:
            wrong = rng.random() < 0.25
            confidence = doubtful if wrong else sure
            present = right(query).verdicts["Foul"].present != wrong
            if confidence is not None and not present:
                confidence = 1 - confidence
            return Observation(query.time_s, {"Foul": Verdict(present, confidence)})

        play(search, answer)
        return sum((span.confidence or 0) >= 0.5 for span in search.spans())

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
def test_any_search_ends_whatever_the_order_of_answers(
    duration_s,
    cuts,
    key_frames_s,
    truth,
    seed,
    per_hour,
):
    info = video(duration_s, cuts, key_frames_s)
    search, rounds = run(info, truth, seed, questions_per_hour=per_hour)
    queried_s = [round(query.time_s * 1000) for query in chain(*rounds)]
    assert len(queried_s) == len(set(queried_s))
    assert all(0 <= time_ms <= duration_s * 1000 for time_ms in queried_s)
    for tag in TAGS:
        spans = spans_of(search, tag)
        assert all(0 <= span.start_s < span.end_s <= duration_s for span in spans)
        assert all(earlier.end_s < later.start_s for earlier, later in pairwise(spans))
    other, _ = run(info, truth, seed + 1, questions_per_hour=per_hour)
    assert other.spans() == search.spans()
