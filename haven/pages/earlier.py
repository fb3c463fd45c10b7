"""The operation ``earlier_settings``: from the file of an earlier plugin to the overlay."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from haven.pages.context import PageContext
from haven.pages.contract import (
    ChangeSettingsArguments,
    EarlierSettingsArguments,
    EarlierSettingsValue,
    SettingChange,
    TakenSetting,
)
from haven.pages.settings import change_settings, prepared, settings
from haven.settings.earlier import read_earlier


def earlier_settings(
    context: PageContext, arguments: EarlierSettingsArguments
) -> EarlierSettingsValue:
    """Return what a ``haven_vlm_config.py`` of an earlier plugin sets, and write it if asked to.

    Raises ``ConfigError`` for a text that is no such file, and as ``change_settings`` does.
    """
    found = read_earlier(arguments.text)
    changes = ChangeSettingsArguments(arguments.revision, tuple(_changes(found.settings)))
    if arguments.write:
        after = change_settings(context, changes)
    else:
        prepared(context, changes)
        after = settings(context)
    taken = (TakenSetting(name, _shown(name, value)) for name, value in found.settings.items())
    return EarlierSettingsValue(tuple(taken), tuple(found.notes), after)


def _changes(found: Mapping[str, Any]) -> Iterable[SettingChange]:
    for name, value in found.items():
        as_sent = [_as_sent(one) for one in value] if name == "ENDPOINTS" else value
        yield SettingChange(name, json.dumps(as_sent))


def _as_sent(endpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an endpoint as a page sends it."""
    others = {name: value for name, value in endpoint.items() if name != "api_key"}
    key = endpoint.get("api_key")
    return {**others, "key": {"set": key} if key else "none"}


def _shown(name: str, value: Any) -> str:
    """Return a value as a person reads it, without keys."""
    match value:
        case list() if name == "ENDPOINTS":
            return ", ".join(one["base_url"] for one in value)
        case list():
            return ", ".join(map(str, value))
        case str():
            return value
    return json.dumps(value, ensure_ascii=False)
