"""The layers of settings, and how each is read: the constants, the local file, the overlay
(``haven.settings.overlay``), Stash's page, a task's arguments.
"""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import haven_vlm_config
from haven.settings.plain import LOCAL_FILE
from haven.settings.table import SETTINGS
from vlm_engine import ConfigError, described_apart, parse_yaml, placed, split_tags, tags_in

_log = logging.getLogger(__name__)
# Stash's settings page: the key (Stash sorts by it), the label that a user reads there, and the
# setting it stands for.
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
    "workCluster": ("Cluster", "CLUSTER"),
}
TASK = "task arguments"
"""The place of settings that are set for one task alone."""
_ON, _OFF = frozenset(("true", "yes", "on", "1")), frozenset(("false", "no", "off", "0"))
# Names that configuration files in use still hold and that have no meaning here.
_LEGACY = frozenset(
    "VIDEO_CONFIDENCE_RETURN SERVER_TIMEOUT VLM_INCORRECT_TAG_NAME OUTPUT_DATA_DIR "
    "DELETE_INCORRECT_MARKERS".split()
)


def on_the_page(setting: str) -> str:
    """Return where a user sets ``setting``, for messages: on Stash's page, or in the local file."""
    (label,) = [label for label, name in _PAGE.values() if name == setting]
    return f"{label} on the settings page ({setting} in {LOCAL_FILE})"


def page_labels() -> dict[str, str]:
    """Return each key of the settings page with its label, in the order in which Stash lists
    them.
    """
    return {key: _PAGE[key][0] for key in sorted(_PAGE)}


@dataclass(frozen=True, slots=True)
class Layer:
    """Settings from one place. ``labels``: the names of settings on Stash's page. ``folder``: the
    folder of the file, if it is not the plugin's.
    """

    where: str
    values: Mapping[Any, Any]
    labels: Mapping[str, str] = field(default_factory=dict)
    folder: str = ""

    def place(self, name: str) -> str:
        """Return where a user finds the setting: ``Tags on the settings page``, or a file and
        its key.
        """
        if name in self.labels:
            return f"{self.labels[name]} on the settings page"
        return f"{self.where}: {name}"

    def origin(self, name: str) -> str:
        """Return the place of the setting, with the folder of the file if it has one."""
        return f"{self.where} in {self.folder}: {name}" if self.folder else self.place(name)

    def only(self, names: Iterable[str]) -> Layer:
        """Return the layer with nothing but these settings."""
        return replace(
            self, values={name: self.values[name] for name in names if name in self.values}
        )


def constants_layer() -> Layer:
    """Return the constants of ``haven_vlm_config.py``, and the default of each that is missing
    there.
    """
    constants = vars(haven_vlm_config).items()
    written = {name: value for name, value in constants if name.isupper() and name[0] != "_"}
    defaults = {name: setting.default for name, setting in SETTINGS.items()}
    return Layer(Path(haven_vlm_config.__file__).name, {**defaults, **written})


def file_layer(folder: Path | None, faults: list[str]) -> Layer:
    """Return the local file in ``folder``, empty where there is none. Add what is wrong with it
    to ``faults``.
    """
    folder = folder or Path(haven_vlm_config.__file__).parent
    mistaken = folder / LOCAL_FILE.replace(".yaml", ".yml")
    if mistaken.exists():
        faults.append(
            f"{mistaken.name}: Stash takes every .yml file for a plugin; rename it to {LOCAL_FILE}"
        )
    data: Any = None
    try:
        data = parse_yaml((folder / LOCAL_FILE).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError) as error:
        faults.append(
            f"{LOCAL_FILE}: cannot be read ({error}); save it as UTF-8 text that Stash's user may "
            "read"
        )
    except ConfigError as error:
        faults.append(placed(LOCAL_FILE, error))
    if data is not None and not isinstance(data, Mapping):
        faults.append(f"{LOCAL_FILE}: must hold settings, one 'NAME: value' on each line")
        data = None
    return Layer(LOCAL_FILE, data or {})


def page_layer(stored: Mapping[str, Any]) -> Layer:
    """Return what Stash stores for the plugin. 0, "" and False mean "not set": an untouched field
    has them.
    """
    # Nobody can remove a key there that the manifest no longer declares: so an unknown one is no
    # fault.
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


