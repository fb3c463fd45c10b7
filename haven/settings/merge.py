"""The layers merged into one: each setting from the last layer that has it, the engine's in one
``EngineConfig``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import SecretStr

import haven_vlm_config
from haven.settings.layers import Layer
from haven.settings.stash_tags import ChosenTags, ReadTree, choose, last_known
from haven.settings.table import ENGINE, EXAMPLE_TAGS
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
CONTROL_TAGS = (
    "VLM_BASE_TAG_NAME",
    "VLM_TAGME_TAG_NAME",
    "VLM_UPDATEME_TAG_NAME",
    "VLM_TAGGED_TAG_NAME",
    "VLM_ERRORED_TAG_NAME",
)
_BARE = EngineConfig(models={"vlm": ModelConfig(model_category="tags")}, active_ai_models=("vlm",))


@dataclass(slots=True)
class Merged:
    """The values of all layers by name, each from the last layer that has it, and the place of
    each (``origins``).

    ``whole``: the last whole configuration of the engine. It overrides the other values of its
    layer and of the layers below. Settings ``above`` it override it.
    ``hidden``: the places whose value of a setting is not used, by name, the latest first.
    ``set_by_user``: what any layer but the defaults has.
    ``every_tag``: the tags of all layers, also of layers that another overrides.
    ``chosen``: the tags of Stash that ``choose_tags`` found. They are none of ``values``.
    """

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    whole: EngineConfig | None = None
    above: set[str] = field(default_factory=set)
    hidden: dict[str, list[str]] = field(default_factory=dict)
    set_by_user: set[str] = field(default_factory=set)
    every_tag: list[str] = field(default_factory=list)
    chosen: ChosenTags = field(default_factory=ChosenTags)

    def choose_tags(
        self, read_tree: ReadTree | None, names_seen: Mapping[str, Sequence[str]]
    ) -> None:
        """Find the tags of ``STASH_TAGS``: here alone they become part of the tag list.

        ``read_tree``: returns Stash's tags; called if it is needed. None: Stash is not asked, and
        single tags count under their last known names. Then the example list does not count.
        """
        choices = self.values["STASH_TAGS"] if "STASH_TAGS" in self.above else ()
        if not choices:
            return
        if self.values["TAG_LIST"] == EXAMPLE_TAGS and is_constant(self.origins["TAG_LIST"]):
            self.values["TAG_LIST"] = ()
        if read_tree is None:
            self.chosen = last_known(choices)
            return
        listed = self.values["TAG_LIST"]
        rules = by_tag(self.values["TAG_RULES"], listed)
        in_stash = {rule.renamed: tag for tag, rule in rules.items() if rule.renamed}
        synonyms = by_tag(self.values["TAG_SYNONYMS"], listed).values()
        self.chosen = choose(
            choices,
            read_tree(),
            {tag_key(name): tag for name, tag in (in_stash | {tag: tag for tag in listed}).items()},
            taken={tag_key(name) for names in synonyms for name in names},
            never=[str(self.values[name]) for name in CONTROL_TAGS],
            respects_ignore=self.values["RESPECT_IGNORE_AUTO_TAG"],
            names_seen=names_seen,
        )

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
                categories[model.category] = self._rules_of(models[name].tag_list)
        return config.model_copy(update={"models": models, "category_config": categories})

    def _complete(self, model: ModelConfig) -> ModelConfig:
        """Return ``model`` with its endpoints, and with descriptions and synonyms of its own tags
        only.
        """
        endpoints = model.every_endpoint()
        if "ENDPOINTS" in self.above or not endpoints:
            endpoints = self.values["ENDPOINTS"]
        listed = set(map(tag_key, model.tag_list))
        tags = (*model.tag_list, *(one for one in self.chosen.names if tag_key(one) not in listed))
        described = by_tag(self.chosen.meanings, tags)
        described |= self._of_tags(model.tag_descriptions, tags)
        return model.model_copy(
            update={
                "multiplexer_endpoints": tuple(map(self._with_key, endpoints)),
                "use_multiplexer": True,
                "tag_list": tags,
                "tag_descriptions": {tag: text for tag, text in described.items() if text},
                "synonyms": by_tag(self.chosen.synonyms, tags)
                | self._of_tags(model.synonyms, tags),
            }
        )

    def _rules_of(self, tags: Iterable[str]) -> dict[str, TagRule]:
        """Return the rules for ``tags``. A tag of Stash with odd blanks keeps its name there."""
        rules = self._of_tags(self.values["TAG_RULES"], tags)
        for one in self.chosen.tags:
            rule, there = rules.get(one.name, TagRule()), one.tag.name.strip()
            if rule.renamed is None and there != one.name and there.split() == one.name.split():
                rules[one.name] = rule.overridden(TagRule(renamed=there))
        return rules

    def _of_tags(self, values: Mapping[str, _T], tags: Iterable[str]) -> dict[str, _T]:
        """Return what ``values`` has for ``tags``, also under a name that a tag had before."""
        former = {
            self.chosen.former.get(tag_key(name), name): value
            for name, value in values.items()
            if tag_key(name) in self.chosen.former
        }
        return by_tag(former, tags) | by_tag(values, tags)

    def _with_key(self, endpoint: EndpointConfig) -> EndpointConfig:
        key: SecretStr | None = self.values.get("API_KEY")
        has_own = endpoint.api_key.get_secret_value() or endpoint.api_key_env
        return endpoint.model_copy(update={"api_key": key}) if key and not has_own else endpoint

    def warn_of_unused(self, tags: Iterable[str]) -> None:
        """Log what may be misspelt: rules for other tags than ``tags``, descriptions and synonyms
        of unknown tags.
        """
        every_tag = [*self.every_tag, *self.chosen.names]
        for kind, name, known in (
            ("rules for", "TAG_RULES", tags),
            ("descriptions of", "TAG_DESCRIPTIONS", every_tag),
            ("synonyms of", "TAG_SYNONYMS", every_tag),
        ):
            keys = {*map(tag_key, known), *self.chosen.former}
            unused = [tag for tag in self.values[name] if tag_key(tag) not in keys]
            if unused:
                _log.warning(
                    "There are %s tags that are not looked for: %s", kind, ", ".join(unused)
                )


def merge(layers: Iterable[tuple[Layer, Mapping[str, Any]]]) -> Merged:
    """Return all layers, the lowest first, each with its parsed values, as one. The first holds the
    defaults, which hide nothing.
    """
    merged = Merged()
    for number, (layer, parsed) in enumerate(layers):
        values = dict(parsed)
        for name in values if number > 1 else ():
            if (place := merged.origins.get(name)) and name in merged.set_by_user:
                merged.hidden.setdefault(name, []).insert(0, place)
        merged.set_by_user |= values.keys() if number else set()
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


def is_constant(origin: str) -> bool:
    """Return True for the place of a setting that nobody has set."""
    return origin.startswith(Path(haven_vlm_config.__file__).name)


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
    endpoints = [model.every_endpoint() for model in whole.active_models().values()]
    if any(endpoints):
        values["ENDPOINTS"] = next(filter(None, endpoints))
    rules: dict[str, TagRule] = {}
    for model in whole.active_models().values():
        rules |= whole.category_config.get(model.category, {})
    if rules:
        values["TAG_RULES"] = rules
    return values
