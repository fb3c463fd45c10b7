"""The names of tags in Stash: what steers the plugin there has names that nothing else has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vlm_engine import EngineConfig, TagRule

STEERING = (
    "VLM_BASE_TAG_NAME",
    "VLM_TAGME_TAG_NAME",
    "VLM_UPDATEME_TAG_NAME",
    "VLM_TAGGED_TAG_NAME",
    "VLM_ERRORED_TAG_NAME",
)
"""The settings that name the tags by which the plugin is told what to do and says what it did."""


def steering(values: Mapping[str, Any]) -> tuple[str, ...]:
    """The names that ``STEERING`` set, in that order."""
    return tuple(values[setting.lower()] for setting in STEERING)


def faults(values: Mapping[str, Any]) -> list[str]:
    """Each tag that would be one of those that steer the plugin, with the settings that say so. Case makes no difference."""
    owners: dict[str, str] = {}
    named = list(zip(STEERING, steering(values), strict=True))
    for setting, name in named:
        owners.setdefault(name.casefold(), setting)
    found = [
        (setting, name, owners.get(name.casefold(), setting))
        for setting, name in [*named, *_others(values)]
    ]
    return [
        f"{_place(values, setting)}: {name!r} is the name that {owner} has, too; the tags that steer the plugin need names that"
        " nothing else has (case makes no difference)"
        for setting, name, owner in found
        if owner != setting
    ]


def _place(values: Mapping[str, Any], setting: str) -> str:
    """Where ``TAG_RULES.Foul.RenamedTag`` was set."""
    name, dot, below = setting.partition(".")
    origins: Mapping[str, str] = values["origins"]
    return origins.get(name.lower(), name) + dot + below


def _others(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What tags are called that may be found, each with the setting that says so."""
    for tag in values["tag_list"]:
        yield "TAG_LIST", tag
    for where, rules in _rules(values).items():
        for tag, rule in rules.items():
            if rule.renamed is not None:
                yield f"{where}.{tag}.RenamedTag", rule.renamed


def _rules(values: Mapping[str, Any]) -> dict[str, Mapping[str, TagRule]]:
    """The rules that count, by where they are set."""
    engine: EngineConfig | None = values.get("vlm_engine_config")
    if engine is None:
        return {"TAG_RULES": values["tag_rules"]}
    own = {
        model.category: engine.category_config.get(model.category, {})
        for model in engine.active_models().values()
    }
    placed = {
        "TAG_RULES"
        if rules is values["tag_rules"]
        else f"VLM_ENGINE_CONFIG.category_config.{category}": rules
        for category, rules in own.items()
    }
    return placed | {"VLM_ENGINE_CONFIG": {"default_rule": engine.default_rule}}
