"""Markers and tags by the user's rules, from the spans of a search. Pure.

Rules can also be fitted to spans that a person tuned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby, product

from vlm_engine.config.models import Length, TagRule
from vlm_engine.types import ImageTagInfo, Span, Verdict, VideoTagInfo

RuleOf = Callable[[str], TagRule]
"""The rule for a tag, by the tag's name as the model was asked for it."""


def describe_video(
    spans: Iterable[Span], category: str, rule_of: RuleOf, duration_s: float
) -> VideoTagInfo:
    """Return what the spans of one category say by the user's rules.

    A span without a confidence passes every threshold: no search made it, so nobody knows how sure
    it is. Tags renamed to the same name become one.
    """
    ruled: dict[str, list[Span]] = {}
    enough: dict[str, bool] = {}
    for tag, of_tag in groupby(
        sorted(spans, key=lambda span: (span.tag, span.start_s)), key=lambda span: span.tag
    ):
        rule = rule_of(tag)
        name = rule.renamed or tag
        kept = apply_rule(list(of_tag), rule, duration_s)
        enough[name] = enough.get(name, False) or is_enough(kept, rule, duration_s)
        ruled.setdefault(name, []).extend(replace(span, tag=name) for span in kept)
    found = {name: tuple(merge(kept, 0.0)) for name, kept in sorted(ruled.items()) if enough[name]}
    return VideoTagInfo.of(duration_s, {category: found})


def together(infos: Iterable[VideoTagInfo], duration_s: float) -> VideoTagInfo:
    """Return the descriptions of single categories as one."""
    return VideoTagInfo.of(
        duration_s, {category: spans for info in infos for category, spans in info.spans.items()}
    )


def apply_rule(spans: Sequence[Span], rule: TagRule, duration_s: float) -> list[Span]:
    """Return the spans of a tag that become markers: threshold, then gaps, then shortest marker."""
    sure = [span for span in spans if span.confidence is None or span.confidence >= rule.threshold]
    merged = merge(sure, rule.max_gap.seconds(duration_s))
    return [span for span in merged if span.duration_s >= rule.min_marker.seconds(duration_s)]


def markers(spans: Sequence[Span], rule: TagRule, duration_s: float) -> list[Span]:
    """Return the same, and none where together they last less than the rule requires."""
    kept = apply_rule(spans, rule, duration_s)
    return kept if is_enough(kept, rule, duration_s) else []


def is_enough(kept: Sequence[Span], rule: TagRule, duration_s: float) -> bool:
    """Return whether the tag applies, given the spans that became markers."""
    return bool(kept) and sum(span.duration_s for span in kept) >= rule.required.seconds(duration_s)


def merge(spans: Iterable[Span], max_gap_s: float) -> list[Span]:
    """Return the spans of one tag in order of time, with small gaps closed.

    Spans no further apart than ``max_gap_s`` become one. A merged span's confidence is the mean of
    those that have one, by duration.
    """
    merged: list[Span] = []
    for span in sorted(spans, key=lambda span: span.start_s):
        if merged and span.start_s - merged[-1].end_s <= max_gap_s:
            merged[-1] = _joined(merged[-1], span)
        else:
            merged.append(span)
    return merged


def _joined(first: Span, second: Span) -> Span:
    both = (first, second)
    confidence = _mean((span.duration_s, span.confidence) for span in both)
    return replace(first, end_s=max(first.end_s, second.end_s), confidence=confidence)


def _mean(weighted: Iterable[tuple[float, float | None]]) -> float | None:
    """Return the mean of the known values, by weight; where nothing weighs, the largest."""
    known = [(weight, value) for weight, value in weighted if value is not None]
    total = sum(weight for weight, _ in known)
    if total == 0:
        return max((value for _, value in known), default=None)
    return sum(weight * value for weight, value in known) / total


def describe_image(verdicts: Mapping[str, Verdict], category: str, rule_of: RuleOf) -> ImageTagInfo:
    """Return the tags of one picture by the user's rules: present and probable enough."""
    confidences: dict[str, float | None] = {}
    for tag, verdict in verdicts.items():
        rule = rule_of(tag)
        probability = verdict.probability
        if verdict.present and (probability is None or probability >= rule.threshold):
            confidences[rule.renamed or tag] = probability
    return ImageTagInfo.of({category: confidences})


