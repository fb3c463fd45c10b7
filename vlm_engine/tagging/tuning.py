"""Rules fitted to spans that a person has put right, from dictionaries to dictionaries. Asks no model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vlm_engine.config.models import EngineConfig, TagRule
from vlm_engine.errors import ConfigError
from vlm_engine.spans import fit_rule, markers, precision_and_recall
from vlm_engine.tagging.results import read_spans
from vlm_engine.types import Span

Bounds = list[tuple[float, float]]


def fitted_rules(
    config: EngineConfig, existing: Mapping[str, Any], desired: Mapping[str, Any]
) -> dict[str, Any]:
    """See ``VLMEngine.optimize_timeframe_settings``. Raises ``ConfigError``. Takes a while: not for the event loop."""
    duration_s, found = read_spans(existing)
    known = {
        category: dict.fromkeys(own, ()) | found.get(category, {})
        for category, own in _tags(config, found).items()
    }
    fitted: dict[str, Any] = {}
    for name, own in desired.items():
        if isinstance(own, Mapping) and "start" not in own:
            if name not in known:
                raise ConfigError(
                    f"desired_timespan_data: there is no category {name!r}; there are: {', '.join(known)}"
                )
            fitted[name] = {
                tag: _fitted(config, known, (name, tag), wanted, duration_s)
                for tag, wanted in own.items()
            }
        else:
            fitted[name] = _fitted(config, known, (_category(name, known), name), own, duration_s)
    return fitted


def _tags(config: EngineConfig, found: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Every tag that may have spans, by category: those that are asked about and those that were found."""
    asked = {model.category: model.tag_list for model in config.active_models().values()}
    return {
        category: [*asked.get(category, ()), *found.get(category, ())]
        for category in {**asked, **found}
    }


def _category(tag: str, known: Mapping[str, Mapping[str, Any]]) -> str:
    having = [category for category, tags in known.items() if tag in tags]
    if len(having) == 1:
        return having[0]
    if having:
        raise ConfigError(
            f"desired_timespan_data: {tag!r} is in several categories: write {{category: {{{tag!r}: [...]}}}}"
        )
    raise ConfigError(
        f"desired_timespan_data: {tag!r} is no tag of this result, by the name the model was asked for it"
    )


def _fitted(
    config: EngineConfig,
    known: Mapping[str, Mapping[str, Sequence[Span]]],
    of: tuple[str, str],
    desired: Any,
    duration_s: float,
) -> dict[str, float]:
    category, tag = of
    if tag not in known[category]:
        raise ConfigError(f"desired_timespan_data: {tag!r} is no tag of category {category!r}")
    spans, wanted, rule = known[category][tag], _bounds(tag, desired), config.rule_of(category)(tag)
    best = fit_rule(spans, wanted, rule, duration_s)
    return {
        "TagThreshold": best.threshold,
        "MaxGap": best.max_gap.seconds(duration_s),
        "MinMarkerDuration": best.min_marker.seconds(duration_s),
        "RequiredDuration": best.required.seconds(duration_s),
        **_scores("before", spans, rule, wanted, duration_s),
        **_scores("after", spans, best, wanted, duration_s),
    }


def _scores(
    when: str, spans: Sequence[Span], rule: TagRule, wanted: Bounds, duration_s: float
) -> dict[str, float]:
    made = [(span.start_s, span.end_s) for span in markers(spans, rule, duration_s)]
    precision, recall = precision_and_recall(made, wanted)
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {f"precision_{when}": precision, f"recall_{when}": recall, f"f1_{when}": f1}


def _bounds(tag: str, desired: Mapping[str, Any] | Iterable[Mapping[str, Any]]) -> Bounds:
    """(start, end) pairs of spans that a person has tuned."""
    try:
        spans = [desired] if isinstance(desired, Mapping) else list(desired)
        bounds = sorted((float(span["start"]), float(span["end"])) for span in spans)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"desired_timespan_data: {tag}: a span needs a start and an end in seconds: {error!r}"
        ) from error
    for start_s, end_s in bounds:
        if not 0 <= start_s < end_s:
            raise ConfigError(
                f"desired_timespan_data: {tag}: a span ends after it starts, unlike {start_s} to {end_s}"
            )
    return bounds
