"""Raw spans become markers and tags by the user's rules, and the rules can be fitted to spans a person has tuned. Pure."""

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
    """The spans of one category by the user's rules.

    A span without a confidence passes every threshold: no search made it, so nobody knows how sure it is. Tags renamed
    to the same name become one.
    """
    ruled: dict[str, list[Span]] = {}
    enough: dict[str, bool] = {}
    for tag, own in groupby(
        sorted(spans, key=lambda span: (span.tag, span.start_s)), key=lambda span: span.tag
    ):
        rule = rule_of(tag)
        name = rule.renamed or tag
        kept = apply_rule(list(own), rule, duration_s)
        enough[name] = enough.get(name, False) or is_enough(kept, rule, duration_s)
        ruled.setdefault(name, []).extend(replace(span, tag=name) for span in kept)
    found = {name: tuple(merge(own, 0.0)) for name, own in sorted(ruled.items()) if enough[name]}
    return VideoTagInfo(
        duration_s=duration_s,
        tags={category: tuple(found)},
        totals_s={
            category: {name: sum(span.duration_s for span in own) for name, own in found.items()}
        },
        spans={category: found},
    )


def together(infos: Iterable[VideoTagInfo], duration_s: float) -> VideoTagInfo:
    """What was described by category, as one."""
    parts = list(infos)
    return VideoTagInfo(
        duration_s=duration_s,
        tags={category: tags for info in parts for category, tags in info.tags.items()},
        totals_s={category: totals for info in parts for category, totals in info.totals_s.items()},
        spans={category: spans for info in parts for category, spans in info.spans.items()},
    )


def apply_rule(spans: Sequence[Span], rule: TagRule, duration_s: float) -> list[Span]:
    """The spans of one tag that become markers: threshold, then gaps, then shortest marker."""
    sure = [span for span in spans if span.confidence is None or span.confidence >= rule.threshold]
    merged = merge(sure, rule.max_gap.seconds(duration_s))
    return [span for span in merged if span.duration_s >= rule.min_marker.seconds(duration_s)]


def markers(spans: Sequence[Span], rule: TagRule, duration_s: float) -> list[Span]:
    """The same, and none where they last less in all than the rule requires."""
    kept = apply_rule(spans, rule, duration_s)
    return kept if is_enough(kept, rule, duration_s) else []


def is_enough(kept: Sequence[Span], rule: TagRule, duration_s: float) -> bool:
    """Whether the tag applies, where ``kept`` is what became markers."""
    return bool(kept) and sum(span.duration_s for span in kept) >= rule.required.seconds(duration_s)


def merge(spans: Iterable[Span], max_gap_s: float) -> list[Span]:
    """Spans of one tag in order of time, those no further apart than ``max_gap_s`` made one.

    A merged span's confidence is the mean of those that have one, by duration.
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
    """The mean of those that are told, by weight; where nothing weighs, the largest."""
    told = [(weight, value) for weight, value in weighted if value is not None]
    total = sum(weight for weight, _ in told)
    if total == 0:
        return max((value for _, value in told), default=None)
    return sum(weight * value for weight, value in told) / total


def describe_image(verdicts: Mapping[str, Verdict], category: str, rule_of: RuleOf) -> ImageTagInfo:
    """The tags of one picture by the user's rules: those present, at least as probable as their threshold."""
    confidences: dict[str, float | None] = {}
    for tag, verdict in verdicts.items():
        rule = rule_of(tag)
        probability = verdict.probability
        if verdict.present and (probability is None or probability >= rule.threshold):
            confidences[rule.renamed or tag] = probability
    return ImageTagInfo(
        tags={category: tuple(sorted(confidences))}, confidences={category: confidences}
    )


def images_together(infos: Iterable[ImageTagInfo]) -> ImageTagInfo:
    """What was described by category, as one."""
    parts = list(infos)
    return ImageTagInfo(
        tags={category: tags for info in parts for category, tags in info.tags.items()},
        confidences={
            category: told for info in parts for category, told in info.confidences.items()
        },
    )


def temporal_iou(first: tuple[float, float], second: tuple[float, float]) -> float:
    """Shared over covered time of two (start, end) pairs, in [0, 1]."""
    shared_s = min(first[1], second[1]) - max(first[0], second[0])
    covered_s = max(first[1], second[1]) - min(first[0], second[0])
    return max(0.0, shared_s) / covered_s if covered_s > 0 else 0.0


def match(
    found: Sequence[tuple[float, float]], truth: Sequence[tuple[float, float]], least: float
) -> list[tuple[int, int]]:
    """Index pairs (found, truth) of spans whose temporal IoU is at least ``least``, best first, each used once.

    The matching by which temporal localisation is scored in ActivityNet (Caba Heilbron et al., 2015).
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
    """Harmonic mean of precision and recall at a temporal IoU of at least ``least``; 1 where both are empty."""
    if not found and not truth:
        return 1.0
    return 2 * len(match(found, truth, least)) / (len(found) + len(truth))


def precision_and_recall(
    found: Sequence[tuple[float, float]], truth: Sequence[tuple[float, float]], least: float = 0.5
) -> tuple[float, float]:
    """The share of what was found that is right at a temporal IoU of at least ``least``, and of the truth that was found.

    1 of nothing.
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
    """The rule that makes the markers of one tag most like those ``wanted``: by F1, then by how well they overlap.

    All combinations of the present ``rule`` and a few round values are tried; among equals the one that changes least of the
    rule wins, so that nothing changes without a gain.
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

    fields = ("threshold", "max_gap", "min_marker", "required")
    lengths = (
        tuple(Length(value=value) for value in values)
        for values in (_GAPS_S, _SHORTEST_S, _REQUIRED_S)
    )
    choices = [
        (getattr(rule, name), *values)
        for name, values in zip(fields, (_THRESHOLDS, *lengths), strict=True)
    ]
    ways = sorted(
        product(*(range(len(values)) for values in choices)),
        key=lambda way: sum(number > 0 for number in way),
    )
    candidates = (
        rule.model_copy(
            update={
                name: values[number]
                for name, values, number in zip(fields, choices, way, strict=True)
            }
        )
        for way in ways
    )
    return max(candidates, key=score)  # the first of several
