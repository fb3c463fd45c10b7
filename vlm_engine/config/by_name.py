"""Single settings of the engine by name, such as ``search.effort``: for its command line and for
the plugin.

The name begins with the group: ``engine`` (``EngineConfig`` itself), ``model`` (every active
model), ``search``, ``video``, ``image``, or ``default_rule``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic.fields import FieldInfo

from vlm_engine.config.base import SettingsGroup, parse
from vlm_engine.config.models import (
    EngineConfig,
    ImageConfig,
    ModelConfig,
    SearchConfig,
    VideoConfig,
)
from vlm_engine.config.rules import TagRule
from vlm_engine.errors import ConfigError

GROUPS: Mapping[str, type[SettingsGroup]] = {
    "engine": EngineConfig,
    "model": ModelConfig,
    "search": SearchConfig,
    "video": VideoConfig,
    "image": ImageConfig,
    "default_rule": TagRule,
}
_NOTHING: Mapping[str, Any] = MappingProxyType({})
_G = TypeVar("_G", bound=SettingsGroup)


def setting_field(name: str) -> FieldInfo:
    """Return the setting's field: its type, default and bounds."""
    group, _, field = name.partition(".")
    return GROUPS[group].model_fields[field]


def description_of(name: str) -> str:
    """Return the text that describes the setting, in one line."""
    group, _, field = name.partition(".")
    return " ".join(GROUPS[group].descriptions()[field].replace("`", "").split())


def default_of(name: str) -> Any:
    """Return the setting's default; None where it has none."""
    return setting_field(name).get_default(call_default_factory=True)


def parse_setting(name: str, value: Any, where: str) -> Any:
    """Return the setting's value. ``value`` may be text. Raise ``ConfigError``, whose lines
    begin with ``where``.
    """
    group, _, field = name.partition(".")
    needed: dict[str, Any] = {"models": {}} if group == "engine" else {}
    try:
        return getattr(parse(GROUPS[group], {**needed, field: value}, ""), field)
    except ConfigError as error:
        key = f"{field}|{setting_field(name).validation_alias or field}"
        lines = re.sub(rf"^({key})(?=[:.\[])", lambda _: where, str(error), flags=re.MULTILINE)
        raise ConfigError(lines) from None


def set_in(config: EngineConfig, name: str) -> list[Any]:
    """Return the values that ``config`` itself sets for the setting: one, or one for each model
    that sets it.
    """
    group, _, field = name.partition(".")
    parts: Iterable[SettingsGroup] = [config]
    if group == "model":
        parts = config.active_models().values()
    elif group != "engine":
        parts = [getattr(config, group)]
    return [getattr(part, field) for part in parts if field in part.model_fields_set]


def with_settings(
    config: EngineConfig, values: Mapping[str, Any], defaults: Mapping[str, Any] = _NOTHING
) -> EngineConfig:
    """Return ``config`` with ``values``, and with ``defaults`` for what it does not set itself.

    Both are parsed values by the settings' names. Nothing is checked again.
    """

    def changed(group: str, part: _G) -> _G:
        filled = {
            field: value
            for field, value in _of(group, defaults)
            if field not in part.model_fields_set
        }
        return part.model_copy(update={**filled, **dict(_of(group, values))})

    config = changed("engine", config)
    active = config.active_models()
    return config.model_copy(
        update={
            "models": {
                name: changed("model", model) if name in active else model
                for name, model in config.models.items()
            },
            "search": changed("search", config.search),
            "video": changed("video", config.video),
            "image": changed("image", config.image),
            "default_rule": changed("default_rule", config.default_rule),
        }
    )


def _of(group: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if name.startswith(f"{group}."):
            yield name.partition(".")[2], value
