"""What a user sets for the engine, parsed once and frozen.

Unknown keys are refused with the nearest valid one. Keys that only an older plugin of this kind knew
are accepted and named once in a warning, so that its configuration files load.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from vlm_engine.config.base import (
    ZERO_IS_NONE,
    Frames,
    Megabytes,
    PerHour,
    Pixels,
    Requests,
    Seconds,
    SettingsGroup,
    Tokens,
    parse,
    read_yaml,
)
from vlm_engine.config.endpoints import EndpointConfig, normal_url
from vlm_engine.config.pipelines import PipelineConfig, PipelineModelConfig
from vlm_engine.config.rules import Length, TagRule
from vlm_engine.config.wording import WordingConfig, clean_tags
from vlm_engine.names import tag_key
from vlm_engine.vr import AUTO, checked_layout

__all__ = [
    "EndpointConfig",
    "EngineConfig",
    "ImageConfig",
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


class ModelConfig(WordingConfig):
    """A model: where it is served, what it is asked, and how. Of ``type: python`` it is a stage of one's own."""

    if TYPE_CHECKING:

        def __init__(self, **settings: Any) -> None: ...

    LEGACY = frozenset(
        "max_queue_size model_threshold model_return_tags model_version model_identifier model_image_size model_info"
        " vlm_model_name use_quantization fill_to_batch_size device category_mappings normalization_config"
        " model_file_name model_license_name systemone_endpoints vlm_detected_tag_confidence".split()
    )

    type: str = "vlm_model"
    """`vlm_model` is asked about pictures, `python` is a stage of one's own. Other types are taken and not used."""

    class_path: str | None = Field(None, validation_alias="class")
    """The dotted path of a subclass of `vlm_engine.models.Model`, which makes it of type `python`."""

    options: Mapping[str, Any] = Field(default_factory=dict)
    """The arguments with which that class is called."""

    model_id: str = ""
    """The model's name as its servers know it. Empty: the one that the first endpoint to answer has loaded."""

    api_base_url: str | None = None
    """The address of its server, with or without `/v1`. For several, see `multiplexer_endpoints`."""

    api_key: SecretStr = SecretStr("")
    """The key for `api_base_url`. Keys never show in logs and errors."""

    api_key_env: str | None = None
    """The environment variable that holds the key, where `api_key` is empty."""

    use_multiplexer: bool = False
    """Whether `multiplexer_endpoints` are asked although `api_base_url` is set, too. Without that they are in any case."""

    multiplexer_endpoints: tuple[EndpointConfig, ...] = ()
    """The servers that share the questions."""

    model_category: str | None = None
    """The category under which its tags are reported. None: `tags`."""

    scan_model: str | None = None
    """A smaller model, by its name among `models`, that does the scan of videos for this one: it is asked about this one's tags,
    and this one only about what then is in doubt."""

    model_return_confidence: bool = True
    """Whether to ask how probable its answers are. Without that an answer counts as a plain yes or no: pictures have no
    confidences, and no threshold an effect on them."""

    max_concurrent_requests: Annotated[Requests | None, ZERO_IS_NONE] = Field(None, ge=1, le=4096)
    """At most so many requests are under way at once, over all endpoints. None: as many as these take."""

    max_batch_size: Frames = Field(8, ge=1, le=1024)
    """How many frames may be decoded and wait for a free request, over all videos: more need more memory."""

    instance_count: Annotated[int | None, ZERO_IS_NONE] = Field(None, ge=1, le=1024)
    """How many videos or pictures are worked on at once; the others wait. None: all that are asked for."""

    max_new_tokens: Tokens = Field(256, ge=8, le=8192)
    """The longest answer that is taken. A long list of tags gets as many as it needs."""

    request_timeout: Seconds = Field(120.0, gt=0, le=3600)
    """How long to wait for one answer. While no other endpoint works, the first may take 2.5 times as long, up to 300 s: the
    server may be loading its model. An endpoint whose answers are known to come quickly is waited for less long."""

    endpoint_patience: Seconds = Field(300.0, ge=0, le=86400)
    """How long questions wait for an endpoint to come back while none works. Where none ever answered, at most 3."""

    fallback_wait: Seconds = Field(0.0, ge=0, le=86400)
    """Fallback endpoints also work when a question would wait longer than this for the others. 0: only when no other works."""

    temperature: float = Field(0.0, ge=0, le=2)
    """How freely the model words its answers. 0 is what finding tags needs."""

    image_max_side: Pixels = Field(1024, ge=64, le=4096)
    """The longest side of the pictures that are sent. Smaller ones are not enlarged."""

    scan_max_side: Pixels = Field(512, ge=64, le=4096)
    """The same for the scan of a video, which is most of the pictures. Raise it when small things are missed."""

    frames_per_question: Frames = Field(1, ge=1, le=16)
    """How many frames the scan of a video asks about at once, numbered and timed: fewer requests for the same pictures. How well
    a model tells several pictures apart differs much, so try it on your own videos. A server that takes only one gets one."""

    image_quality: int = Field(88, ge=30, le=95)
    """The JPEG quality of the pictures that are sent."""

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
        return (
            EndpointConfig(
                base_url=self.api_base_url, api_key=self.api_key, api_key_env=self.api_key_env
            ),
        )


