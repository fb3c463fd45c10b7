"""Searches of several groups of tags in one video."""

from __future__ import annotations

from itertools import chain

import pytest

from tests.engine.searches import play, says, video
from vlm_engine.config.models import SearchConfig
from vlm_engine.search import GroupedSearch, VideoSearch, regrouped
from vlm_engine.types import FrameQuery, Purpose, Span

VIDEO = video()
TRUTH = {"Foul": [(101.0, 177.0)], "Goal": [(20.0, 26.0)], "Timeout": [(300.0, 420.0)]}


def to_the_end(search: GroupedSearch | VideoSearch) -> list[FrameQuery]:
    rounds = play(search, says(TRUTH))
    for queries in rounds:
        assert len({query.time_s for query in queries}) == len(queries)
    return list(chain(*rounds))


@pytest.mark.parametrize(
    ("tags", "earlier", "groups"),
    [
        (("A", "B"), [], [("A", "B")]),
        (("A", "B"), [(("A", "B"), True)], [("A", "B")]),
        (("A", "B", "C"), [(("A", "B"), True)], [("A", "B"), ("C",)]),
        (("C", "A", "B"), [(("A", "B"), False)], [("A", "B"), ("C",)]),
        (("A", "C"), [(("A", "B"), True), (("C",), True)], [("A", "B"), ("C",)]),
        (("A", "C"), [(("A", "B"), False)], [("A",), ("C",)]),
        (("A", "B"), [(("A",), False), (("A", "B"), True)], [("A", "B")]),
        (("A",), [(("B", "C"), True)], [("A",)]),
        ((), [(("B", "C"), True)], []),
    ],
)
def test_tags_stay_with_those_they_were_searched_with(
    tags,
    earlier,
    groups,
):
    assert list(regrouped(tags, earlier)) == groups


def test_one_group_is_a_search_like_any_other():
    alone, grouped = (
        VideoSearch(VIDEO, tuple(TRUTH), SearchConfig()),
        GroupedSearch(VIDEO, TRUTH, [tuple(TRUTH)], SearchConfig()),
    )
    assert to_the_end(alone) == to_the_end(grouped)
    assert alone.spans() == grouped.spans()
    assert list(alone.observations()) == list(grouped.observations())


def test_each_group_is_asked_as_if_alone_and_nothing_twice():
    grouped = GroupedSearch(VIDEO, TRUTH, [("Foul",), ("Timeout", "Goal")], SearchConfig())
    queries = to_the_end(grouped)
    pairs = [(query.time_s, tag) for query in queries for tag in query.tags]
    assert len(pairs) == len(set(pairs))
    spans: list[Span] = []
    for group in (("Foul",), ("Goal", "Timeout")):
        alone = VideoSearch(VIDEO, group, SearchConfig())
        times = {query.time_s for query in queries if set(query.tags) & set(group)}
        assert {query.time_s for query in to_the_end(alone)} == times
        spans += alone.spans()
    assert list(grouped.spans()) == spans
    scans = {query.tags for query in queries if query.purpose is Purpose.SCAN}
    assert ("Foul", "Timeout", "Goal") in scans


def test_tags_no_longer_wanted_are_not_reported():
    grouped = GroupedSearch(VIDEO, ("Foul",), [tuple(TRUTH)], SearchConfig())
    to_the_end(grouped)
    assert {span.tag for span in grouped.spans()} == {"Foul"}
    assert {tag for _, observation in grouped.observations() for tag in observation.verdicts} == {
        "Foul"
    }
