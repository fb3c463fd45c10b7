"""Scores of spans against the truth, and their cost, over any number of videos."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean, median

import numpy as np

from benchmarks.deployments import RATES, Deployment, Usage
from benchmarks.oracle import Bill
from benchmarks.world import SHORT_S
from vlm_engine.spans import match
from vlm_engine.types import Purpose, Span

Results = Mapping[tuple[str, str], "Summary"]
"""By (setting, strategy)."""
Truth = Mapping[str, Sequence[tuple[float, float]]]


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of one video.

    ``peak_mb`` is None where it was not measured. ``scan_calls`` are those to a scanner, if any,
    and not in ``usage``.
    """

    hours: float
    usage: Mapping[Purpose, Usage] = field(default_factory=dict)
    rounds: int = 0
    cpu_s: float = 0.0
    peak_mb: float | None = None
    scan_calls: int = 0

    @classmethod
    def of(cls, bill: Bill, duration_s: float, cpu_s: float) -> Cost:
        """Return the bill of an oracle; ``cpu_s`` includes what the oracle took itself."""
        return cls(
            duration_s / 3600,
            dict(bill.usage),
            bill.rounds,
            cpu_s=max(0.0, cpu_s - bill.own_cpu_s),
            scan_calls=bill.scan_calls,
        )


@dataclass(frozen=True, slots=True)
class Score:
    """Counts of one video.

    ``short`` events last up to 10 s; one is missed where no span of its tag touches it.

    ``tags_…`` counts tags that apply at any time, by the spans and in truth. ``judged``: each span
    with a confidence, that and whether the span was matched.
    """

    cost: Cost
    found: int
    wanted: int
    matched: int
    matched_closely: int
    edge_errors_s: tuple[float, ...]
    short: int
    short_missed: int
    tags_found: int
    tags_wanted: int
    tags_matched: int
    judged: tuple[tuple[float, bool], ...] = ()


def score(spans: Iterable[Span], truth: Truth, cost: Cost) -> Score:
    """Spans are matched one to one by temporal IoU (.5, and .75 for ``matched_closely``); errors
    are those of matched edges.
    """
    by_tag: dict[str, list[tuple[float, float]]] = {tag: [] for tag in truth}
    confidences: dict[str, list[float | None]] = {tag: [] for tag in truth}
    for span in spans:
        by_tag[span.tag].append((span.start_s, span.end_s))
        confidences[span.tag].append(span.confidence)
    matched = closely = missed = 0
    errors_s: list[float] = []
    judged: list[tuple[float, bool]] = []
    for tag, wanted in truth.items():
        pairs = match(by_tag[tag], wanted, 0.5)
        matched += len(pairs)
        right = {i for i, _ in pairs}
        judged += [
            (sure, i in right) for i, sure in enumerate(confidences[tag]) if sure is not None
        ]
        closely += len(match(by_tag[tag], wanted, 0.75))
        errors_s += [abs(by_tag[tag][i][end] - wanted[j][end]) for i, j in pairs for end in (0, 1)]
        missed += sum(not _is_touched(event, by_tag[tag]) for event in wanted if _is_short(event))
    return Score(
        cost=cost,
        found=sum(map(len, by_tag.values())),
        wanted=sum(map(len, truth.values())),
        matched=matched,
        matched_closely=closely,
        edge_errors_s=tuple(errors_s),
        short=sum(_is_short(event) for wanted in truth.values() for event in wanted),
        short_missed=missed,
        tags_found=sum(map(bool, by_tag.values())),
        tags_wanted=sum(map(bool, truth.values())),
        tags_matched=sum(bool(by_tag[tag]) and bool(wanted) for tag, wanted in truth.items()),
        judged=tuple(judged),
    )


def _is_short(event: tuple[float, float]) -> bool:
    return event[1] - event[0] <= SHORT_S


def _is_touched(event: tuple[float, float], spans: Iterable[tuple[float, float]]) -> bool:
    return any(start < event[1] and end > event[0] for start, end in spans)


class Summary:
    """Several videos together: counts are added before ratios are taken, so that longer videos
    weigh more.
    """

    def __init__(self, scores: Sequence[Score]) -> None:
        self.scores = tuple(scores)
        self.hours = sum(score.cost.hours for score in scores)
        spans = sum(score.found + score.wanted for score in scores)
        self.f1 = _share(2 * sum(score.matched for score in scores), spans)
        self.f1_close = _share(2 * sum(score.matched_closely for score in scores), spans)
        errors_s = [error_s for score in scores for error_s in score.edge_errors_s]
        self.edge_mean_s = fmean(errors_s) if errors_s else 0.0
        self.edge_median_s = median(errors_s) if errors_s else 0.0
        self.short_missed = _share(
            sum(score.short_missed for score in scores), sum(score.short for score in scores), 0.0
        )
        tags = sum(score.tags_found + score.tags_wanted for score in scores)
        self.tag_f1 = _share(2 * sum(score.tags_matched for score in scores), tags)
        self.usage = {
            purpose: sum((score.cost.usage.get(purpose, Usage()) for score in scores), Usage())
            for purpose in Purpose
        }
        total = sum(self.usage.values(), Usage())
        self.seconds_per_hour = {
            deployment: self._per_hour([rates.seconds(total)])
            for deployment, rates in RATES.items()
        }
        self.calls_per_hour = self._per_hour([total.calls])
        self.scan_calls_per_hour = self._per_hour([score.cost.scan_calls for score in scores])
        self.cpu_s_per_hour = self._per_hour([score.cost.cpu_s for score in scores])
        self.rounds = fmean(score.cost.rounds for score in scores) if scores else 0.0
        self.peak_mb = max(
            (score.cost.peak_mb for score in scores if score.cost.peak_mb is not None), default=None
        )

    def reliability(self, least: float, below: float) -> tuple[int, float]:
        """Return how many spans have a confidence in [least, below), and the share of them that was
        matched.
        """
        right = [
            matched
            for score in self.scores
            for sure, matched in score.judged
            if least <= sure < below
        ]
        return len(right), _share(sum(right), len(right), 0.0)

    def _per_hour(self, counts: Iterable[float]) -> float:
        return _share(sum(counts), self.hours, 0.0)


def seconds_for(points: Sequence[Summary], f1: float, deployment: Deployment) -> float | None:
    """Seconds per hour at which a frontier reaches this F1, between its points on a straight line;
    None where it never does.
    """
    points = sorted(points, key=lambda point: point.seconds_per_hour[deployment])
    if points[0].f1 >= f1:
        return points[0].seconds_per_hour[deployment]
    for below, above in pairwise(points):
        if above.f1 >= f1:
            share = (f1 - below.f1) / (above.f1 - below.f1)
            low, high = (point.seconds_per_hour[deployment] for point in (below, above))
            return low + share * (high - low)
    return None


def at_seconds(points: Sequence[Summary], seconds: float, name: str) -> float:
    """Return the value ``name`` of a frontier at so many seconds per hour on a gaming PC, between
    its points on a straight line; beyond its ends, that of the end.
    """
    of = Deployment.GAMING_PC
    points = sorted(points, key=lambda point: point.seconds_per_hour[of])
    return float(
        np.interp(
            seconds,
            [point.seconds_per_hour[of] for point in points],
            [getattr(point, name) for point in points],
        )
    )


def f1_for(points: Sequence[Summary], other: Summary) -> float:
    """Return the F1 of a frontier at the seconds of ``other``."""
    return at_seconds(points, other.seconds_per_hour[Deployment.GAMING_PC], "f1")


def _share(part: float, whole: float, of_nothing: float = 1.0) -> float:
    return part / whole if whole else of_nothing
