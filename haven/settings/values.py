"""One layer's settings: which there are, what each may be, and what is said when one is wrong."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from haven.settings import typed
from haven.settings.names import STEERING
from vlm_engine import (
    AUTO,
    ConfigError,
    EndpointConfig,
    EngineConfig,
    TagRule,
    VideoConfig,
    check_once,
    checked_layout,
    clean_descriptions,
    clean_name,
    clean_synonyms,
    clean_tags,
    described_apart,
    parse,
    split_tags,
    template_fields,
)

_log = logging.getLogger(__name__)
# Names that configuration files in use still hold and that have no meaning here.
_LEGACY = frozenset(
    "VIDEO_CONFIDENCE_RETURN SERVER_TIMEOUT VLM_INCORRECT_TAG_NAME OUTPUT_DATA_DIR DELETE_INCORRECT_MARKERS".split()
)


class Values(BaseModel):
    """One layer's settings, each optional; their names in capitals are the keys. The defaults are never used."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, alias_generator=str.upper
    )

    endpoints: tuple[EndpointConfig, ...] = ()
    api_key: SecretStr = SecretStr("")
    model: str = ""
    tag_list: tuple[str, ...] = ()
    tag_descriptions: Mapping[str, str] = {}
    tag_synonyms: Mapping[str, tuple[str, ...]] = {}
    prompt: str = Field("", max_length=20_000)
    system_prompt: str = Field("", max_length=20_000)
    user_prompt: str = Field("", max_length=20_000)
    special_tokens: str = Field("", max_length=20_000)
    video_frame_interval: float = Field(0, ge=0, le=3600)
    video_threshold: float = Field(0, ge=0, le=1)
    video_shortest_event: float | None = Field(None, ge=0, le=3600)
    video_search_effort: float = Field(1, ge=0.1, le=10)
    video_questions_per_hour: float | None = Field(None, ge=0, le=100_000)
    video_edge_tolerance: float = Field(1, ge=0.05, le=60)
    concurrent_task_limit: int = Field(1, ge=1, le=64)
    time_slice: float = Field(0, ge=0, le=100_000)
    create_markers: bool = True
    image_galleries: bool = True
    gallery_tag_share: float = Field(0, ge=0, le=1)
    image_from_stash: bool = True
    default_tag_rule: TagRule = TagRule()
    tag_rules: Mapping[str, TagRule] = {}
    vlm_base_tag_name: str = Field("", max_length=200)
    vlm_tagme_tag_name: str = Field("", max_length=200)
    vlm_updateme_tag_name: str = Field("", max_length=200)
    vlm_tagged_tag_name: str = Field("", max_length=200)
    vlm_errored_tag_name: str = Field("", max_length=200)
    path_mutation: tuple[tuple[str, str], ...] = ()
    stream_from_stash: bool = False
    request_timeout: float = Field(1, gt=0, le=3600)
    endpoint_patience: float = Field(0, ge=0, le=86400)
    fallback_wait: float = Field(0, ge=0, le=86400)
    image_max_side: int = Field(64, ge=64, le=4096)
    scan_image_max_side: int = Field(64, ge=64, le=4096)
    scan_frames_per_question: int = Field(1, ge=1, le=16)
    image_frames: int = Field(1, ge=1, le=20)
    image_parts: int = Field(0, ge=0, le=16)
    video_decoding_device: str | None = None
    video_stall_timeout: float = Field(1, ge=1, le=3600)
    vr_layout: str = AUTO
    store_max_mb: int | None = Field(None, ge=0)
    report_folder: str = ""
    reports_kept: int = Field(0, ge=0)
    vlm_engine_config: EngineConfig | None = None

    @field_validator("endpoints", mode="before")
    @classmethod
    def _addresses(cls, value: Any) -> Any:
        entries = typed.addresses(value) if isinstance(value, str) else value
        if not isinstance(entries, list | tuple):
            raise ValueError("write a list of endpoints, each with its base_url")
        return [{"base_url": entry} if isinstance(entry, str) else entry for entry in entries]

    @field_validator("api_key", mode="before")
    @classmethod
    def _without_blanks(cls, value: Any) -> Any:
        return typed.key(value) if isinstance(value, str) else value

    @field_validator("model")
    @classmethod
    def _one_model(cls, name: str) -> str:
        if re.search(r"[,;\n\r]", name.strip()):
            raise ValueError(
                f"{name.strip()!r} is more than one name; write the model's name, and in ENDPOINTS one for each server"
            )
        return name.strip()

    @field_validator("video_shortest_event", "video_questions_per_hour")
    @classmethod
    def _zero_leaves_it_open(cls, value: float | None) -> float | None:
        return value or None

    @field_validator("store_max_mb")
    @classmethod
    def _zero_is_no_limit(cls, value: int | None) -> int | None:
        if value and value < 10:
            raise ValueError(
                "fewer than 10 would not hold the answers about a few videos; 0 is no limit"
            )
        return value or None

    @field_validator("video_decoding_device")
    @classmethod
    def _no_device(cls, kind: str | None) -> str | None:
        return VideoConfig(hwaccel=kind).hwaccel

    @field_validator("vr_layout")
    @classmethod
    def _known_layout(cls, layout: str) -> str:
        return checked_layout(layout)

    @field_validator("tag_list", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        return clean_tags(value)

    @field_validator("tag_descriptions", mode="before")
    @classmethod
    def _descriptions(cls, value: Any) -> Any:
        return clean_descriptions(value)

    @field_validator("tag_synonyms", mode="before")
    @classmethod
    def _synonyms(cls, value: Any) -> Any:
        return clean_synonyms(value)

    @field_validator(*(setting.lower() for setting in STEERING))
    @classmethod
    def _name_in_stash(cls, name: str) -> str:
        return clean_name(name)

    @field_validator("tag_rules")
    @classmethod
    def _one_rule_each(cls, rules: Mapping[str, TagRule]) -> Mapping[str, TagRule]:
        check_once(" ".join(tag.split()) for tag in rules)
        return rules

    @field_validator("system_prompt", "user_prompt")
    @classmethod
    def _fields(cls, template: str) -> str:
        template_fields(template)
        return template

    @field_validator("default_tag_rule")
    @classmethod
    def _for_every_tag(cls, rule: TagRule) -> TagRule:
        if rule.renamed:
            raise ValueError("RenamedTag would give every tag one name; write it under TAG_RULES")
        if "threshold" in rule.model_fields_set:
            raise ValueError("TagThreshold for every tag is VIDEO_THRESHOLD; here it has no place")
        return rule

    @field_validator("report_folder")
    @classmethod
    def _some_folder(cls, folder: str) -> str:
        if not folder.strip() or "\0" in folder:
            raise ValueError("name a folder, like reports or /data/reports")
        return folder.strip()

    @field_validator("path_mutation", mode="before")
    @classmethod
    def _pairs(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = typed.folders(value)
        pairs = value.items() if isinstance(value, Mapping) else value
        if not isinstance(pairs, Iterable) or not all(
            isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs
        ):
            raise ValueError(
                "write each folder of Stash's and where it is here, like /data: /mnt/nas"
            )
        for there, here in pairs:
            if not isinstance(there, str) or not isinstance(here, str):
                raise ValueError(
                    f"{there!r}: {here!r} is no pair of folders; write both as text, like /data: /mnt/nas"
                )
        return tuple(pairs)

    @field_validator("path_mutation")
    @classmethod
    def _whole_paths(cls, pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        stripped = tuple((there.strip(), here.strip()) for there, here in pairs)
        for path in (path for pair in stripped for path in pair):
            if not re.match(r"/|\\\\|[A-Za-z]:([\\/]|$)", path):
                raise ValueError(
                    f"{path!r} is no whole path; it begins with a slash or a drive, like /data or D:\\media"
                )
        return stripped


@dataclass(frozen=True, slots=True)
class Layer:
    """Settings as they came from one place. ``labels``: what a person sees on the settings page instead of a setting's name."""

    where: str
    values: Mapping[Any, Any]
    labels: Mapping[str, str] = field(default_factory=dict)

    def place(self, key: str) -> str:
        """Where a person finds the setting: ``Tags on the settings page``, or a file and its key."""
        return (
            f"{self.labels[key]} on the settings page"
            if key in self.labels
            else f"{self.where}: {key}"
        )

    def only(self, names: Iterable[str]) -> Layer:
        """Nothing but these settings."""
        return replace(
            self, values={name: self.values[name] for name in names if name in self.values}
        )


def read(layer: Layer, faults: list[str]) -> dict[str, Any]:
    """The layer's parsed values by field name; None means not set. ``origins`` has the place of each.

    Adds what is wrong to ``faults``.
    """
    ignored = _without_meaning(layer.values)
    if ignored:
        _log.warning(
            "%s: these settings have no meaning here and are ignored: %s",
            layer.where,
            ", ".join(ignored),
        )
    parsed: dict[str, Any] = {"origins": {}}
    valid = [name.upper() for name in Values.model_fields]
    for key, value in _with_descriptions(layer, faults).items():
        if value is None or key in _LEGACY:
            continue
        if key not in valid:
            faults.append(f"{layer.where}: {_unknown(str(key), valid)}")
            continue
        try:
            parsed[key.lower()] = getattr(parse(Values, {key: value}, ""), key.lower())
        except ConfigError as error:
            faults += [_told(layer, key, value, line) for line in str(error).splitlines()]
        else:
            parsed["origins"][key.lower()] = layer.place(key)
    return parsed


def _told(layer: Layer, key: str, value: Any, line: str) -> str:
    """One fault with its place, and with the value where only what it should be is said. Of keys nothing is shown."""
    step, _, fault = line.partition(": ")
    if (
        fault.startswith("Input should")
        and step == key != "API_KEY"
        and isinstance(value, int | float | str)
    ):
        fault = f"{fault} (it is {value!r})"
    # A field of the page is one line of text: where in its value the fault is means nothing there.
    return (
        f"{layer.place(key)}: {fault}" if key in layer.labels else f"{layer.where}: {step}: {fault}"
    )


def _without_meaning(values: Mapping[Any, Any]) -> list[str]:
    """The settings that only others know, and where an engine would keep its answers: here that is the plugin's own affair."""
    engine = values.get("VLM_ENGINE_CONFIG")
    stored = isinstance(engine, Mapping) and engine.get("store_path") is not None
    return [key for key in values if key in _LEGACY] + ["VLM_ENGINE_CONFIG.store_path"] * stored


def _with_descriptions(layer: Layer, faults: list[str]) -> Mapping[Any, Any]:
    """The descriptions that stand in TAG_LIST, where TAG_DESCRIPTIONS has those that stand apart."""
    values = layer.values
    try:
        names, described = split_tags(_listed(values.get("TAG_LIST")))
    except ValueError as error:
        faults.append(f"{layer.place('TAG_LIST')}: {error}")
        return {key: value for key, value in values.items() if key != "TAG_LIST"}
    if not described:
        return {**values, "TAG_LIST": names} if "TAG_LIST" in values else values
    return {
        **values,
        "TAG_LIST": names,
        "TAG_DESCRIPTIONS": described_apart(described, values.get("TAG_DESCRIPTIONS")),
    }


def _listed(tags: Any) -> Any:
    """The tags as a list. Raises ``ValueError`` where separators are not what they were meant to be."""
    if isinstance(tags, str):
        return typed.tags(tags)
    joined = (
        [tag for tag in tags if isinstance(tag, str) and re.search(r"[;\n]", tag)]
        if isinstance(tags, list | tuple)
        else []
    )
    if joined:
        raise ValueError(
            f"{joined[0]!r} is one name; in a list, separate tags by commas: [Foul, Goal]"
        )
    return tags


def _unknown(key: str, valid: list[str]) -> str:
    near = difflib.get_close_matches(key.upper(), valid, n=1, cutoff=0.5)
    return f"{key}: there is no such setting; " + (
        f"did you mean {near[0]}?" if near else f"there are {', '.join(valid)}"
    )
