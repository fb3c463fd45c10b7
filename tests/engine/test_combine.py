from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_engine.tagging.image import combine_moments, combine_parts
from vlm_engine.types import Verdict

ABSENT = Verdict(False)


def seen(*probabilities: float | None) -> list[dict[str, Verdict]]:
    """Looks at one tag: 0 where it is not seen, else how sure the model was."""
    return [{"Goal": ABSENT if sure == 0 else Verdict(True, sure)} for sure in probabilities]


@pytest.mark.parametrize(
    ("sure", "applies"),
    [
        ((0.9, 0.7, 0, 0, 0), True),
        ((0.9, 0.5, 0, 0, 0), False),  # 1.4 of 5
        ((0.99, 0, 0, 0, 0), False),
        ((0.5, 0.5, 0.5, 0, 0), True),
        ((0.4, 0.5, 0.5, 0, 0), False),
        ((None, None, 0, 0, 0), True),
        ((None, 0, 0, 0, 0), False),
        ((None, 0, 0), True),
        ((0.95, 0, 0), True),
        ((0.8, 0, 0), False),
        ((0.7, 0), True),
        ((0.5, 0), False),
        ((0.5,), True),
        ((0, 0, 0), False),
    ],
)
def test_a_tag_applies_if_enough_moments_show_it(sure, applies):
    assert combine_moments(seen(*sure))["Goal"].present is applies


def test_the_confidence_is_the_mean_of_the_moments_that_show_it():
    assert combine_moments(seen(0.9, 0.7, 0, None, 0))["Goal"].probability == pytest.approx(0.8)
    assert combine_moments(seen(None, 0))["Goal"].probability is None
    assert combine_moments(seen(0, 0))["Goal"] == ABSENT


def test_every_tag_is_judged_by_itself():
    looks = [{"Goal": Verdict(True, 0.9), "Foul": ABSENT}, {"Goal": ABSENT, "Foul": ABSENT}]
    assert {tag: verdict.present for tag, verdict in combine_moments(looks).items()} == {
        "Goal": True,
        "Foul": False,
    }


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=10), st.integers(0, 9))
def test_a_surer_look_never_takes_a_tag_away(sure, which):
    surer = [1.0 if number == which % len(sure) else each for number, each in enumerate(sure)]
    assert (
        combine_moments(seen(*surer))["Goal"].present
        >= combine_moments(seen(*sure))["Goal"].present
    )


def test_one_part_of_a_still_is_enough():
    assert combine_parts(seen(0, 0, 0.6))["Goal"] == Verdict(True, 0.6)
    assert combine_parts(seen(0.7, 0, 0.9))["Goal"] == Verdict(True, 0.9)
    assert combine_parts(seen(0.7, None))["Goal"] == Verdict(True)
    assert combine_parts(seen(0, 0))["Goal"] == ABSENT
    assert combine_parts([{"Goal": Verdict(False, 0.2)}, {"Goal": Verdict(False, 0.3)}])[
        "Goal"
    ] == Verdict(False, 0.3)