def images_together(infos: Iterable[ImageTagInfo]) -> ImageTagInfo:
    """Return the descriptions of single categories as one."""
    return ImageTagInfo.of(
        {category: tags for info in infos for category, tags in info.confidences.items()}
    )


def temporal_iou(first: tuple[float, float], second: tuple[float, float]) -> float:
    """Return shared over covered time of two (start, end) pairs, in [0, 1]."""
    shared_s = min(first[1], second[1]) - max(first[0], second[0])
    covered_s = max(first[1], second[1]) - min(first[0], second[0])
    return max(0.0, shared_s) / covered_s if covered_s > 0 else 0.0


def match(
    found: Sequence[tuple[float, float]], truth: Sequence[tuple[float, float]], least: float
) -> list[tuple[int, int]]:
    """Return index pairs (found, truth) of spans that match, best first, each used once.

    They match at a temporal IoU of at least ``least``. The matching by which temporal localisation
    is scored in ActivityNet (Caba Heilbron et al., 2015).
    """
    pairs = [
        (temporal_iou(span, true), i, j)
        for i, span in enumerate(found)
        for j, true in enumerate(truth)
    ]
    taken: list[tuple[int, int]] = []
    for iou, i, j in sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2])):
        if iou >= least and all(i != other and j != also for other, also in taken):
            taken.append((i, j))
    return taken


def f1(
    found: Sequence[tuple[float, float]], truth: Sequence[tuple[float, float]], least: float = 0.5
) -> float:
    """Return the harmonic mean of precision and recall; 1 where both are empty.

    A span is right at a temporal IoU of at least ``least``.
    """
    if not found and not truth:
        return 1.0
    return 2 * len(match(found, truth, least)) / (len(found) + len(truth))


def precision_and_recall(
    found: Sequence[tuple[float, float]], truth: Sequence[tuple[float, float]], least: float = 0.5
) -> tuple[float, float]:
    """Return the share of what was found that is right, and of the truth that was found.

    It is 1 of nothing. A span is right at a temporal IoU of at least ``least``.
    """
    right = len(match(found, truth, least))
    return right / len(found) if found else 1.0, right / len(truth) if truth else 1.0


_THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_GAPS_S = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
_SHORTEST_S = (0.0, 1.0, 2.0, 3.0, 5.0, 10.0)
_REQUIRED_S = (0.0, 5.0, 15.0, 30.0, 60.0, 120.0)


def fit_rule(
    spans: Sequence[Span], wanted: Sequence[tuple[float, float]], rule: TagRule, duration_s: float
) -> TagRule:
    """Return the rule whose markers for one tag are most like those ``wanted``.

    They are compared by F1, then by how well they overlap. All combinations of the present ``rule``
    and a few round values are tried; among equals the one that changes least of the rule wins, so
    that nothing changes without a gain.
    """
    scores: dict[tuple[tuple[float, float], ...], tuple[float, float]] = {}

    def score(candidate: TagRule) -> tuple[float, float]:
        made = tuple((span.start_s, span.end_s) for span in markers(spans, candidate, duration_s))
        if made not in scores:
            pairs = match(made, wanted, 0.5)
            scores[made] = (
                f1(made, wanted),
                round(sum(temporal_iou(made[i], wanted[j]) for i, j in pairs), 6),
            )
        return scores[made]

    choices = {
        "threshold": (rule.threshold, *_THRESHOLDS),
        "max_gap": (rule.max_gap, *_lengths(_GAPS_S)),
        "min_marker": (rule.min_marker, *_lengths(_SHORTEST_S)),
        "required": (rule.required, *_lengths(_REQUIRED_S)),
    }
    candidates = [
        rule.model_copy(update=dict(zip(choices, values, strict=True)))
        for values in product(*choices.values())
    ]
    candidates.sort(key=lambda each: sum(getattr(each, n) != getattr(rule, n) for n in choices))
    return max(candidates, key=score)  # the first of several


def _lengths(values_s: Iterable[float]) -> list[Length]:
    return [Length(value=value) for value in values_s]