class SearchConfig(SettingsGroup):
    """What the search should find, and how exactly."""

    if TYPE_CHECKING:

        def __init__(self, **settings: Any) -> None: ...

    frame_interval_s: Annotated[Seconds | None, ZERO_IS_NONE] = Field(None, gt=0, le=3600)
    """The longest time between two looks of the scan. None: it follows from `shortest_event_s`, or else from the length of the
    video, from 3 s in a short one to 12 s. What lies between two looks is asked about later, where something is probable."""

    shortest_event_s: Annotated[Seconds | None, ZERO_IS_NONE] = Field(None, gt=0, le=3600)
    """The length of the shortest event that must be found: the shorter, the more questions."""

    effort: float = Field(1.0, ge=0.1, le=10)
    """How much a question is worth: 2 asks about a third more of them than 1, .5 a fifth fewer."""

    questions_per_hour: Annotated[PerHour | None, ZERO_IS_NONE] = Field(None, gt=0, le=100_000)
    """At most so many questions for an hour of video; they go where doubt is largest. None: all that are worth it."""

    edge_tolerance_s: Seconds = Field(0.5, ge=0.05, le=60)
    """An end of a span that is expected to be off by no more than this is not refined further."""

    second_looks: bool = True
    """Whether doubtful verdicts are asked again, on another frame of the same shot."""

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


class VideoConfig(SettingsGroup):
    """How videos are read."""

    if TYPE_CHECKING:

        def __init__(self, **settings: Any) -> None: ...

    hwaccel: str | None = None
    """The kind of device that decodes: `cuda`, `vaapi`, `videotoolbox`, `d3d11va`, `qsv` … What it cannot decode, and everything
    where it is None, the processor does."""

    stall_s: Seconds = Field(60.0, ge=1, le=3600)
    """How long to wait for a disk or network share that brings nothing more of a video or picture; then it is given up."""

    vr_layout: str = AUTO
    """How the frames of VR videos are laid out: `sbs-180`, `tb-360` …; `auto` goes by a file's name and shape, `off` shows them
    whole."""

    @field_validator("hwaccel")
    @classmethod
    def _no_device(cls, kind: str | None) -> str | None:
        return (kind or "").strip().lower() or None

    @field_validator("vr_layout")
    @classmethod
    def _known_layout(cls, layout: str) -> str:
        return checked_layout(layout)


class ImageConfig(SettingsGroup):
    """What of a picture is shown to a model."""

    if TYPE_CHECKING:

        def __init__(self, **settings: Any) -> None: ...

    frames: int = Field(5, ge=1, le=20)
    """How many moments of a moving picture, or of a video clip, are looked at, spread over all of it; those that look the same
    are asked about once."""

    parts: int = Field(0, ge=0, le=16)
    """A still with more detail than one picture of `image_max_side` shows is looked at as a whole, and then in at most so many
    parts. 0: as a whole only."""


