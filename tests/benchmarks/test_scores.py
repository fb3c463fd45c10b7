"""The scores, on cases small enough to work out by hand."""

from __future__ import annotations

import pytest

from benchmarks.deployments import Deployment, Usage
from benchmarks.oracle import Bill
from benchmarks.scores import Cost, Score, Summary, at_seconds, score, seconds_for
from benchmarks.tokens import SMALL, RequestStyle, TokenCounts
from vlm_engine.types import Purpose, Span

TRUTH = {"Foul": ((10.0, 20.0), (40.0, 45.0)), "Goal": ((0.0, 60.0),), "Timeout": ()}
HOUR = Cost(1.0, {Purpose.SCAN: Usage(100, 70_000, 1_200, 2_000)}, 4, 0.5)
ALL = {"Foul": [(10, 20), (40, 45)], "Goal": [(0, 60)]}


def summary(**found: list[tuple[float, float]]) -> Summary:
    spans = [Span(tag, *bounds) for tag, all_bounds in found.items() for bounds in all_bounds]
    return Summary([score(spans, TRUTH, HOUR)])


@pytest.mark.parametrize(
    ("found", "f1", "f1_close", "tag_f1", "short_missed"),
    [
        (ALL, 1, 1, 1, 0),
        # 10-20 against 12-20: 8 of 10 seconds shared. 0-60 against 0-36: 36 of 60.
        ({"Foul": [(12, 20), (40, 45)], "Goal": [(0, 36)]}, 1, 2 / 3, 1, 0),
        ({"Foul": [(10, 20)], "Timeout": [(5, 6)]}, 2 / 5, 2 / 5, 1 / 2, 1 / 2),
        ({"Foul": [(19, 41)]}, 0, 0, 2 / 3, 0),
        ({}, 0, 0, 0, 1),
    ],
)
def test_spans_are_matched_with_the_truth(
    found,
    f1,
    f1_close,
    tag_f1,
    short_missed,
):
    got = summary(**found)
    assert (got.f1, got.f1_close) == (pytest.approx(f1), pytest.approx(f1_close))
    assert (got.tag_f1, got.short_missed) == (pytest.approx(tag_f1), short_missed)


def test_errors_are_those_of_matched_edges():
    got = summary(Foul=[(12, 20), (40, 45)], Goal=[(0, 36)])
    assert (got.edge_mean_s, got.edge_median_s) == (pytest.approx((2 + 24) / 6), 0.0)


def test_videos_are_added_before_ratios_are_taken():
    truth = {"Goal": ((0.0, 60.0),)}
    long = score([Span("Goal", 0, 60)], truth, Cost(3.0, {Purpose.SCAN: Usage(100)}, 2, 3.0))
    short = score([], truth, Cost(1.0, {Purpose.EDGE: Usage(300)}, 4, 1.0, peak_mb=90.0))
    got = Summary([long, short])
    assert (got.f1, got.peak_mb) == (pytest.approx(2 * 1 / 3), 90.0)
    assert (got.calls_per_hour, got.rounds, got.cpu_s_per_hour) == (100.0, 3.0, 1.0)
    asked = {Purpose.SCAN: Usage(3)}
    bill = Cost.of(Bill(asked, rounds=2, own_cpu_s=0.4), 1800.0, 1.0)
    assert bill == Cost(0.5, asked, 2, pytest.approx(0.6))


def test_the_price_of_an_f1_is_read_off_the_frontier():
    frontier = [
        Summary(
            [Score(Cost(1.0, {Purpose.SCAN: Usage(calls)}), 10, 10, tenths, 0, (), 0, 0, 0, 0, 0)]
        )
        for calls, tenths in ((800, 9), (200, 6), (500, 8))
    ]
    prices = [seconds_for(frontier, f1, Deployment.LAPTOP) for f1 in (0.7, 0.5, 0.95)]
    assert prices == [pytest.approx(70), pytest.approx(40), None]
    assert at_seconds(frontier, 24.0, "f1") == pytest.approx(0.8 - 0.2 / 3)


def test_seconds_are_those_of_calls_and_tokens():
    seconds = summary().seconds_per_hour
    assert seconds[Deployment.LAPTOP] == pytest.approx(20 + 280 + 2.4 + 50)
    assert seconds[Deployment.GAMING_PC] == pytest.approx(6 + 42 + 0.42 + 24)
    assert seconds[Deployment.SERVER] == pytest.approx(1.5 + 4.9 + 0.048 + 1.6)


def test_names_are_charged_where_not_all_tags_are_asked():
    tags = ("Break-away", "Foul", "Goal", "Turnover")
    counts = TokenCounts(tags, 1920, 1080)
    asked = [tags, tags[:1], tags[1:], tags[:2]]
    lengths = [counts.names(some) for some in asked]
    assert lengths[0] == 0
    assert lengths[1] == lengths[2] > 0
    usage = counts.usage(RequestStyle(pictures=2), asked, [[False] * len(some) for some in asked])
    assert (usage.calls, usage.image_tokens) == (2, 4 * counts.picture(SMALL))
    assert usage.text_tokens == 12 * (2 + 4) + sum(lengths)


def test_reliability_is_the_share_that_is_right():
    found = [
        ("Foul", 10, 20, 0.95),
        ("Foul", 40, 45, 0.92),
        ("Goal", 0, 5, 0.91),
        ("Timeout", 3, 4, 0.6),
    ]
    got = Summary([score([Span(*one) for one in found], TRUTH, HOUR)])
    assert got.reliability(0.9, 1.01) == (3, pytest.approx(2 / 3))
    assert got.reliability(0.5, 0.7) == (1, 0.0)
