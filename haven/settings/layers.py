"""The places that settings come from, besides the constants: the local file, Stash's page, a task's arguments."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from haven.settings.values import Layer
from vlm_engine import ConfigError, parse_yaml, placed

_log = logging.getLogger(__name__)
LOCAL_FILE = "haven_vlm_config.local.yaml"
# The settings page: its key (Stash sorts by it), the label a person reads there, and the setting it stands for.
_PAGE = {
    "endpoint": ("Endpoint", "ENDPOINTS"),
    "endpointKey": ("API key", "API_KEY"),
    "endpointModel": ("Model", "MODEL"),
    "mediaPaths": ("Paths", "PATH_MUTATION"),
    "mediaStream": ("Read through Stash", "STREAM_FROM_STASH"),
    "tagNames": ("Tags", "TAG_LIST"),
    "tagsOnly": ("Tags only, no markers", "CREATE_MARKERS"),
    "timeSlice": ("Minutes until others' turn", "TIME_SLICE"),
    "videoInterval": ("Seconds between frames", "VIDEO_FRAME_INTERVAL"),
    "videosAtOnce": ("Scenes at once", "CONCURRENT_TASK_LIMIT"),
    "vrLayout": ("VR layout", "VR_LAYOUT"),
}
_ON, _OFF = frozenset(("true", "yes", "on", "1")), frozenset(("false", "no", "off", "0"))


WHERE_TAGS_ARE_SET = f"{_PAGE['tagNames'][0]} on the settings page (TAG_LIST in {LOCAL_FILE})"
"""For messages."""


def page_labels() -> dict[str, str]:
    """Each key of the settings page and what a person reads there, in the order in which Stash lists them."""
    return {key: _PAGE[key][0] for key in sorted(_PAGE)}


def page_layer(stored: Mapping[str, Any]) -> Layer:
    """What Stash stores for the plugin. 0, "" and False are what an untouched field shows: not set."""
    # Nobody can remove a key there that the manifest no longer declares: so an unknown one is no fault.
    unknown = sorted(set(stored) - set(_PAGE))
    if unknown:
        _log.info(
            "Stash still stores settings that this version does not know: %s", ", ".join(unknown)
        )
    given = {
        _PAGE[key][1]: value
        for key, value in stored.items()
        if key in _PAGE and not _untouched(value)
    }
    if "CREATE_MARKERS" in given:
        given["CREATE_MARKERS"] = _opposite(given["CREATE_MARKERS"])
    labels = {name: label for label, name in _PAGE.values()}
    return Layer("Stash's settings page", given, {**labels, "TAG_DESCRIPTIONS": labels["TAG_LIST"]})


def _opposite(value: Any) -> Any:
    """Of on and off, also as text, which Stash stores where a program sets it. Anything else is left for the check to refuse."""
    if not isinstance(value, str):
        return not value
    word = value.strip().casefold()
    return word not in _ON if word in _ON | _OFF else value


def _untouched(value: Any) -> bool:
    return value.strip() == "" if isinstance(value, str) else not value


def task_layer(args: Mapping[str, str]) -> Layer:
    """A task's arguments: text under the settings' names. "" is not set; ``mode`` names the task and is passed over."""
    return Layer(
        "task arguments",
        {key: text for key, text in args.items() if key != "mode" and not _untouched(text)},
    )


def file_layer(folder: Path, faults: list[str]) -> Layer:
    """The local file in ``folder``, empty where there is none. Adds what is wrong with it to ``faults``."""
    mistaken = folder / LOCAL_FILE.replace(".yaml", ".yml")
    if mistaken.exists():
        faults.append(
            f"{mistaken.name}: Stash takes every .yml file for a plugin; rename it to {LOCAL_FILE}"
        )
    try:
        text = (folder / LOCAL_FILE).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return Layer(LOCAL_FILE, {})
    except (OSError, UnicodeDecodeError) as error:
        faults.append(
            f"{LOCAL_FILE}: cannot be read ({error}); save it as UTF-8 text that Stash's user may read"
        )
        return Layer(LOCAL_FILE, {})
    return Layer(LOCAL_FILE, _yaml(text, faults))


def _yaml(text: str, faults: list[str]) -> Mapping[Any, Any]:
    try:
        data = parse_yaml(text)
    except ConfigError as error:
        faults.append(placed(LOCAL_FILE, error))
        return {}
    if data is None:
        return {}
    if not isinstance(data, Mapping):
        faults.append(f"{LOCAL_FILE}: must hold settings, one 'NAME: value' on each line")
        return {}
    return data