class EngineConfig(SettingsGroup):
    """Everything the engine needs to know. Only ``models`` and ``active_ai_models`` are needed."""

    if TYPE_CHECKING:

        def __init__(self, **settings: Any) -> None: ...

    LEGACY = frozenset({"trace_logging"})

    active_ai_models: tuple[str, ...] = ()
    """The models that are asked, by name. The tags of each make up a category of their own. Empty: all of type
    `vlm_model`, but for those that only scan for others."""

    models: Mapping[str, ModelConfig]
    """The models, by the names that the rest of the settings calls them."""

    pipelines: Mapping[str, PipelineConfig] = Field(default_factory=dict)
    """Pipelines of one's own, by name; `video` and `image` are built in. In a YAML file, one may be the name of another such file
    beside it."""

    category_config: Mapping[str, Mapping[str, TagRule]] = Field(default_factory=dict)
    """What differs from `default_rule` for single tags: `{category: {tag: rule}}`, with the tags' names as the model is asked;
    their case does not matter. Rules for other tags are named in a warning."""

    default_rule: TagRule = TagRule()
    """The rule for all tags, but for what `category_config` sets."""

    search: SearchConfig = SearchConfig()
    """What the search should find, and how exactly."""

    video: VideoConfig = VideoConfig()
    """How videos are read."""

    image: ImageConfig = ImageConfig()
    """What of a picture is shown to a model."""

    store_path: str | None = None
    """The file that keeps every answer, so that nothing is asked twice. None: they last as long as the engine."""

    store_max_mb: Annotated[Megabytes | None, ZERO_IS_NONE] = Field(2000, ge=10)
    """Where the store grows beyond this, the videos not used for longest leave it. None: it may grow."""

    loglevel: Literal["DEBUG", "INFO", "WARNING", "ERROR"] | None = None
    """The least level at which the logger `vlm_engine` logs. None: as the program's own logging says."""

    @model_validator(mode="after")
    def _active_models_are_apart(self) -> Self:
        for name in self.active_ai_models:
            if name not in self.models:
                raise ValueError(
                    f"active_ai_models: {name!r} is not among models: {', '.join(self.models) or 'none'}"
                )
            if self.models[name].type != "vlm_model":
                raise ValueError(
                    f"active_ai_models: {name!r} is of type {self.models[name].type}; only a vlm_model can be asked"
                )
        owners: dict[str, str] = {}
        for name, model in self.active_models().items():
            if model.category in owners:
                both = f"models {owners[model.category]!r} and {name!r}"
                raise ValueError(
                    f"{both} have the same category {model.category!r}: set another model_category in one of them"
                )
            owners[model.category] = name
        for name, model in self.models.items():
            scanner = model.scan_model
            if scanner is not None and (
                scanner == name
                or scanner not in self.models
                or self.models[scanner].type != "vlm_model"
            ):
                raise ValueError(
                    f"models.{name}.scan_model: {scanner!r} is not another vlm_model among models"
                )
        return self

    @classmethod
    def _read(cls, path: Path) -> Any:
        data = read_yaml(path)
        if isinstance(data, Mapping) and isinstance(data.get("pipelines"), Mapping):
            pipelines = {
                name: read_yaml(path.parent / own) if isinstance(own, str) else own
                for name, own in data["pipelines"].items()
            }
            return {**data, "pipelines": pipelines}
        return data

    def active_models(self) -> Mapping[str, ModelConfig]:
        """The models whose tags are asked about, by name: those that ``active_ai_models`` names, else all of type vlm_model but
        for those that only scan for others."""
        usable = {name: model for name, model in self.models.items() if model.type == "vlm_model"}
        scanning = {model.scan_model for model in usable.values()}
        names = self.active_ai_models or [name for name in usable if name not in scanning]
        return {name: usable[name] for name in names if name in usable}

    def scanner_for(self, model: ModelConfig) -> ModelConfig:
        """The ``scan_model`` of a model, made to ask about its tags: what they mean, and are called, it knows from there where it
        has no other word for it."""
        assert model.scan_model is not None
        small = self.models[model.scan_model]
        meanings = {
            "tag_descriptions": {**model.tag_descriptions, **small.tag_descriptions},
            "synonyms": {**model.synonyms, **small.synonyms},
        }
        return small.model_copy(update={"tag_list": model.tag_list, **meanings})

    def rule_of(self, category: str, threshold: float | None = None) -> Callable[[str], TagRule]:
        """The rule for each tag of a category: the default, and what the tag overrides.

        ``threshold`` replaces the default rule's, not one that a tag sets itself.
        """
        default = (
            self.default_rule
            if threshold is None
            else self.default_rule.model_copy(update={"threshold": threshold})
        )
        own = {tag_key(tag): rule for tag, rule in self.category_config.get(category, {}).items()}
        return lambda tag: default.overridden(own[tag_key(tag)]) if tag_key(tag) in own else default

    def unused_rules(self) -> list[str]:
        """The rules of ``category_config``, as ``category: tag``, for tags that no active model is asked about."""
        asked = {
            (model.category, tag_key(tag))
            for model in self.active_models().values()
            for tag in model.tag_list
        }
        ruled = [(category, tag) for category, own in self.category_config.items() for tag in own]
        return [
            f"{category}: {tag}" for category, tag in ruled if (category, tag_key(tag)) not in asked
        ]
