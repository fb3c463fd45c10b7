"""Rules fitted to spans that a person has put right."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from vlm_engine import VLMEngine
from vlm_engine.config.models import EngineConfig, parse
from vlm_engine.errors import ConfigError

PLAYS = {"Foul": [(0, 4, 0.9), (7, 11, 0.9), (60, 70, 0.45)], "Goal": [(20, 30, 0.9)]}
BREAKS = {"Timeout": [(40, 50, 0.9)], "Goal": [(40, 42, 0.9)]}


def config(*categories: str) -> EngineConfig:
    own = {"api_base_url": "http://localhost:9", "tag_list": ["Foul", "Goal", "Turnover"]}
    return parse(
        EngineConfig, {"models": {name: {**own, "model_category": name} for name in categories}}, ""
    )


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


def fitted(existing: Mapping[str, Any], desired: Mapping[str, Any], *categories: str) -> Any:
    async def run() -> Any:
        return await VLMEngine(config(*(categories or ("plays",)))).optimize_timeframe_settings(
            existing, desired
        )

    return asyncio.run(run())


def span(start: float, end: float) -> dict[str, float]:
    return {"start": start, "end": end}


def test_precision_and_recall_are_told_before_and_after() -> None:
    foul = fitted(result(plays=PLAYS), {"Foul": [span(0, 11), span(60, 70)]})["Foul"]
    assert (foul["precision_before"], foul["recall_before"], foul["f1_before"]) == (0.0, 0.0, 0.0)
    assert (foul["precision_after"], foul["recall_after"], foul["f1_after"]) == (1.0, 1.0, 1.0)
    assert foul["MaxGap"] >= 3
    assert foul["TagThreshold"] <= 0.45


def test_the_fitted_rule_does_in_the_engine_what_it_promises() -> None:
    existing, wanted = result(plays=PLAYS), {"Foul": [span(0, 11), span(60, 70)]}
    best = fitted(existing, wanted)["Foul"]
    rule = {
        key: best[key]
        for key in ("TagThreshold", "MaxGap", "MinMarkerDuration", "RequiredDuration")
    }
    ruled = parse(
        EngineConfig,
        {**config("plays").model_dump(), "category_config": {"plays": {"Foul": rule}}},
        "",
    )
    again = asyncio.run(VLMEngine(ruled).optimize_timeframe_settings(existing, wanted))["Foul"]
    assert again["f1_before"] == again["f1_after"] == 1.0
    assert {key: again[key] for key in rule} == rule


def test_a_tag_that_was_never_found_and_one_that_should_not_be() -> None:
    both = fitted(result(plays=PLAYS), {"Turnover": [span(5, 8)], "Goal": []})
    assert (both["Turnover"]["precision_after"], both["Turnover"]["recall_after"]) == (1.0, 0.0)
    assert (both["Goal"]["precision_before"], both["Goal"]["precision_after"]) == (0.0, 1.0)


def test_one_span_may_be_written_without_a_list() -> None:
    one = fitted(result(plays=PLAYS), {"Goal": {"start": 20, "end": 30, "total_confidence": 0.9}})
    assert one == fitted(result(plays=PLAYS), {"Goal": [span(20, 30)]})


def test_tags_are_named_by_category_where_that_is_needed() -> None:
    existing = result(plays=PLAYS, breaks=BREAKS)
    by_category = fitted(
        existing, {"plays": {"Goal": [span(20, 30)]}, "breaks": {"Goal": []}}, "plays", "breaks"
    )
    assert by_category["plays"]["Goal"]["f1_before"] == 1.0
    assert by_category["breaks"]["Goal"]["f1_before"] == 0.0
    assert (
        fitted(existing, {"Timeout": [span(40, 50)]}, "plays", "breaks")["Timeout"]["f1_before"]
        == 1.0
    )


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
def test_spans_that_cannot_be_fitted_are_named(desired: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        fitted(result(plays=PLAYS | {"Foul": []}, breaks=BREAKS), desired, "plays", "breaks")
    assert message in str(caught.value)


def test_anything_but_a_result_is_refused() -> None:
    with pytest.raises(ConfigError, match="existing_json_data: not a json_result"):
        fitted({"timespans": []}, {"Foul": []})
