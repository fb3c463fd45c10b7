"""On real footage, the search does at least what ten lines of code would."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from benchmarks.deployments import Deployment
from benchmarks.footage import (
    BY_EYE,
    NETWORKS,
    TABLES,
    TOLD,
    Programme,
    mean_f1,
    measure,
    over,
    programmes,
)
from benchmarks.scores import Cost
from benchmarks.strategies import DENSE, PLAIN, PLAIN_WIDE, SEARCH
from vlm_engine.types import Span

SIMPLE = (DENSE, PLAIN, PLAIN_WIDE)


@cache
def programme() -> Programme:
    return Programme.load(TABLES, "p1")


@pytest.mark.parametrize("every", [1, 2])
def test_a_row_is_the_nearest_of_the_same_shot(every):
    times_s = np.arange(0.0, programme().info.end_s, 0.04)
    rows_s = programme().rows(times_s, every) * 0.25
    shot, seen = (
        np.searchsorted(programme().cuts_s, each + 1e-6, side="right") for each in (times_s, rows_s)
    )
    assert (shot == seen).mean() > 0.999
    assert np.abs(rows_s - times_s).max() <= 0.25 * every


def test_what_is_unclear_counts_neither_way():
    cost = Cost(1.0)
    (start_s, end_s), *_ = programme().unclear["person"]
    invented = Span("person", start_s + 0.1, end_s - 0.1, 0.9)
    assert programme().scored([invented], BY_EYE, cost).found == 0
    real = Span("person", *programme().truth[BY_EYE]["person"][0])
    assert programme().scored([real], BY_EYE, cost).matched == 1


def test_on_real_footage_the_search_is_right_and_frugal():
    """Differences in F1 under .04 mean little on so few spans, so the bar is no higher."""
    results = measure(TABLES, programmes(TABLES), 1, [BY_EYE], (SEARCH, TOLD, *SIMPLE))
    for strategy in (SEARCH, TOLD):
        for network in NETWORKS:
            f1 = {each: mean_f1(results, BY_EYE, network, each) for each in (strategy, *SIMPLE)}
            assert max(f1, key=lambda each: f1[each]) == strategy
        found = over(results, BY_EYE, strategy)
        count, right = found.reliability(0.9, 2.0)
        most = over(results, BY_EYE, DENSE).seconds_per_hour
        assert all(found.seconds_per_hour[each] < 0.8 * most[each] for each in Deployment)
        assert count > 10
        assert right >= 0.9
