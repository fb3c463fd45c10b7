from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from vlm_engine.config.models import TagRule
from vlm_engine.spans import (
    apply_rule,
    describe_image,
    describe_video,
    f1,
    fit_rule,
    markers,
    match,
    merge,
    precision_and_recall,
    temporal_iou,
)
from vlm_engine.types import Span, Verdict

lengths = st.floats(0, 1000, allow_nan=False, width=32)
span_lists = st.lists(
    st.tuples(lengths, lengths).map(lambda pair: Span("Foul", min(pair), max(pair), 0.9)),
    max_size=20,
)


def rule(**settings: object) -> TagRule:
    return TagRule.model_validate(
        {"MinMarkerDuration": 0, "MaxGap": 0, "RequiredDuration": 0, **settings}
    )


def test_gaps_are_closed_before_short_markers_are_dropped():
    spans = [Span("Foul", 10, 11), Span("Foul", 12, 13), Span("Foul", 40, 41)]
    assert apply_rule(spans, rule(MaxGap="2s", MinMarkerDuration="2s"), 100) == [
        Span("Foul", 10, 13)
    ]


def test_a_threshold_drops_only_spans_with_a_lower_confidence():
    spans = [Span("Foul", 0, 5, 0.4), Span("Foul", 10, 15, 0.8), Span("Foul", 20, 25, None)]
    kept = apply_rule(spans, rule(TagThreshold=0.5), 100)
    assert [(span.start_s, span.confidence) for span in kept] == [(10, 0.8), (20, None)]


def test_a_merged_confidence_is_the_mean_by_duration():
    (merged,) = merge(
        [Span("Foul", 0, 3, 0.9), Span("Foul", 3, 4, 0.5), Span("Foul", 4, 6, None)], 0
    )
    assert (merged.start_s, merged.end_s, round(merged.confidence or 0, 6)) == (0, 6, 0.8)


def test_a_tag_applies_only_when_it_lasts_long_enough_in_all():
    spans = [Span("Foul", 0, 4), Span("Foul", 50, 54), Span("Turnover", 0, 4)]
    info = describe_video(spans, "plays", lambda tag: rule(RequiredDuration="8%"), 100)
    assert info.tags == {"plays": ("Foul",)}
    assert info.totals_s == {"plays": {"Foul": 8}}
    assert list(info.spans["plays"]) == ["Foul"]


def test_tags_renamed_alike_become_one():
    spans = [Span("Basketball point", 0, 5), Span("Free throw", 3, 9), Span("Foul", 20, 22)]
    info = describe_video(
        spans, "plays", lambda tag: rule(RenamedTag="Score") if tag != "Foul" else rule(), 100
    )
    assert info.tags == {"plays": ("Foul", "Score")}
    assert [(span.tag, span.start_s, span.end_s) for span in info.spans["plays"]["Score"]] == [
        ("Score", 0, 9)
    ]


def test_a_picture_gets_the_tags_that_are_probable_enough():
    verdicts = {
        "Foul": Verdict(True, 0.9),
        "Turnover": Verdict(True, 0.4),
        "Timeout": Verdict(False, 0.1),
        "Goal": Verdict(True),
    }
    info = describe_image(
        verdicts, "plays", lambda tag: rule(RenamedTag="Personal foul") if tag == "Foul" else rule()
    )
    assert info.tags == {"plays": ("Goal", "Personal foul")}
    assert info.confidences == {"plays": {"Personal foul": 0.9, "Goal": None}}


@given(span_lists, st.floats(0, 50))
def test_merged_spans_are_ordered_apart_and_cover_what_went_in(spans, gap_s):
    merged = merge(spans, gap_s)
    assert all(span.start_s <= span.end_s for span in merged)
    assert all(later.start_s - earlier.end_s > gap_s for earlier, later in pairwise(merged))
    assert all(
        any(one.start_s <= span.start_s and span.end_s <= one.end_s for one in merged)
        for span in spans
    )


def test_temporal_iou():
    assert temporal_iou((0, 10), (5, 15)) == 5 / 15
    assert temporal_iou((0, 10), (10, 20)) == 0
    assert temporal_iou((3, 3), (3, 3)) == 0


def test_matching_uses_each_span_once_and_the_best_pair_first():
    assert match([(0, 10), (1, 10)], [(0, 10)], 0.5) == [(0, 0)]
    assert f1([(0, 10), (50, 60)], [(0, 9)]) == 2 / 3
    assert f1([], []) == 1


def test_rules_are_fitted_to_what_a_person_tuned():
    spans = [
        Span("Foul", 0, 4, 0.9),
        Span("Foul", 7, 11, 0.9),
        Span("Foul", 60, 70, 0.45),
        Span("Foul", 80, 81, 0.9),
    ]
    wanted = [(0.0, 11.0)]
    fitted = fit_rule(spans, wanted, rule(), 100)
    assert [(span.start_s, span.end_s) for span in apply_rule(spans, fitted, 100)] == wanted


def test_a_tag_that_should_have_no_span_gets_a_rule_for_that():
    spans = [Span("Foul", 0, 4, 0.95), Span("Foul", 60, 70, 0.95)]
    fitted = fit_rule(spans, [], rule(), 100)
    assert markers(spans, rule(), 100)
    assert markers(spans, fitted, 100) == []


def test_of_rules_that_fit_alike_the_nearest_one_is_taken():
    present = rule(MaxGap="1.5s", TagThreshold=0.65, RequiredDuration="30s")
    spans = [Span("Foul", 0, 4, 0.6), Span("Foul", 20, 28, 0.9)]
    fitted = fit_rule(spans, [(0.0, 4.0), (20.0, 28.0)], present, 100)
    assert (fitted.max_gap, fitted.min_marker) == (present.max_gap, present.min_marker)
    assert fitted.threshold <= 0.6
    assert fitted.required.seconds(100) <= 12


def test_precision_and_recall():
    assert precision_and_recall([(0, 10), (50, 60)], [(0, 9)]) == (0.5, 1.0)
    assert precision_and_recall([(0, 10)], [(0, 9), (20, 30)]) == (1.0, 0.5)
    assert precision_and_recall([], [(0, 9)]) == (1.0, 0.0)
    assert precision_and_recall([(0, 10)], []) == (0.0, 1.0)
    assert precision_and_recall([], []) == (1.0, 1.0)


def test_a_rule_that_fits_already_is_left_alone():
    spans, present = [Span("Foul", 0, 4, 0.9)], rule(MaxGap="1.5s")
    assert fit_rule(spans, [(0.0, 4.0)], present, 100) == present
