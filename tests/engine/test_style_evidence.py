"""Pairs of answers in two styles: what they prove, and which frames give the next ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vlm_engine.store import PairCounts, TagPairs
from vlm_engine.tagging.comparisons import (
    ComparisonPlan,
    Evidence,
    compared_frames,
    expected_at,
    planned,
)
from vlm_engine.tagging.style_evidence import ALIKE, ENOUGH, open_tags, weigh

PLAIN = TagPairs(PairCounts(40, 26, 2, 2), PairCounts(110, 5, 2, 2))
"""A tag of which both styles miss a tenth, and invent a little."""
NOBODY = TagPairs(PairCounts(), PairCounts(150, 0, 1, 2))


def plain_list(tags=20):
    return {f"Foul {n}": PLAIN if n % 2 else NOBODY for n in range(tags)}


def test_a_blind_tag_of_which_fifteen_frames_tell_is_found():
    for beside in (1, 10, 34):
        blind = TagPairs(PairCounts(25, 6, 0, 9), PairCounts(100, 0, 2, 2))
        weight = weigh({**plain_list(beside), "Goal": blind}, everywhere=True)
        assert weight.overall > ENOUGH
        assert max(weight.by_tag, key=weight.by_tag.__getitem__) == "Goal"


def test_a_tag_that_is_never_seen_in_the_usual_style_is_found():
    never = TagPairs(PairCounts(), PairCounts(200, 0, 0, 14))
    assert weigh({**plain_list(), "Goal": never}, everywhere=True).overall > ENOUGH
    assert weigh({**plain_list(), "Goal": never}, everywhere=False).overall < ENOUGH


def test_some_misses_of_many_tags_add_up():
    each = TagPairs(PairCounts(12, 6, 1, 4), PairCounts(40, 1, 1, 1))
    few = {f"Foul {n}": each for n in range(2)}
    many = {f"Foul {n}": each for n in range(12)}
    assert weigh(few, everywhere=True).overall < ENOUGH < weigh(many, everywhere=True).overall


def test_misses_in_both_styles_prove_nothing():
    poor = TagPairs(PairCounts(40, 10, 10, 10), PairCounts(200, 2, 9, 9))
    weight = weigh(dict.fromkeys(("Foul", "Goal", "Turnover"), poor), everywhere=True)
    assert weight.overall < 0
    assert weigh(plain_list(), everywhere=True).overall < ALIKE
    assert weigh({}, everywhere=True).overall == 0.0


@pytest.mark.parametrize(
    ("miss", "invent", "tags"),
    [(0.05, 0.01, 10), pytest.param(0.1, 0.02, 35, marks=pytest.mark.thorough)],
)
def test_noise_alone_flips_nothing(miss, invent, tags):
    """Both styles err independently; it is looked at after every video of thirty."""
    rng = np.random.default_rng(5)
    flips = 0
    for _ in range(40):
        rates = np.clip(miss * np.exp(rng.normal(0, 0.5, tags)), 0, 0.5)
        there = np.exp(rng.uniform(np.log(0.02), np.log(0.3), tags))
        counts = np.zeros((2, tags, 4), int)
        for _ in range(30):
            shows = rng.random((16, tags)) < there
            usual, other = (
                np.where(
                    shows,
                    rng.random(shows.shape) >= rates,
                    rng.random(shows.shape) < invent,
                )
                for _ in range(2)
            )
            beside = np.where(shows, rng.random(shows.shape) < 0.7, rng.random(shows.shape) < there)
            for expected, mask in enumerate((~beside, beside)):
                cases = (mask, mask & usual & other, mask & usual & ~other, mask & other & ~usual)
                counts[expected] += np.stack([case.sum(0) for case in cases], axis=1)
            pairs = {
                str(tag): TagPairs(*(PairCounts(*map(int, counts[n, tag])) for n in (1, 0)))
                for tag in range(tags)
            }
            if weigh(pairs, everywhere=True).overall > ENOUGH:
                flips += 1
                break
    assert flips <= 1


def test_a_tag_is_settled_when_it_is_plainly_seen_or_missed():
    pairs = {
        "Foul": TagPairs(PairCounts(40, 29, 1, 1)),
        "Goal": TagPairs(PairCounts(20, 14, 1, 0)),
        "Turnover": TagPairs(PairCounts(4, 2, 0, 1)),
    }
    assert open_tags(pairs, weigh(pairs, everywhere=True)) == ("Turnover",)


def evidence(pairs, *, is_other=False):
    return Evidence(pairs, weigh(pairs, everywhere=True), is_other)


def test_the_more_is_known_the_less_is_compared():
    def frames(plan):
        return plan.spread + plan.near + plan.forms

    unknown = evidence(dict.fromkeys(("Foul", "Goal"), TagPairs()))
    settled = evidence(dict.fromkeys(("Foul", "Goal"), replace(PLAIN, expected=PairCounts(60, 50))))
    some = evidence({"Foul": PLAIN, "Goal": TagPairs(PairCounts(3, 2), PairCounts(147))})
    plans = [planned(32, known, known) for known in (unknown, some, settled)]
    assert [frames(plan) for plan in plans] == sorted(map(frames, plans), reverse=True)
    assert plans[0] == ComparisonPlan(16, 16, 8, 12, ("Foul", "Goal"))
    assert (plans[2].spread, plans[2].near, plans[2].forms) == (1, 0, 0)
    flipped = planned(32, replace(settled, is_other=True), None)
    assert (flipped.spread, flipped.near) == (1, 0)
    for known in (unknown, some, settled):
        assert frames(planned(0, known, known)) == 0
    assert frames(planned(32, None, None)) == 0


def test_frames_are_spread_and_beside_tags_that_are_open():
    seen = [frozenset({"Foul"} if 30 <= n < 33 else ()) for n in range(120)]
    plan = ComparisonPlan(4, 4, 2, 12, ("Foul", "Goal"))
    compared = compared_frames(seen, plan)
    assert [one.place for one in compared[:4]] == [15, 45, 75, 105]
    near = compared[4:]
    assert {one.place for one in near} <= {29, 30, 31, 32, 33}
    assert [one.form for one in near] == [True, False, True, False]
    assert all(one.size for one in compared)
    assert compared_frames(seen[:11], plan) == []


def test_a_frames_own_answer_plays_no_part_in_its_choice():
    seen = [frozenset({"Foul"} if n % 40 == 7 else ()) for n in range(240)]
    plan = ComparisonPlan(0, 6, 0, 12, ("Foul",))
    chosen = [one.place for one in compared_frames(seen, plan)]
    assert chosen
    for place in chosen:
        other = [frozenset() if n == place else tags for n, tags in enumerate(seen)]
        assert expected_at(other, place) == expected_at(seen, place) == {"Foul"}
