"""Real footage: the tables are read as they were made, and the search does there at least what ten lines would."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from benchmarks.footage import (
    BY_EYE,
    NETWORKS,
    TABLES,
    TOLD,
    FootageModel,
    Programme,
    mean_f1,
    measure,
    over,
    programmes,
)
from benchmarks.report import footage_report
from benchmarks.scores import Cost
from benchmarks.simulated import DENSE, PLAIN, PLAIN_WIDE, SEARCH, Results
from vlm_engine.types import FrameQuery, Purpose, Span

COST = Cost(1.0, 1, 1, 1, 1, 0.0)


@cache
def programme() -> Programme:
    return Programme.load(TABLES, "p1")


@cache
def results() -> Results:
    return measure(TABLES, programmes(TABLES), 1)


def test_a_row_is_the_nearest_of_the_same_shot() -> None:
    own = programme()
    times_s = np.arange(0.0, own.info.end_s, 0.04)
    for every in (1, 2):
        rows_s = own.rows(times_s, every) * 0.25
        shot, seen = (
            np.searchsorted(own.cuts_s, each + 1e-6, side="right") for each in (times_s, rows_s)
        )
        assert (shot == seen).mean() > 0.999
        assert np.abs(rows_s - times_s).max() <= 0.25 * every


def test_scans_read_small_pictures_and_confidences_are_told_only_if_wanted() -> None:
    tags = ("person", "dog")
    numbers = np.arange(0, 12_000, 7)
    told, untold = (FootageModel(programme(), "yx", tags, told=told) for told in (True, False))
    large, small = told.judge(numbers), told.judge_small(numbers)
    assert 0 < (large[0] != small[0]).mean() < 0.05
    assert large[1] is not None
    assert ((large[1] > 0.5) == large[0]).mean() > 0.999
    assert untold.judge(numbers)[1] is None
    time_s = float(numbers[np.flatnonzero((large[0] != small[0]).any(1))[0]]) / 25
    scanned, judged = told.observe(
        [FrameQuery(time_s, tags, Purpose.SCAN), FrameQuery(time_s, tags, Purpose.EDGE)]
    )
    assert scanned.verdicts != judged.verdicts


def test_what_is_unclear_counts_neither_way() -> None:
    own = programme()
    (start_s, end_s), *_ = own.unclear["person"]
    invented = Span("person", start_s + 0.1, end_s - 0.1, 0.9)
    assert own.scored([invented], BY_EYE, COST).found == 0
    assert own.scored([Span("person", *own.truth[BY_EYE]["person"][0])], BY_EYE, COST).matched == 1


def test_without_the_folder_nothing_is_measured_and_one_line_says_so(tmp_path: Path) -> None:
    names = programmes(tmp_path / "missing")
    assert names == []
    assert "not there" in footage_report(measure(tmp_path, names, 1))[1]


@pytest.mark.parametrize("network", NETWORKS)
def test_the_search_beats_what_ten_lines_do(network: str) -> None:
    """Differences under .04 mean little on so few spans, so the bar is the yardsticks' F1 and not more."""
    for strategy in (SEARCH, TOLD):
        found = mean_f1(results(), BY_EYE, network, strategy)
        assert found > max(
            mean_f1(results(), BY_EYE, network, other) for other in (DENSE, PLAIN, PLAIN_WIDE)
        )
        assert over(results(), BY_EYE, strategy).calls_per_hour < 1500


def test_nine_of_ten_are_right_where_the_confidence_is_nine_tenths() -> None:
    for strategy in (SEARCH, TOLD):
        count, right = over(results(), BY_EYE, strategy).reliability(0.9, 2.0)
        assert count > 10
        assert right >= 0.9
