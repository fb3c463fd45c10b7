"""Styles of question judged by what they and the reference saw on the same frames."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from vlm_engine.checkup.agreement import (
    Fit,
    FrameComparison,
    StyleFigures,
    counts_by_tag,
    judged,
    mcnemar,
    wilson,
)
from vlm_engine.checkup.frames_section import frames_section
from vlm_engine.store import PairCounts
from vlm_engine.types import Form, ImageShape, QuestionStyle

FULL, SMALL = ImageShape(1024), ImageShape(512)
SEEN = {"Foul": (30, 0, 0), "Goal": (30, 0, 0)}


def figures(tags, form=Form.LIST, shape=SMALL, seconds=0.2, frames=40):
    """Figures of a style. ``tags``: frames that both saw, only the reference, only the style."""
    counts = {
        tag: PairCounts(frames, both, added, missed) for tag, (both, missed, added) in tags.items()
    }
    return StyleFigures(
        QuestionStyle(form, shape), shape == SMALL, frames, frames, seconds, 300.0, 12.0, counts
    )


def comparison(*others, seen=SEEN, frames=40):
    reference = figures(seen, Form.VERDICTS, FULL, seconds=1.0, frames=frames)
    return FrameComparison("vision-8b", frames, 12, (), (), True, reference, others)


# --- the statistics ---


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    [(0, 0, 0, 1), (0, 10, 0, 0.278), (5, 10, 0.237, 0.763), (81, 263, 0.255, 0.366)],
)
def test_the_interval_of_a_share_is_wilsons(successes, total, low, high):
    assert wilson(successes, total) == pytest.approx((low, high), abs=0.001)


@pytest.mark.parametrize(
    ("missed", "added", "p"), [(0, 0, 1), (6, 0, 0.03125), (0, 6, 0.03125), (10, 2, 0.03857)]
)
def test_missed_against_added_is_mcnemars_exact_test(missed, added, p):
    assert mcnemar(missed, added) == pytest.approx(p, abs=1e-5)


def test_a_tag_without_a_verdict_in_one_style_does_not_count():
    pairs = [
        ({"Foul": True, "Goal": True}, {"Foul": True, "Goal": False}),
        ({"Foul": False, "Goal": False}, {"Foul": True}),
        ({"Foul": False}, {"Foul": False}),
    ]
    assert counts_by_tag(pairs) == {"Foul": PairCounts(3, 1, 0, 1), "Goal": PairCounts(1, 0, 1, 0)}


# --- the judgement ---


def simulated(rng, *, misses=1.0, adds=1.0, blind=0.0, frames=40, shared=0.8):
    """Figures of 20 tags, of which a frame shows four. The reference misses 15 % and invents 1 %;
    a style repeats most of its errors and makes others: ``misses`` and ``adds`` times as many in
    all. It misses the share ``blind`` of the first tag.
    """
    rates = {True: (0.15, misses), False: (0.01, adds)}
    tags = {}
    for tag in range(20):
        cells = Counter()
        for _ in range(frames):
            shows = rng.random() < 0.2
            rate, times = rates[shows]
            by_reference = shows != (rng.random() < rate)
            fresh = min(0.95, rate * (times - shared) / (1 - shared))
            seen = (
                by_reference if rng.random() < shared else shows != (rng.random() < fresh)
            ) and not (tag == 0 and rng.random() < blind)
            cells[by_reference, seen] += 1
        tags[f"tag {tag}"] = (cells[True, True], cells[True, False], cells[False, True])
    return figures(tags)


@pytest.mark.parametrize(
    "runs", [60, pytest.param(600, marks=pytest.mark.thorough)], ids=["few", "many"]
)
@pytest.mark.parametrize(
    ("errors", "least", "most"),
    [
        ({}, 0.7, 1.0),
        ({"misses": 1.3}, 0.0, 0.4),
        ({"misses": 2.0}, 0.0, 0.05),
        ({"adds": 4.0}, 0.0, 0.2),
        ({"blind": 0.8}, 0.0, 0.2),
    ],
    ids=str,
)
def test_simulated_styles_are_accepted_as_they_err(errors, least, most, runs):
    rng = random.Random(11)
    accepted = sum(judged(simulated(rng, **errors)) is Fit.AGREES for _ in range(runs)) / runs
    assert least <= accepted <= most


@pytest.mark.parametrize(
    ("tags", "fit"),
    [
        (SEEN, Fit.AGREES),
        ({**SEEN, "Foul": (10, 0, 0)}, Fit.TOO_FEW),
        ({**SEEN, "Turnover": (1, 5, 0)}, Fit.BLIND),
        ({"Turnover": (1, 5, 0)}, Fit.BLIND),
        ({**SEEN, "Turnover": (0, 2, 0)}, Fit.AGREES),
        ({"Foul": (30, 3, 0), "Goal": (30, 2, 0)}, Fit.MISSES),
        ({"Foul": (30, 3, 3), "Goal": (30, 2, 2)}, Fit.AGREES),
        ({"Foul": (30, 0, 3), "Goal": (30, 0, 2)}, Fit.ADDS),
        ({"Foul": (30, 15, 15), "Goal": (30, 15, 15)}, Fit.DIFFERS),
    ],
)
def test_a_style_is_judged_by_its_counts(tags, fit):
    assert judged(figures(tags)) is fit


# --- the proposal ---


def test_the_cheapest_style_that_agrees_is_proposed():
    lists = figures(SEEN, Form.LIST, seconds=0.3)
    names = figures({**SEEN, "Foul": (20, 10, 0)}, Form.NAMES, seconds=0.2)
    verdicts = figures(SEEN, Form.VERDICTS, seconds=0.5)
    found = comparison(verdicts, lists, names)
    assert found.proposal is lists
    assert found.settings == {"frame_size": "small", "answer_form": "list"}


def test_one_tag_that_hides_in_small_pictures_rejects_them():
    hidden = {**SEEN, "Turnover": (1, 6, 0)}
    seen = {**SEEN, "Turnover": (7, 0, 0)}
    full = figures(seen, Form.NAMES, FULL, seconds=0.6)
    found = comparison(full, *(figures(hidden, form) for form in Form), seen=seen)
    assert found.settings == {"frame_size": "full", "answer_form": "names"}


def test_a_saving_of_less_than_a_twentieth_changes_nothing():
    found = comparison(figures(SEEN, seconds=0.97))
    assert found.proposal is found.reference
    assert found.settings == {"frame_size": "full", "answer_form": "verdicts"}


def test_styles_that_all_miss_leave_the_reference():
    found = comparison(figures({"Foul": (30, 6, 0), "Goal": (30, 6, 0)}))
    assert found.proposal is found.reference


def test_the_size_is_no_proposal_where_there_is_one():
    reference = figures(SEEN, Form.VERDICTS, seconds=1.0)
    lists = figures(SEEN)
    found = FrameComparison("vision-8b", 40, 12, (), (), True, reference, (lists,))
    assert found.settings == {"answer_form": "list"}


@pytest.mark.parametrize(("seen", "needed"), [(10, 200), (30, 70), (0, None)])
def test_too_few_sightings_ask_for_more_frames(seen, needed):
    tags = {"Foul": (seen, 0, 0)}
    found = comparison(figures(tags), seen=tags)
    assert (found.proposal, found.settings, found.frames_needed) == (None, {}, needed)
    last = frames_section(found).findings[-1]
    more = f"about {needed}" if needed else "choose videos that show some"
    assert last.text.endswith(more)


# --- the section ---


def test_the_section_has_the_figures_of_each_style_and_tag():
    seen = {**SEEN, "Turnover": (8, 0, 0), "Timeout": (4, 0, 0)}
    lists = figures({**SEEN, "Foul": (29, 1, 2), "Turnover": (7, 1, 0), "Timeout": (3, 1, 0)})
    section = frames_section(comparison(lists, seen=seen))
    by_name = {finding.what: finding for finding in section.findings}
    assert section.works
    style = by_name["small size, lists"]
    assert style.text.startswith(
        "0.2 s a question, 300 + 12 tokens; of 74 sightings 69 agree (93%, 85% to 97%), 3 are missed"
        " and 2 added (p = 1.00): as good as the reference"
    )
    assert style.figures["missed"] == 3
    assert by_name["tag Foul"].text == "seen on 30 frames; missed in small size, lists 1 of 30"
    assert by_name["tag Goal"].text == "seen on 30 frames; missed in no other style"
    assert "tag Turnover" in by_name
    assert "tag Timeout" not in by_name, "seen on too few frames to say anything"
    proposal = by_name["proposal"]
    assert proposal.text.startswith(
        "FRAME_SIZE: small (frame_size of the model) and ANSWER_FORM: list (answer_form of the"
        " model): 5.0 times as fast as full size, verdicts. Agreement is not accuracy"
    )
    assert proposal.figures == {"frame_size": "small", "answer_form": "list"}


def test_the_section_names_what_was_left_out():
    reference = figures(SEEN, Form.VERDICTS, FULL)
    skipped = tuple(f"match {number}.mp4: no such file" for number in range(5))
    found = FrameComparison("", 40, 12, skipped, ("the reply is empty",), False, reference, ())
    texts = {finding.what: finding.text for finding in frames_section(found).findings}
    assert texts["skipped"].endswith("match 2.mp4: no such file; and 2 more")
    assert texts["failed questions"] == "the reply is empty"
    assert "seconds are estimated" in texts["verdicts"], "one size needs no name"
