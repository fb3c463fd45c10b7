"""The layers merged into one: each setting from the last layer that has it, the engine's in one
``EngineConfig``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import SecretStr

from haven.settings.layers import Layer
from haven.settings.table import ENGINE
from vlm_engine import (
    EndpointConfig,
    EngineConfig,
    ModelConfig,
    TagRule,
    described_apart,
    set_in,
    tag_key,
    with_settings,
)

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_WHOLE = "VLM_ENGINE_CONFIG"
_BARE = EngineConfig(models={"vlm": ModelConfig(model_category="tags")}, active_ai_models=("vlm",))


@dataclass(slots=True)
class Merged:
    """The values of all layers by name, each from the last layer that has it, and the place of
    each (``origins``).

    ``whole``: the last whole configuration of the engine. It overrides the other values of its
    layer and of the layers below. Settings ``above`` it override it.
    ``every_tag``: the tags of all layers, also of layers that another overrides.
    """

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    whole: EngineConfig | None = None
    above: set[str] = field(default_factory=set)
    every_tag: list[str] = field(default_factory=list)

    def engine(self) -> EngineConfig:
        """Return the engine's configuration: the whole one, what it leaves open, and what the
        layers above it set.
        """
        named = {row.engine: row.name for row in ENGINE if row.engine and row.name in self.values}
        config = with_settings(
            self.whole or _BARE,
            {engine: self.values[name] for engine, name in named.items() if name in self.above},
            {engine: self.values[name] for engine, name in named.items()},
        )
        models, categories = dict(config.models), dict(config.category_config)
        for name, model in config.active_models().items():
            models[name] = self._complete(model)
            if "TAG_RULES" in self.above or model.category not in categories:
                categories[model.category] = by_tag(self.values["TAG_RULES"], model.tag_list)
        return config.model_copy(update={"models": models, "category_config": categories})

    def _complete(self, model: ModelConfig) -> ModelConfig:
        """Return ``model`` with its endpoints, and with descriptions and synonyms of its own tags
        only.
        """
        endpoints = model.endpoints()
        if "ENDPOINTS" in self.above or not endpoints:
            endpoints = self.values["ENDPOINTS"]
        return model.model_copy(
            update={
                "multiplexer_endpoints": tuple(map(self._with_key, endpoints)),
                "use_multiplexer": True,
                "tag_descriptions": by_tag(model.tag_descriptions, model.tag_list),
                "synonyms": by_tag(model.synonyms, model.tag_list),
            }
        )

    def _with_key(self, endpoint: EndpointConfig) -> EndpointConfig:
        key: SecretStr | None = self.values.get("API_KEY")
        has_own = endpoint.api_key.get_secret_value() or endpoint.api_key_env
        return endpoint.model_copy(update={"api_key": key}) if key and not has_own else endpoint

    def warn_of_unused(self, tags: Iterable[str]) -> None:
        """Log what may be misspelt: rules for other tags than ``tags``, descriptions and synonyms
        of unknown tags.
        """
        every_tag = self.every_tag
        for kind, name, known in (
            ("rules for", "TAG_RULES", tags),
            ("descriptions of", "TAG_DESCRIPTIONS", every_tag),
            ("synonyms of", "TAG_SYNONYMS", every_tag),
        ):
            keys = set(map(tag_key, known))
            unused = [tag for tag in self.values[name] if tag_key(tag) not in keys]
            if unused:
                _log.warning(
                    "There are %s tags that are not looked for: %s", kind, ", ".join(unused)
                )


def merge(layers: Iterable[tuple[Layer, Mapping[str, Any]]]) -> Merged:
    """Return all layers, the lowest first, each with its parsed values, as one."""
    merged = Merged()
    for layer, parsed in layers:
        values = dict(parsed)
        merged.origins.update({name: layer.origin(name) for name in values})
        merged.above |= values.keys()
        if whole := values.get(_WHOLE):
            merged.whole, merged.above = whole, set()
            in_whole = _values_in(whole)
            merged.origins.update(dict.fromkeys(in_whole, layer.origin(_WHOLE)))
            values |= in_whole
        if "ENDPOINTS" in values and "API_KEY" not in values:
            merged.values.pop("API_KEY", None)  # it was meant for other servers than these
        if "TAG_DESCRIPTIONS" in values:
            values["TAG_DESCRIPTIONS"] = described_apart(
                merged.values.get("TAG_DESCRIPTIONS", {}), values["TAG_DESCRIPTIONS"]
            )
        merged.values |= values
        merged.every_tag += values.get("TAG_LIST", ())
    return merged


def tags_of(engine: EngineConfig) -> tuple[str, ...]:
    """Return the tags of all active models, each once."""
    models = engine.active_models().values()
    return tuple({tag_key(tag): tag for model in models for tag in model.tag_list}.values())


def by_tag(values: Mapping[str, _T], tags: Iterable[str]) -> dict[str, _T]:
    """Return what ``values`` has for ``tags``, in their spelling."""
    spelling = {tag_key(tag): tag for tag in tags}
    keyed = {tag_key(name): value for name, value in values.items()}
    return {spelling[key]: value for key, value in keyed.items() if key in spelling}


def _values_in(whole: EngineConfig) -> dict[str, Any]:
    """Return what ``whole`` sets, by the settings' names: the first model's values, and the tags
    of all models.
    """
    values = {
        row.name: found[0] for row in ENGINE if row.engine and (found := set_in(whole, row.engine))
    }
    if tags := tags_of(whole):
        values["TAG_LIST"] = tags
    endpoints = [model.endpoints() for model in whole.active_models().values()]
    if any(endpoints):
        values["ENDPOINTS"] = next(filter(None, endpoints))
    rules: dict[str, TagRule] = {}
    for model in whole.active_models().values():
        rules |= whole.category_config.get(model.category, {})
    if rules:
        values["TAG_RULES"] = rules
    return values
