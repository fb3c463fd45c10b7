"""Rules fitted to spans that a person corrected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.engine.engines import config
from vlm_engine import VLMEngine
from vlm_engine.errors import ConfigError

PLAYS = {"Foul": [(0, 4, 0.9), (7, 11, 0.9), (60, 70, 0.45)], "Goal": [(20, 30, 0.9)]}
BREAKS = {"Timeout": [(40, 50, 0.9)], "Goal": [(40, 42, 0.9)]}


def result(**categories: Mapping[str, list[tuple[float, float, float]]]) -> dict[str, Any]:
    def entries(spans: list[tuple[float, float, float]]) -> list[dict[str, float]]:
        return [
            {"start": start, "end": end, "totalConfidence": confidence}
            for start, end, confidence in spans
        ]

    timespans = {
        category: {tag: entries(spans) for tag, spans in tags.items()}
        for category, tags in categories.items()
    }
    return {
        "schema_version": 2,
        "metadata": {"duration": 100.0, "seen": {}},
        "timespans": timespans,
    }


def engine(*categories: str, **more: Any) -> VLMEngine:
    model = {"api_base_url": "http://localhost:9", "tag_list": ["Foul", "Goal", "Turnover"]}
    models = {name: {**model, "model_category": name} for name in categories or ("plays",)}
    return VLMEngine(config(models, **more))


async def fitted(existing: Mapping[str, Any], desired: Mapping[str, Any], *categories: str) -> Any:
    return await engine(*categories).optimize_timeframe_settings(existing, desired)


def span(start: float, end: float) -> dict[str, float]:
    return {"start": start, "end": end}


async def test_precision_and_recall_are_told_before_and_after():
    foul = (await fitted(result(plays=PLAYS), {"Foul": [span(0, 11), span(60, 70)]}))["Foul"]
    assert (foul["precision_before"], foul["recall_before"], foul["f1_before"]) == (0.0, 0.0, 0.0)
    assert (foul["precision_after"], foul["recall_after"], foul["f1_after"]) == (1.0, 1.0, 1.0)
    assert foul["MaxGap"] >= 3
    assert foul["TagThreshold"] <= 0.45


async def test_the_fitted_rule_does_in_the_engine_what_it_promises():
    existing, wanted = result(plays=PLAYS), {"Foul": [span(0, 11), span(60, 70)]}
    best = (await fitted(existing, wanted))["Foul"]
    rule = {
        key: best[key]
        for key in ("TagThreshold", "MaxGap", "MinMarkerDuration", "RequiredDuration")
    }
    ruled = engine("plays", category_config={"plays": {"Foul": rule}})
    again = (await ruled.optimize_timeframe_settings(existing, wanted))["Foul"]
    assert again["f1_before"] == again["f1_after"] == 1.0
    assert {key: again[key] for key in rule} == rule


async def test_a_tag_that_was_never_found_and_one_that_should_not_be():
    both = await fitted(result(plays=PLAYS), {"Turnover": [span(5, 8)], "Goal": []})
    assert (both["Turnover"]["precision_after"], both["Turnover"]["recall_after"]) == (1.0, 0.0)
    assert (both["Goal"]["precision_before"], both["Goal"]["precision_after"]) == (0.0, 1.0)


async def test_one_span_may_be_written_without_a_list():
    one = await fitted(
        result(plays=PLAYS), {"Goal": {"start": 20, "end": 30, "total_confidence": 0.9}}
    )
    assert one == await fitted(result(plays=PLAYS), {"Goal": [span(20, 30)]})


async def test_tags_are_named_by_category_where_that_is_needed():
    existing = result(plays=PLAYS, breaks=BREAKS)
    by_category = await fitted(
        existing, {"plays": {"Goal": [span(20, 30)]}, "breaks": {"Goal": []}}, "plays", "breaks"
    )
    assert by_category["plays"]["Goal"]["f1_before"] == 1.0
    assert by_category["breaks"]["Goal"]["f1_before"] == 0.0
    timeout = await fitted(existing, {"Timeout": [span(40, 50)]}, "plays", "breaks")
    assert timeout["Timeout"]["f1_before"] == 1.0


@pytest.mark.parametrize(
    ("desired", "message"),
    [
        ({"Goal": []}, "'Goal' is in several categories: write {category: {'Goal': [...]}}"),
        ({"Fool": []}, "'Fool' is no tag of this result"),
        ({"pauses": {"Goal": []}}, "there is no category 'pauses'; there are: plays, breaks"),
        ({"plays": {"Timeout": []}}, "'Timeout' is no tag of category 'plays'"),
        ({"plays": {"Foul": [{"begin": 3}]}}, "Foul: a span needs a start and an end in seconds"),
        ({"Timeout": [span(8, 3)]}, "a span ends after it starts, unlike 8.0 to 3.0"),
    ],
)
async def test_spans_that_cannot_be_fitted_are_named(desired, message):
    with pytest.raises(ConfigError) as caught:
        await fitted(result(plays=PLAYS | {"Foul": []}, breaks=BREAKS), desired, "plays", "breaks")
    assert message in str(caught.value)


async def test_anything_but_a_result_is_refused():
    with pytest.raises(ConfigError, match="existing_json_data: not a json_result"):
        await fitted({"timespans": []}, {"Foul": []})
