"""The scores, on cases small enough to reckon by hand."""

from __future__ import annotations

import pytest

from benchmarks.claims import calls_for
from benchmarks.oracle import Bill
from benchmarks.scores import Cost, Score, Summary, score
from vlm_engine.types import Span

TRUTH = {"Foul": ((10.0, 20.0), (40.0, 45.0)), "Goal": ((0.0, 60.0),), "Timeout": ()}
HOUR = Cost(1.0, 100, 4, 70_000, 2_000, 0.5)


def spans(**by_tag: list[tuple[float, float]]) -> list[Span]:
    return [Span(tag, start, end) for tag, own in by_tag.items() for start, end in own]


def test_the_truth_itself_scores_full() -> None:
    summary = Summary([score(spans(Foul=[(10, 20), (40, 45)], Goal=[(0, 60)]), TRUTH, HOUR)])
    assert (summary.f1, summary.f1_close, summary.tag_f1) == (1.0, 1.0, 1.0)
    assert (summary.edge_mean_s, summary.short_missed) == (0.0, 0.0)


def test_edges_decide_how_closely_a_span_matches() -> None:
    # 10-20 against 12-20: 8 of 10 seconds shared. 0-60 against 0-36: 36 of 60.
    summary = Summary([score(spans(Foul=[(12, 20), (40, 45)], Goal=[(0, 36)]), TRUTH, HOUR)])
    assert summary.f1 == 1.0
    assert summary.f1_close == pytest.approx(2 * 2 / 6)
    assert summary.edge_mean_s == pytest.approx((2 + 24) / 6)
    assert summary.edge_median_s == 0.0


def test_what_is_invented_and_what_is_missed_counts() -> None:
    summary = Summary([score(spans(Foul=[(10, 20)], Timeout=[(5, 6)]), TRUTH, HOUR)])
    assert summary.f1 == pytest.approx(2 * 1 / (2 + 3))
    assert summary.short_missed == pytest.approx(1 / 2)
    assert summary.tag_f1 == pytest.approx(2 * 1 / (2 + 2))


def test_a_short_event_that_is_touched_is_not_missed() -> None:
    assert score(spans(Foul=[(19, 41)]), TRUTH, HOUR).short_missed == 0
    assert score(spans(Foul=[(20, 40)]), TRUTH, HOUR).short_missed == 2


def test_videos_are_added_before_ratios_are_taken() -> None:
    long = score(spans(Goal=[(0, 60)]), {"Goal": ((0.0, 60.0),)}, Cost(3.0, 100, 2, 0, 0, 3.0))
    short = score([], {"Goal": ((0.0, 60.0),)}, Cost(1.0, 300, 4, 0, 0, 1.0, peak_mb=90.0))
    summary = Summary([long, short])
    assert summary.f1 == pytest.approx(2 * 1 / 3)
    assert (summary.calls_per_hour, summary.rounds, summary.cpu_s_per_hour) == (100.0, 3.0, 1.0)
    assert summary.peak_mb == 90.0


def test_nothing_wanted_and_nothing_found_is_right() -> None:
    assert Summary([score([], {"Goal": ()}, HOUR)]).f1 == 1.0


def test_an_oracles_own_time_is_not_charged() -> None:
    assert Cost.of(Bill(calls=3, own_cpu_s=0.4), 1800.0, 1.0) == Cost(
        0.5, 3, 0, 0, 0, pytest.approx(0.6)
    )


def point(calls: int, f1_tenths: int) -> Summary:
    own = Score(Cost(1.0, calls, 1, 0, 0, 0.0), 10, 10, f1_tenths, 0, (), 0, 0, 0, 0, 0)
    return Summary([own])


def test_the_price_of_an_f1_is_read_off_the_frontier() -> None:
    frontier = [point(800, 9), point(200, 6), point(500, 8)]
    assert calls_for(frontier, 0.7) == pytest.approx(350)
    assert calls_for(frontier, 0.5) == 200
    assert calls_for(frontier, 0.95) is None


def test_reliability_counts_the_spans_of_a_confidence_that_are_right() -> None:
    found = [
        Span("Foul", 10, 20, 0.95),
        Span("Foul", 40, 45, 0.92),
        Span("Goal", 0, 5, 0.91),
        Span("Timeout", 3, 4, 0.6),
    ]
    summary = Summary([score(found, TRUTH, HOUR)])
    assert summary.reliability(0.9, 1.01) == (3, pytest.approx(2 / 3))
    assert summary.reliability(0.5, 0.7) == (1, 0.0)
    assert summary.reliability(0.7, 0.9) == (0, 0.0)
