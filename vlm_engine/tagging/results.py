"""Results as the dictionaries that scripts read, and progress in per cent; earlier results read
back.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, astuple, fields
from typing import Any, Self

from vlm_engine.errors import ConfigError
from vlm_engine.tagging.requests import Earlier
from vlm_engine.types import (
    Findings,
    Form,
    ImageResult,
    ImageShape,
    Observation,
    Progress,
    QuestionCost,
    QuestionStyle,
    QuestionTerms,
    Span,
    Verdict,
    VideoResult,
)

SCHEMA_VERSION = 2


def video_dict(
    result: VideoResult, *, timestamps: bool = True, confidence: bool = True
) -> dict[str, Any]:
    """Return ``video_tag_info``, ``json_result`` and ``coverage`` of one video. Times are seconds.

    ``totalConfidence`` is the probability that the span is right; None in a span that no search
    made.
    """
    info = result.info
    tag_info: dict[str, Any] = {
        "video_duration": info.duration_s,
        "video_tags": {category: list(tags) for category, tags in info.tags.items()},
        "tag_totals": {category: dict(totals) for category, totals in info.totals_s.items()},
    }
    if timestamps:
        tag_info["tag_timespans"] = {
            category: {
                tag: [_span_dict(span, confidence) for span in spans]
                for tag, spans in by_tag.items()
            }
            for category, by_tag in info.spans.items()
        }
    return {
        "video_tag_info": tag_info,
        "json_result": _json_result(result),
        "coverage": _coverage_dict(result),
    }


def image_dict(result: ImageResult, *, confidence: bool = True) -> dict[str, Any]:
    """Return ``image_tag_info`` and ``coverage`` of one picture."""
    tag_info: dict[str, Any] = {
        "image_tags": {category: list(tags) for category, tags in result.info.tags.items()}
    }
    if confidence:
        tag_info["confidences"] = {
            category: dict(by_tag) for category, by_tag in result.info.confidences.items()
        }
    return {"image_tag_info": tag_info, "coverage": _coverage_dict(result)}


def _json_result(result: VideoResult) -> dict[str, Any]:
    timespans: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for found in result.findings:
        by_tag = timespans.setdefault(found.category, {})
        for span in found.spans:
            by_tag.setdefault(span.tag, []).append(_span_dict(span, confidence=True))
    return {
        "schema_version": SCHEMA_VERSION,
        "metadata": {
            "duration": result.video.duration_s,
            "identity": result.video.identity,
            "gaps": [{"start": start_s, "end": end_s} for start_s, end_s in result.gaps_s],
            "seen": {found.category: _seen_dict(found) for found in result.findings},
        },
        "timespans": timespans,
    }


def _seen_dict(found: Findings) -> dict[str, Any]:
    return {
        "searches": [
            {"tags": list(tags), "settings": settings} for tags, settings in found.searches
        ],
        "observations": [_observation_dict(time_s, seen) for time_s, seen in found.observations],
        "terms": [terms_dict(terms) for terms in found.terms],
    }


def _span_dict(span: Span, confidence: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"start": span.start_s, "end": span.end_s}
    return {**entry, "totalConfidence": span.confidence} if confidence else entry


def _observation_dict(time_s: float, seen: Observation) -> dict[str, Any]:
    verdicts = {
        tag: [verdict.present, verdict.probability] for tag, verdict in seen.verdicts.items()
    }
    entry = {"time": time_s, "frame": seen.time_s, "verdicts": verdicts}
    return {**entry, "scanned": True} if seen.scanned else entry


def _coverage_dict(result: VideoResult | ImageResult) -> dict[str, Any]:
    coverage = result.coverage
    return {
        "frames_asked": coverage.asked,
        "frames_answered": coverage.answered,
        "frames_failed": coverage.failed,
        "frames_unreadable": coverage.unreadable,
        "calls": coverage.calls,
        "calls_by_model": dict(result.calls),
        "model_seconds": round(coverage.seconds, 3),
        "model_seconds_by_model": {
            model: round(seconds, 3) for model, seconds in result.seconds.items()
        },
    }


def read_earlier(json_result: Mapping[str, Any]) -> Earlier:
    """Read an earlier ``json_result``, or the result that holds it. Raises ``ConfigError``."""
    earlier = json_result.get("json_result", json_result)
    if earlier.get("schema_version") != SCHEMA_VERSION:
        raise ConfigError(
            f"existing_json_data: schema_version is {earlier.get('schema_version')!r}, "
            f"expected {SCHEMA_VERSION}"
        )
    with _errors_named():
        metadata = earlier["metadata"]
        findings = {
            category: _findings(category, category_data)
            for category, category_data in metadata["seen"].items()
        }
        return Earlier(float(metadata["duration"]), findings)


def read_spans(json_result: Mapping[str, Any]) -> tuple[float, dict[str, dict[str, list[Span]]]]:
    """Read (duration in seconds, raw spans by category and tag) from an earlier ``json_result``.

    Raises ``ConfigError``.
    """
    earlier = json_result.get("json_result", json_result)
    with _errors_named():
        spans = {
            category: {
                tag: [
                    Span(tag, entry["start"], entry["end"], entry.get("totalConfidence"))
                    for entry in entries
                ]
                for tag, entries in by_tag.items()
            }
            for category, by_tag in earlier["timespans"].items()
        }
        return float(earlier["metadata"]["duration"]), spans


@contextmanager
def _errors_named() -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"existing_json_data: not a json_result of this engine: {error!r}"
        ) from error


def _findings(category: str, seen: Mapping[str, Any]) -> Findings:
    observations = []
    for entry in seen["observations"]:
        verdicts = {tag: Verdict(*verdict) for tag, verdict in entry["verdicts"].items()}
        scanned = bool(entry.get("scanned"))
        observation = Observation(float(entry["frame"]), verdicts, scanned)
        observations.append((float(entry["time"]), observation))
    searches = [(tuple(search["tags"]), str(search["settings"])) for search in seen["searches"]]
    terms = tuple(map(read_terms, seen.get("terms", ())))
    return Findings(category, (), tuple(observations), tuple(searches), terms)


def terms_dict(terms: QuestionTerms) -> dict[str, str | int | float]:
    """Return the terms as JSON has them."""
    return {"form": terms.style.form, **asdict(terms.style.shape), **asdict(terms.cost)}


def read_terms(data: Mapping[str, object]) -> QuestionTerms:
    """Read what ``terms_dict`` returned. Raises ``KeyError``, ``TypeError`` and ``ValueError``."""
    shape = ImageShape(**{one.name: int(str(data[one.name])) for one in fields(ImageShape)})
    cost = QuestionCost(**{one.name: float(str(data[one.name])) for one in fields(QuestionCost)})
    if not all(0 <= part < math.inf for part in astuple(cost)) or not cost.answer_token_s:
        raise ValueError(f"no question costs this: {cost}")
    return QuestionTerms(QuestionStyle(Form(str(data["form"])), shape), cost)


class PercentCallback:
    """Calls ``callback``, plain or async, with progress in whole per cent, each value once.

    Waits at the end for async calls.
    """

    def __init__(self, callback: Callable[[int], Any] | None) -> None:
        self._callback = callback
        self._last = -1
        self._calls: set[asyncio.Future[Any]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._call(100)
        await asyncio.gather(*self._calls)

    def __call__(self, progress: Progress) -> None:
        """Report how far it is."""
        self._call(int(100 * progress.fraction))

    def _call(self, percent: int) -> None:
        if self._callback is None or percent <= self._last:
            return
        self._last = percent
        outcome = self._callback(percent)
        if inspect.isawaitable(outcome):
            self._calls.add(asyncio.ensure_future(outcome))
