"""The settings that shape a question, together as the engine takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from vlm_engine import ConfigError, WordingConfig, parse, tag_key

_T = TypeVar("_T")

NAMES = {
    "tag_list": "tag_list",
    "tag_descriptions": "tag_descriptions",
    "tag_synonyms": "synonyms",
    "prompt": "prompt",
    "system_prompt": "system_prompt",
    "user_prompt": "user_prompt",
    "special_tokens": "special_tokens",
}
"""The settings that shape a question, and what the engine calls them."""


def wording(values: Mapping[str, Any]) -> WordingConfig:
    """Raises ``ConfigError``. What is told of tags that are not looked for is left out."""
    own = {engine: values[name] for name, engine in NAMES.items()}
    for told in ("tag_descriptions", "synonyms"):
        own[told] = by_tag(own[told], values["tag_list"])
    return parse(WordingConfig, own, "")


def faults(values: Mapping[str, Any]) -> list[str]:
    """What is wrong with the words as a whole, by where they were set."""
    origins = values["origins"]
    names = {engine: origins.get(name, name.upper()) for name, engine in NAMES.items()}
    try:
        wording(values)
    except ConfigError as error:
        told = [line.partition(": ") for line in str(error).splitlines()]
        return [f"{names.get(engine, engine)}: {fault}" for engine, _, fault in told]
    return []


def unused(told: Mapping[str, Any], tags: tuple[str, ...]) -> list[str]:
    """The names in ``told`` that are none of ``tags``."""
    return [name for name in told if not by_tag({name: None}, tags)]


def by_tag(told: Mapping[str, _T], tags: tuple[str, ...]) -> dict[str, _T]:
    """What is told of ``tags``, under their spelling."""
    spelling = {tag_key(tag): tag for tag in tags}
    folded = {tag_key(name): value for name, value in told.items()}
    return {spelling[key]: value for key, value in folded.items() if key in spelling}