def task_layer(args: Mapping[str, Any]) -> Layer:
    """Return a task's arguments by the settings' names. "" means "not set"; ``mode`` names the
    task. A tag list among them stands alone.
    """
    given = {key: value for key, value in args.items() if key != "mode" and not _untouched(value)}
    alone: dict[str, Any] = {"STASH_TAGS": []} if "TAG_LIST" in given else {}
    return Layer(TASK, {**alone, **given})


def _untouched(value: Any) -> bool:
    return value.strip() == "" if isinstance(value, str) else not value


def _opposite(value: Any) -> Any:
    """Return the opposite of on or off, also as text. Anything else is refused later."""
    if not isinstance(value, str):
        return not value
    word = value.strip().casefold()
    return word not in _ON if word in _ON | _OFF else value


def read(layer: Layer, faults: list[str]) -> dict[str, Any]:
    """Return the layer's parsed values by name; None means not set. Add what is wrong to
    ``faults``.
    """
    _warn_of_ignored(layer)
    parsed: dict[str, Any] = {}
    for name, value in _with_descriptions(layer, faults).items():
        if value is None or name in _LEGACY:
            continue
        if name not in SETTINGS:
            faults.append(f"{layer.where}: {_unknown(str(name))}")
            continue
        try:
            parsed[name] = SETTINGS[name].parse(value, name)
        except ValueError as error:
            faults.append(f"{layer.place(name)}: {error}")
        except ConfigError as error:
            faults += [_fault(layer, name, value, line) for line in str(error).splitlines()]
    return parsed


def _fault(layer: Layer, name: str, value: Any, line: str) -> str:
    """Return one fault with its place, and with the value if the fault does not name it. Keys are
    never shown.
    """
    key, _, fault = line.partition(": ")
    is_plain = key == name != "API_KEY" and isinstance(value, int | float | str)
    if is_plain and fault.startswith("Input should"):
        fault = f"{fault} (it is {value!r})"
    # A field of the page is one line of text: where in its value the fault is means nothing there.
    return (
        f"{layer.place(name)}: {fault}"
        if name in layer.labels
        else f"{layer.where}: {key}: {fault}"
    )


def _warn_of_ignored(layer: Layer) -> None:
    """Name settings of other versions, and a store path: the plugin has its own data folder for
    answers.
    """
    ignored = [key for key in layer.values if key in _LEGACY]
    engine = layer.values.get("VLM_ENGINE_CONFIG")
    if isinstance(engine, Mapping) and engine.get("store_path") is not None:
        ignored.append("VLM_ENGINE_CONFIG.store_path")
    if ignored:
        _log.warning(
            "%s: these settings have no meaning here and are ignored: %s",
            layer.where,
            ", ".join(ignored),
        )


def _with_descriptions(layer: Layer, faults: list[str]) -> Mapping[Any, Any]:
    """Return the layer's values, with the descriptions that stand in TAG_LIST moved to
    TAG_DESCRIPTIONS.
    """
    if "TAG_LIST" not in layer.values:
        return layer.values
    values = dict(layer.values)
    try:
        values["TAG_LIST"], described = split_tags(_listed(values["TAG_LIST"]))
    except ValueError as error:
        faults.append(f"{layer.place('TAG_LIST')}: {error}")
        return {name: value for name, value in values.items() if name != "TAG_LIST"}
    if described:
        values["TAG_DESCRIPTIONS"] = described_apart(described, values.get("TAG_DESCRIPTIONS"))
    return values


def _listed(tags: Any) -> Any:
    """Return the tags as a list. Raise ``ValueError`` for separators that YAML does not know."""
    if isinstance(tags, str):
        return tags_in(tags)
    for tag in tags if isinstance(tags, list | tuple) else ():
        if isinstance(tag, str) and re.search(r"[;\n]", tag):
            raise ValueError(
                f"{tag!r} is one name; in a list, separate tags by commas: [Foul, Goal]"
            )
    return tags


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name.upper(), SETTINGS, n=1, cutoff=0.5)
    return f"{name}: there is no such setting; " + (
        f"did you mean {near[0]}?" if near else f"there are {', '.join(SETTINGS)}"
    )
