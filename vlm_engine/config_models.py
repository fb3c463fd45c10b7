"""What a user sets for the engine, parsed once and frozen.

Unknown keys are refused with the nearest valid one. Keys that only an older plugin of this kind knew
are accepted and named once in a warning, so that its configuration files load.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from vlm_engine.config_base import Settings, parse, read_yaml
from vlm_engine.errors import ConfigError
from vlm_engine.pipeline_config import PipelineConfig, PipelineModelConfig

__all__ = [
    "EndpointConfig",
    "EngineConfig",
    "Length",
    "ModelConfig",
    "PipelineConfig",
    "PipelineModelConfig",
    "SearchConfig",
    "TagRule",
    "VideoConfig",
    "clean_tags",
    "normal_url",
    "parse",
]


class Length(BaseModel):
    """A stretch of time: so many seconds, or a share of the video. Written ``12``, ``"12s"`` or ``"5%"``."""

    model_config = ConfigDict(frozen=True)
    value: float = Field(ge=0, allow_inf_nan=False)
    unit: Literal["s", "%"] = "s"

    @model_validator(mode="before")
    @classmethod
    def _read(cls, data: Any) -> Any:
        if isinstance(data, int | float) and not isinstance(data, bool):
            return {"value": float(data)}
        if isinstance(data, str):
            match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|%|)\s*", data)
            if not match:
                raise ValueError(f'{data!r} is not a length; write seconds ("12s" or 12) or a share of the video ("5%")')
            return {"value": float(match[1]), "unit": match[2] or "s"}
        return data

    def seconds(self, duration_s: float) -> float:
        """The length in seconds, for a video of ``duration_s``."""
        return self.value * duration_s / 100 if self.unit == "%" else self.value


class TagRule(Settings):
    """How the spans of one tag become markers and tags.

    A span whose confidence is under ``TagThreshold`` is dropped; spans no further apart than ``MaxGap``
    become one; then spans shorter than ``MinMarkerDuration`` are dropped; the tag applies to the whole video
    when what is left lasts at least ``RequiredDuration`` in all. ``RenamedTag`` is its name in the library.
    """

    renamed: str | None = Field(None, validation_alias="RenamedTag", min_length=1)
    min_marker: Length = Field(Length(value=1), validation_alias="MinMarkerDuration")
    max_gap: Length = Field(Length(value=1), validation_alias="MaxGap")
    required: Length = Field(Length(value=1), validation_alias="RequiredDuration")
    threshold: float = Field(0.5, validation_alias="TagThreshold", ge=0, le=1)

    def overridden(self, other: TagRule) -> TagRule:
        """This rule with everything that ``other`` sets itself."""
        return self.model_copy(update={name: getattr(other, name) for name in other.model_fields_set})


class EndpointConfig(Settings):
    """A server that speaks the OpenAI protocol, and how much of the work it gets.

    ``max_concurrent``: how many requests it gets at once; "auto" finds the number with the most answers per second; None
    takes what the server tells, else 1.
    ``ca_file``: certificates in PEM form to trust there beside those of the system.
    """

    base_url: str = Field(validation_alias=AliasChoices("base_url", "api_base_url"))
    api_key: SecretStr = SecretStr("")
    api_key_env: str | None = None
    name: str = ""
    weight: float = Field(1.0, gt=0, allow_inf_nan=False)
    is_fallback: bool = False
    max_concurrent: int | Literal["auto"] | None = None
    model_id: str | None = None
    ca_file: str | None = None

    @field_validator("base_url")
    @classmethod
    def _normal_url(cls, url: str) -> str:
        return normal_url(url)

    @field_validator("api_key", mode="before")
    @classmethod
    def _no_key(cls, key: Any) -> Any:
        return "" if key is None else key

    @field_validator("max_concurrent", mode="before")
    @classmethod
    def _number_or_auto(cls, value: Any) -> Any:
        if value is None or value == "auto":
            return value
        if isinstance(value, bool) or not str(value).isdecimal() or not 1 <= int(value) <= 1024:
            raise ValueError('write a number from 1 to 1024, or "auto"')
        return int(value)

    @property
    def label(self) -> str:
        """The name the user gave, else host and port."""
        return self.name or urlsplit(self.base_url).netloc

    def key(self) -> str:
        """The API key, from the setting or from the environment variable it names; "" where there is none.

        Raises ``ConfigError`` when ``api_key_env`` names a variable that is not set.
        """
        if self.api_key_env and not self.api_key.get_secret_value():
            if self.api_key_env not in os.environ:
                raise ConfigError(f"endpoint {self.label!r}: api_key_env names {self.api_key_env!r}, which is not set")
            return os.environ[self.api_key_env]
        return self.api_key.get_secret_value()


def normal_url(url: str) -> str:
    """The address up to and including its version segment: ``host:1234`` becomes ``http://host:1234/v1``.

    Raises ``ValueError`` for what is no http address.
    """
    url = url.strip()
    if re.match(r"[\w.-]+:\d+(/|$)", url):
        url = f"http://{url}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is not an address; write it like http://localhost:1234/v1")
    if parts.username or parts.password:
        raise ValueError("an address must not hold a user name or password; use api_key")
    if parts.query or parts.fragment:
        raise ValueError(f"{url!r} must end with its path; write it like http://localhost:1234/v1")
    path = re.sub(r"/(chat/completions|models)?/*$", "", parts.path)
    versioned = any(re.fullmatch(r"v\d+\w*", segment) for segment in path.split("/"))
    return f"{parts.scheme}://{parts.netloc}{path}" + ("" if versioned else "/v1")


class ModelConfig(Settings):
    """A model: where it is served, what it is asked, and how.

    Requests in flight over all endpoints never exceed ``max_concurrent_requests``; ``instance_count`` is how many
    videos or pictures it works on at once (the rest wait); ``max_batch_size`` is how many decoded
    frames may wait for a free request. Pictures are sent with ``image_max_side`` pixels on their longest side, the
    many of a video's scan with ``scan_max_side``. ``prompt`` replaces the opening sentence of the question. While no endpoint
    works, questions wait ``endpoint_patience`` seconds for one to come back; unless ``fallback_wait`` is 0, fallback
    endpoints also work when a question would wait longer than that many seconds for the others.

    Of ``type: python`` it is a stage of one's own: ``class`` is the dotted path of a subclass of ``vlm_engine.models.Model``,
    ``options`` are its arguments.
    """

    LEGACY = frozenset(
        "max_queue_size model_threshold model_return_tags model_version model_identifier model_image_size model_info"
        " vlm_model_name use_quantization fill_to_batch_size device category_mappings normalization_config"
        " model_file_name model_license_name systemone_endpoints vlm_detected_tag_confidence".split()
    )

    type: str = "vlm_model"
    class_path: str | None = Field(None, validation_alias="class")
    options: Mapping[str, Any] = Field(default_factory=dict)
    model_id: str = ""
    api_base_url: str | None = None
    api_key: SecretStr = SecretStr("")
    api_key_env: str | None = None
    use_multiplexer: bool = False
    multiplexer_endpoints: tuple[EndpointConfig, ...] = ()
    tag_list: tuple[str, ...] = ()
    model_category: str | None = None
    model_return_confidence: bool = True
    max_concurrent_requests: int | None = Field(None, ge=1, le=4096)
    max_batch_size: int = Field(8, ge=1, le=1024)
    instance_count: int | None = Field(None, ge=1, le=1024)
    max_new_tokens: int = Field(256, ge=8, le=8192)
    request_timeout: float = Field(120.0, gt=0, le=3600)
    endpoint_patience: float = Field(300.0, ge=0, le=86400)
    fallback_wait: float = Field(0.0, ge=0, le=86400)
    temperature: float = Field(0.0, ge=0, le=2)
    special_tokens: str = ""
    prompt: str = ""
    image_max_side: int = Field(1024, ge=64, le=4096)
    scan_max_side: int = Field(512, ge=64, le=4096)
    image_quality: int = Field(88, ge=30, le=95)

    @field_validator("model_category", mode="before")
    @classmethod
    def _one_category(cls, value: Any) -> Any:
        return value[0] if isinstance(value, list | tuple) and len(value) == 1 else value

    @field_validator("multiplexer_endpoints", mode="before")
    @classmethod
    def _no_endpoints(cls, value: Any) -> Any:
        return () if value is None else value

    @field_validator("api_base_url")
    @classmethod
    def _normal_url(cls, url: str | None) -> str | None:
        return None if url is None else normal_url(url)

    @field_validator("tag_list", mode="before")
    @classmethod
    def _clean_tags(cls, tags: Any) -> Any:
        return () if tags is None else clean_tags(tags)

    @model_validator(mode="before")
    @classmethod
    def _a_class_is_python(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and (data.get("class") or data.get("class_path")):
            if data.get("type", "python") != "python":
                raise ValueError(f"a model with a class is of type python, not {data['type']}")
            return {**data, "type": "python"}
        return data

    @property
    def category(self) -> str:
        """The category its tags are reported under."""
        return self.model_category or "tags"

    def endpoints(self) -> tuple[EndpointConfig, ...]:
        """Where its questions go: the listed endpoints where there are any in use, else ``api_base_url``."""
        if self.multiplexer_endpoints and (self.use_multiplexer or self.api_base_url is None):
            return self.multiplexer_endpoints
        if self.api_base_url is None:
            return ()
        return (EndpointConfig(base_url=self.api_base_url, api_key=self.api_key, api_key_env=self.api_key_env),)


def clean_tags(tags: Any) -> tuple[str, ...]:
    """The tags in their order, trimmed. Raises ``ValueError`` for one that is empty, overlong or there twice."""
    if not isinstance(tags, list | tuple) or not all(isinstance(tag, str) for tag in tags):
        raise ValueError("tags are a list of names")
    cleaned = [" ".join(tag.split()) for tag in tags]
    seen: set[str] = set()
    for tag in cleaned:
        if not tag or len(tag) > 200:
            raise ValueError("a tag is a name of 1 to 200 characters")
        if tag.casefold() in seen:
            raise ValueError(f"tag {tag!r} is listed twice")
        seen.add(tag.casefold())
    return tuple(cleaned)


class SearchConfig(Settings):
    """What the search should find, and how exactly.

    ``frame_interval_s`` is the longest time between two looks of the scan; without it, it follows from
    ``shortest_event_s``, the length of the shortest event that must be found, or else from the length of the video: what lies
    between is asked about later, where something is probable. A question is asked where it is worth its price, which falls
    with ``effort``: 2 asks more than 1, .5 less. ``questions_per_hour`` of video bounds how many are asked at all; then they
    go where doubt is largest. An edge that is expected to be off by at most ``edge_tolerance_s`` is not refined further.
    ``second_looks`` asks doubtful verdicts again on another frame.
    """

    frame_interval_s: float | None = Field(None, gt=0, le=3600)
    shortest_event_s: float | None = Field(None, gt=0, le=3600)
    effort: float = Field(1.0, ge=0.1, le=10)
    questions_per_hour: float | None = Field(None, gt=0, le=100_000)
    edge_tolerance_s: float = Field(0.5, ge=0.05, le=60)
    second_looks: bool = True

    def with_interval(self, interval_s: float | None) -> SearchConfig:
        """The same with another scan interval in seconds; None or 0 changes nothing. Raises ``ConfigError``."""
        if not interval_s:
            return self
        return parse(SearchConfig, {**self.model_dump(), "frame_interval_s": interval_s}, "search")

    def interval_for(self, duration_s: float) -> float:
        """Longest time between two looks of the scan, in seconds, in a video of ``duration_s``."""
        if self.frame_interval_s is not None:
            return self.frame_interval_s
        if self.shortest_event_s is not None:
            return min(16.0, max(4.0, 0.8 * self.shortest_event_s))
        return min(12.0, max(3.0, duration_s / 40))


class VideoConfig(Settings):
    """How videos are read.

    ``hwaccel``: the kind of device that decodes ("cuda", "vaapi", "videotoolbox", "d3d11va", "qsv" …); where it cannot,
    and without one, the processor does. A read that brings nothing for ``stall_s`` seconds is given up.
    """

    hwaccel: str | None = None
    stall_s: float = Field(60.0, ge=1, le=3600)

    @field_validator("hwaccel")
    @classmethod
    def _no_device(cls, kind: str | None) -> str | None:
        return (kind or "").strip().lower() or None


class EngineConfig(Settings):
    """Everything the engine needs to know. Only ``models`` and ``active_ai_models`` are needed.

    The tags of each active model make up a category of their own. In a YAML file, a pipeline may be the name of another such
    file beside it.

    ``store_path``: the file that keeps every answer; without one they last as long as the engine. Where it grows beyond
    ``store_max_mb`` megabytes, the videos not used for longest leave it.
    """

    LEGACY = frozenset({"trace_logging"})

    active_ai_models: tuple[str, ...] = ()
    models: Mapping[str, ModelConfig]
    pipelines: Mapping[str, PipelineConfig] = Field(default_factory=dict)
    category_config: Mapping[str, Mapping[str, TagRule]] = Field(default_factory=dict)
    default_rule: TagRule = TagRule()
    search: SearchConfig = SearchConfig()
    video: VideoConfig = VideoConfig()
    store_path: str | None = None
    store_max_mb: int | None = Field(2000, ge=10)
    loglevel: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @model_validator(mode="after")
    def _active_models_are_apart(self) -> Self:
        for name in self.active_ai_models:
            if name not in self.models:
                raise ValueError(f"active_ai_models: {name!r} is not among models: {', '.join(self.models) or 'none'}")
            if self.models[name].type != "vlm_model":
                raise ValueError(f"active_ai_models: {name!r} is of type {self.models[name].type}; only a vlm_model can be asked")
        owners: dict[str, str] = {}
        for name, model in self.active_models().items():
            if model.category in owners:
                both = f"models {owners[model.category]!r} and {name!r}"
                raise ValueError(f"{both} have the same category {model.category!r}: set another model_category in one of them")
            owners[model.category] = name
        return self

    @classmethod
    def _read(cls, path: Path) -> Any:
        data = read_yaml(path)
        if isinstance(data, Mapping) and isinstance(data.get("pipelines"), Mapping):
            pipelines = {
                name: read_yaml(path.parent / own) if isinstance(own, str) else own for name, own in data["pipelines"].items()
            }
            return {**data, "pipelines": pipelines}
        return data

    def active_models(self) -> Mapping[str, ModelConfig]:
        """The models that are asked, by name: those that ``active_ai_models`` names, else all of type vlm_model."""
        usable = {name: model for name, model in self.models.items() if model.type == "vlm_model"}
        return {name: usable[name] for name in self.active_ai_models or usable if name in usable}

    def rule_of(self, category: str, threshold: float | None = None) -> Callable[[str], TagRule]:
        """The rule for each tag of a category: the default, and what the tag overrides.

        ``threshold`` replaces the default rule's, not one that a tag sets itself.
        """
        default = self.default_rule if threshold is None else self.default_rule.model_copy(update={"threshold": threshold})
        own = self.category_config.get(category, {})
        return lambda tag: default.overridden(own[tag]) if tag in own else default
