"""Settings for the page: each with its source, and endpoints without their keys. A page changes
what lies in the overlay.

A key leaves this module only into the overlay's file. A page that a person did not mean may call
these operations too, so a stored key stays with its address, and no path or variable can be set.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from haven.pages.context import PageContext
from haven.pages.contract import (
    ChangeSettingsArguments,
    EndpointChange,
    EndpointValue,
    NewKey,
    SettingChange,
    SettingsValue,
    SettingValue,
    UndoSettingsArguments,
)
from haven.pages.errors import BadRequestError, ChangedError
from haven.pages.forms import parsed
from haven.settings.layers import page_layer
from haven.settings.merge import Merged
from haven.settings.overlay import (
    Overlay,
    RevisionError,
    read_before,
    read_overlay,
    restore_overlay,
    write_overlay,
)
from haven.settings.settings import Settings
from haven.settings.stash_tags import TagChoice
from haven.settings.table import SETTINGS, Setting
from vlm_engine import ClusterConfig, ConfigError, EndpointConfig, TagRule

_SECRET = ("API_KEY", "VLM_ENGINE_CONFIG", "ENDPOINTS")
"""Settings whose values may hold a key: they are never returned."""
_BY_HAND = ("API_KEY", "VLM_ENGINE_CONFIG", "PATH_MUTATION", "REPORT_FOLDER", "CLUSTER")
"""Settings that a page cannot change: they hold keys or paths, or a machine that is trusted."""
_KINDS: Mapping[type, Any] = {
    str: "text",
    bool: "switch",
    int: "number",
    float: "number",
    list: "list",
}


def settings(context: PageContext) -> SettingsValue:
    """Return every setting with its source. Raises ``StashError``, and ``ConfigError`` for a
    damaged overlay.
    """
    overlay = read_overlay(context.data_dir)
    page = context.server.settings
    merged, faults = Settings.with_faults(page, context.data_dir)
    values = tuple(_setting(setting, merged) for setting in SETTINGS.values())
    return SettingsValue(
        overlay.revision,
        values,
        tuple(map(_endpoint, endpoints_of(merged))),
        faults,
        can_undo=read_before(context.data_dir) is not None,
    )


def endpoints_of(merged: Merged) -> tuple[EndpointConfig, ...]:
    """Return the endpoints that a run asks, in the order in which pages count them."""
    return tuple(endpoint for endpoint, _ in merged.engine().used_endpoints())


def _setting(setting: Setting, merged: Merged) -> SettingValue:
    name = setting.name
    default = _written(setting.default)
    value = _written(merged.values.get(name)) if name not in _SECRET else None
    if name == "ENDPOINTS":
        value = [{"base_url": one.base_url, "name": one.name} for one in endpoints_of(merged)]
    return SettingValue(
        name=name,
        value=json.dumps(default if value is None else value),
        source=merged.origins.get(name, ""),
        text=setting.text,
        default=json.dumps(default),
        kind=_KINDS.get(type(default), "object"),
        is_editable=name not in _BY_HAND,
        hides=tuple(merged.hidden.get(name, ())),
    )


def _written(value: Any) -> Any:
    """Return a value as a user writes it in JSON."""
    match value:
        case TagRule() | TagChoice():
            return value.as_written()
        case Mapping():
            return {name: _written(one) for name, one in value.items()}
        case tuple() | list():
            return [_written(one) for one in value]
        case Path():
            return str(value)
        case ClusterConfig():
            written = value.model_dump(mode="json", exclude_defaults=True)
            return written if len(written) > 1 else value.address
    return value


def _endpoint(endpoint: EndpointConfig) -> EndpointValue:
    has_key = bool(endpoint.api_key.get_secret_value())
    return EndpointValue(
        name=endpoint.name,
        address=endpoint.base_url,
        key="set" if has_key else "environment" if endpoint.api_key_env else "none",
        model=endpoint.model_id or "",
        weight=endpoint.weight,
        is_fallback=endpoint.is_fallback,
        max_concurrent=endpoint.max_concurrent,
    )


def change_settings(context: PageContext, arguments: ChangeSettingsArguments) -> SettingsValue:
    """Change settings in the overlay, all or none. Return all settings after it.

    Raises ``ChangedError`` if the overlay was written since, ``BadRequestError`` for a setting that
    a page may not change, ``ConfigError`` that lists new faults, and ``StashError``.
    """
    before, changes = prepared(context, arguments)
    try:
        write_overlay(context.data_dir, changes, before.revision)
    except RevisionError as error:
        raise ChangedError(_CHANGED) from error
    return settings(context)


def prepared(
    context: PageContext, arguments: ChangeSettingsArguments
) -> tuple[Overlay, Mapping[str, Any]]:
    """Return the overlay, and what the changes would write into it. Raises as ``change_settings``
    does.
    """
    before = read_overlay(context.data_dir)
    if before.revision != arguments.revision:
        raise ChangedError(_CHANGED)
    page = context.server.settings
    merged, faults = Settings.with_faults(page, context.data_dir)
    changes: dict[str, Any] = {}
    for index, change in enumerate(arguments.changes):
        changes |= _change(change, f"changes[{index}]", merged, page)
    _check(context, before, changes, faults)
    return before, changes


def undo_settings(context: PageContext, arguments: UndoSettingsArguments) -> SettingsValue:
    """Undo the last change that the page wrote. Return all settings after it; once more brings the
    change back. Raises as ``change_settings`` does.
    """
    earlier = read_before(context.data_dir)
    if earlier is not None:
        page = context.server.settings
        _, faults = Settings.with_faults(page, context.data_dir)
        _check(context, earlier, {}, faults)
    try:
        restore_overlay(context.data_dir, arguments.revision)
    except RevisionError as error:
        raise ChangedError(_CHANGED) from error
    return settings(context)


_CHANGED = "The settings were changed meanwhile, perhaps in another tab. Look at them again."


def _change(
    change: SettingChange, place: str, merged: Merged, page: Mapping[str, Any]
) -> Mapping[str, Any]:
    if change.name not in SETTINGS or change.name in _BY_HAND:
        raise BadRequestError(f"{place}.name: a page cannot change the setting {change.name}")
    value = None if change.value is None else _json(change.value, f"{place}.value")
    if change.name != "ENDPOINTS":
        return {change.name: value}
    # The key was meant for the endpoints that are replaced. Those that keep it get it as theirs.
    replaced = {"API_KEY": None}
    if value is None:
        return {"ENDPOINTS": None, **replaced}
    if merged.whole is not None:
        raise ConfigError(
            f"{merged.origins['VLM_ENGINE_CONFIG']} sets the endpoints; change them there"
        )
    return {"ENDPOINTS": _endpoints(value, f"{place}.value", merged, page), **replaced}


def _json(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"{place}: is no JSON") from error


def _endpoints(
    entries: Any, place: str, merged: Merged, page: Mapping[str, Any]
) -> Sequence[Mapping[str, Any]]:
    if not isinstance(entries, list):
        raise BadRequestError(f"{place}: write a list")
    changes = [
        parsed(EndpointChange, entry, f"{place}[{index}]") for index, entry in enumerate(entries)
    ]
    keyless = [change.base_url for change in changes if change.key == "none"]
    if keyless and "API_KEY" in page_layer(page).values:
        raise ConfigError(
            "Stash's settings page has an API key for the plugin, which would be sent to "
            f"{', '.join(keyless)}. Clear it there first, or set another key here"
        )
    stored = endpoints_of(merged)
    return [
        dict(_entry(change, stored, f"{place}[{index}]")) for index, change in enumerate(changes)
    ]


def _entry(
    change: EndpointChange, stored: Sequence[EndpointConfig], place: str
) -> Iterator[tuple[str, Any]]:
    """Yield the settings of one endpoint as the overlay stores them."""
    for name in ("base_url", "model_id", "weight", "is_fallback", "max_concurrent"):
        yield name, getattr(change, name)
    yield "name", _name(change, stored)
    if isinstance(change.key, NewKey):
        yield "api_key", change.key.set
    if change.was is None and change.key == "keep":
        raise BadRequestError(f"{place}.key: a new endpoint has no key to keep")
    if change.was is None:
        return
    if change.was >= len(stored):
        raise BadRequestError(f"{place}.was: there is no such endpoint")
    earlier = stored[change.was]
    has_moved = _normal(change.base_url, place) != earlier.base_url
    if change.key == "keep":
        if has_moved and _has_key(earlier):
            raise ConfigError(
                f"The key of {earlier.base_url} is not sent to another address. Enter the key for "
                f"{change.base_url}, or choose none"
            )
        yield "api_key", earlier.api_key.get_secret_value()
        yield "api_key_env", earlier.api_key_env
    yield "worker", earlier.worker
    if not has_moved:
        yield "ca_file", earlier.ca_file


def _name(change: EndpointChange, stored: Sequence[EndpointConfig]) -> str:
    """Return the endpoint's name. That of the default is its server's, so it stays behind when the
    address changes; a name that a person gave moves along.
    """
    (default,) = SETTINGS["ENDPOINTS"].default
    is_moved = change.base_url.rstrip("/") != default["base_url"]
    is_of_default = (
        change.was is not None
        and change.was < len(stored)
        and stored[change.was].base_url == default["base_url"]
    )
    is_left = is_moved and is_of_default and change.name == default["name"]
    return "" if is_left else change.name


def _has_key(endpoint: EndpointConfig) -> bool:
    return bool(endpoint.api_key.get_secret_value() or endpoint.api_key_env)


def _normal(address: str, place: str) -> str:
    try:
        return EndpointConfig(base_url=address).base_url
    except ValueError as error:
        raise ConfigError(f"{place}.base_url: this is not an address") from error


def _check(
    context: PageContext, before: Overlay, changes: Mapping[str, Any], known: Sequence[str]
) -> None:
    """Raise ``ConfigError`` for faults that the changes would bring in."""
    after = {
        name: value for name, value in {**before.settings, **changes}.items() if value is not None
    }
    _, faults = Settings.with_faults(context.server.settings, context.data_dir, after)
    if new := [fault for fault in faults if fault not in known]:
        raise ConfigError("\n".join(new))
