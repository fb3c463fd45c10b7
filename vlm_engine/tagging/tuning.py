"""Rules fitted to spans that a person tuned, from dictionaries to dictionaries. Asks no model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vlm_engine.config.models import EngineConfig
from vlm_engine.errors import ConfigError
from vlm_engine.spans import fit_rule, markers, precision_and_recall
from vlm_engine.tagging.results import read_spans
from vlm_engine.types import Span

Bounds = list[tuple[float, float]]
Known = Mapping[str, Mapping[str, Sequence[Span]]]
"""The spans of every tag that may have some, by category and tag."""


def fitted_rules(
    config: EngineConfig, existing: Mapping[str, Any], desired: Mapping[str, Any]
) -> dict[str, Any]:
    """Return ``VLMEngine.optimize_timeframe_settings``. Takes long: not for the event loop.

    Raises ``ConfigError``.
    """
    duration_s, found = read_spans(existing)
    requested = {model.category: model.tag_list for model in config.active_models().values()}
    known = {
        category: dict.fromkeys(requested.get(category, ()), ()) | found.get(category, {})
        for category in {**requested, **found}
    }
    fitted: dict[str, Any] = {}
    for name, wanted in desired.items():
        if isinstance(wanted, Mapping) and "start" not in wanted:
            if name not in known:
                there = ", ".join(known)
                raise _error(f"there is no category {name!r}; there are: {there}")
            fitted[name] = {
                tag: _fitted(config, known, name, tag, spans, duration_s)
                for tag, spans in wanted.items()
            }
        else:
            category = _category(name, known)
            fitted[name] = _fitted(config, known, category, name, wanted, duration_s)
    return fitted


def _category(tag: str, known: Known) -> str:
    having = [category for category, tags in known.items() if tag in tags]
    if len(having) == 1:
        return having[0]
    if having:
        raise _error(f"{tag!r} is in several categories: write {{category: {{{tag!r}: [...]}}}}")
    raise _error(f"{tag!r} is no tag of this result, by the name the model was asked for it")


def _fitted(
    config: EngineConfig, known: Known, category: str, tag: str, desired: Any, duration_s: float
) -> dict[str, float]:
    if tag not in known[category]:
        raise _error(f"{tag!r} is no tag of category {category!r}")
    spans, wanted, rule = known[category][tag], _bounds(tag, desired), config.rule_of(category)(tag)
    best = fit_rule(spans, wanted, rule, duration_s)
    return {
        "TagThreshold": best.threshold,
        "MaxGap": best.max_gap.seconds(duration_s),
        "MinMarkerDuration": best.min_marker.seconds(duration_s),
        "RequiredDuration": best.required.seconds(duration_s),
        **_scores("before", markers(spans, rule, duration_s), wanted),
        **_scores("after", markers(spans, best, duration_s), wanted),
    }


def _scores(when: str, made: Sequence[Span], wanted: Bounds) -> dict[str, float]:
    precision, recall = precision_and_recall([(span.start_s, span.end_s) for span in made], wanted)
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {f"precision_{when}": precision, f"recall_{when}": recall, f"f1_{when}": f1}


def _bounds(tag: str, desired: Mapping[str, Any] | Iterable[Mapping[str, Any]]) -> Bounds:
    """Return (start, end) pairs of spans that a person tuned."""
    try:
        spans = [desired] if isinstance(desired, Mapping) else list(desired)
        bounds = sorted((float(span["start"]), float(span["end"])) for span in spans)
    except (KeyError, TypeError, ValueError) as error:
        raise _error(f"{tag}: a span needs a start and an end in seconds: {error!r}") from error
    for start_s, end_s in bounds:
        if not 0 <= start_s < end_s:
            raise _error(f"{tag}: a span ends after it starts, unlike {start_s} to {end_s}")
    return bounds


def _error(message: str) -> ConfigError:
    return ConfigError(f"desired_timespan_data: {message}")
