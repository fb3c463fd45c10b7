"""Settings of an earlier plugin of this kind, read from its ``haven_vlm_config.py``.

The file is parsed and never run: only constants with literal values count.
"""

from __future__ import annotations

import ast
import ipaddress
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from vlm_engine import ConfigError

_RULE_AS_SHIPPED: Mapping[str, Any] = {
    "MinMarkerDuration": "1s",
    "MaxGap": "30s",
    "RequiredDuration": "1s",
    "TagThreshold": 0.5,
}
"""The rule that every tag of that plugin came with. It bridges gaps of a coarse search."""
_AS_THEY_ARE: Mapping[str, Any] = {
    "CREATE_MARKERS": True,
    "VLM_BASE_TAG_NAME": "VLM",
    "VLM_TAGME_TAG_NAME": "VLM_TagMe",
    "VLM_UPDATEME_TAG_NAME": "VLM_UpdateMe",
    "VLM_TAGGED_TAG_NAME": "VLM_Tagged",
    "VLM_ERRORED_TAG_NAME": "VLM_Errored",
}
"""Settings that mean the same here, with the default that both plugins have."""
_OTHERWISE: Mapping[str, str] = {
    "VIDEO_FRAME_INTERVAL": "the search chooses its frames",
    "VIDEO_THRESHOLD": "confidences are other figures here",
    "CONCURRENT_TASK_LIMIT": "a few scenes keep all endpoints busy here",
    "OUTPUT_DATA_DIR": "the plugin has a data folder of its own",
    "DELETE_INCORRECT_MARKERS": "a moment is called wrong in the scene's tab",
    "VLM_INCORRECT_TAG_NAME": "a moment is called wrong in the scene's tab",
}
"""Settings that are left out, and why."""
_AT_ENDPOINTS = ("name", "weight", "is_fallback", "max_concurrent")
_OWN_NETWORK = (".local", ".lan", ".home", ".internal", ".home.arpa", ".localhost")


@dataclass(slots=True)
class EarlierSettings:
    """Settings from such a file.

    ``settings``: values by this plugin's names. ENDPOINTS is a list of mappings, whose ``api_key``
    may be a secret.
    ``notes``: what was left out, and what to do about it, each a sentence.
    """

    settings: dict[str, Any] = field(default_factory=dict, repr=False)
    notes: list[str] = field(default_factory=list)


def read_earlier(text: str) -> EarlierSettings:
    """Return what a ``haven_vlm_config.py`` of an earlier plugin sets.

    Raise ``ConfigError`` for a text that is no such file.
    """
    found = EarlierSettings()
    constants = _constants(text, found)
    engine = constants.get("VLM_ENGINE_CONFIG")
    if isinstance(engine, Mapping):
        _read_engine(engine, found)
    for name, default in _AS_THEY_ARE.items():
        if name in constants and constants[name] != default:
            found.settings[name] = constants[name]
    found.notes += [
        f"{name} is left out: {why}." for name, why in _OTHERWISE.items() if name in constants
    ]
    if paths := constants.get("PATH_MUTATION"):
        found.notes.append(_paths_by_hand(paths))
    if not found.settings:
        raise ConfigError(
            "this file sets nothing that can be taken over; choose the haven_vlm_config.py of the "
            "earlier plugin"
        )
    return found


def _constants(text: str, found: EarlierSettings) -> Mapping[str, Any]:
    """Return the values of the constants at the top level. Note those that are computed."""
    try:
        module = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(f"this is no Python file that can be read ({error})") from error
    values: dict[str, Any] = {}
    for name, expression in _assigned(module.body):
        try:
            values[name] = ast.literal_eval(expression)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            found.notes.append(f"{name} is left out: it is computed, and the file is not run.")
    return values


def _assigned(body: Sequence[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    for statement in body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name.isupper():
                yield name, value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value) if (
                name.isupper()
            ):
                yield name, value


def _read_engine(engine: Mapping[str, Any], found: EarlierSettings) -> None:
    """Read the model that the engine's configuration names as active."""
    models, active = engine.get("models"), engine.get("active_ai_models")
    named = active if isinstance(active, list | tuple) else [active]
    known = [models[name] for name in named if isinstance(models, Mapping) and name in models]
    if len(known) != 1 or not isinstance(known[0], Mapping):
        found.notes.append(
            "VLM_ENGINE_CONFIG is left out: it has not exactly one active model. It can stand in "
            "haven_vlm_config.local.yaml as it is."
        )
        return
    (model,) = known
    if entries := list(_endpoints(model, found)):
        found.settings["ENDPOINTS"] = entries
    if model.get("model_id"):
        found.settings["MODEL"] = model["model_id"]
    tags = model.get("tag_list")
    if isinstance(tags, list | tuple) and tags:
        found.settings["TAG_LIST"] = list(tags)
        if rules := dict(_rules(engine, model, tags)):
            found.settings["TAG_RULES"] = rules


def _endpoints(model: Mapping[str, Any], found: EarlierSettings) -> Iterator[Mapping[str, Any]]:
    """Yield the endpoints, without those that would get frames although nobody chose them."""
    listed = model.get("multiplexer_endpoints")
    if not listed and model.get("api_base_url"):
        listed = [{"base_url": model["api_base_url"]}]
    for entry in listed if isinstance(listed, list | tuple) else ():
        address = entry.get("base_url") if isinstance(entry, Mapping) else None
        if not isinstance(address, str) or not address.strip():
            continue
        key = str(entry.get("api_key") or "")
        if not key and not _is_in_own_network(address):
            found.notes.append(
                f"The endpoint {address} is left out: it is outside your network and has no key, "
                "so it may be one that the plugin came with. Add it if you want frames to go there."
            )
            continue
        yield {
            "base_url": address,
            **{name: entry[name] for name in _AT_ENDPOINTS if name in entry},
            **({"api_key": key} if key else {}),
        }


def _is_in_own_network(address: str) -> bool:
    """Return whether an address is surely not in the public internet."""
    try:
        host = (urlsplit(address).hostname or "").rstrip(".")
    except ValueError:
        return False
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith(_OWN_NETWORK)


def _rules(
    engine: Mapping[str, Any], model: Mapping[str, Any], tags: Sequence[Any]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield for each tag what its rule has changed."""
    categories = engine.get("category_config")
    of_category = (
        categories.get(model.get("model_category")) if isinstance(categories, Mapping) else None
    )
    for tag in tags:
        rule = of_category.get(tag) if isinstance(of_category, Mapping) else None
        if not isinstance(rule, Mapping):
            continue
        changed = {
            name: rule[name]
            for name, value in _RULE_AS_SHIPPED.items()
            if rule.get(name, value) != value
        }
        if rule.get("RenamedTag", tag) != tag:
            changed["RenamedTag"] = rule["RenamedTag"]
        if changed:
            yield tag, changed


def _paths_by_hand(paths: Any) -> str:
    if isinstance(paths, Mapping):
        line = "; ".join(f"{theirs} => {here}" for theirs, here in paths.items())
        return (
            f"Paths cannot be set by a page. Put this into Paths on Stash's settings page: {line}"
        )
    return f"PATH_MUTATION is left out: {json.dumps(paths, default=str)} is no list of folders."
