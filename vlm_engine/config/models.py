"""The engine's settings, parsed once and frozen.

Unknown keys are refused with the nearest valid one. Keys that only an older plugin of this kind
knew are accepted and named once in a warning, so that its configuration files load.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from vlm_engine.config.cluster import ClusterConfig
from vlm_engine.config.endpoints import EndpointConfig, normal_url
from vlm_engine.config.pipelines import PipelineConfig, PipelineModelConfig
from vlm_engine.config.rules import Length, TagRule
from vlm_engine.config.wording import WordingConfig, clean_tags
from vlm_engine.names import tag_key
from vlm_engine.vr import AUTO, checked_layout

__all__ = [
    "ClusterConfig",
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
    """A model: where it is served, what it is asked, and how. With ``type: python`` it is a stage
    of your own.
    """

    if TYPE_CHECKING:

        def __init__(self, **settings: Any) -> None: ...

    LEGACY = frozenset(
        "max_queue_size model_threshold model_return_tags model_version model_identifier "
        "model_image_size model_info"
        " vlm_model_name use_quantization fill_to_batch_size device category_mappings "
        "normalization_config"
        " model_file_name model_license_name systemone_endpoints"
        " vlm_detected_tag_confidence".split()
    )

    type: str = "vlm_model"
    """`vlm_model` is asked about pictures. `python` is a stage of your own. Other types are
    accepted and not used."""

    class_path: str | None = Field(None, validation_alias="class")
    """The dotted path of a subclass of `vlm_engine.models.Model`. It makes the type `python`."""

    options: Mapping[str, Any] = Field(default_factory=dict)
    """The arguments of that class."""

    model_id: str = ""
    """The model's name on its servers. Empty: the model that the first endpoint to answer has
    loaded."""

    api_base_url: str | None = None
    """The address of its server, with or without `/v1`. For several servers, see
    `multiplexer_endpoints`."""

    api_key: SecretStr = SecretStr("")
    """The key for `api_base_url`. Keys never show in logs and errors."""

    api_key_env: str | None = None
    """The environment variable that holds the key, where `api_key` is empty."""

    use_multiplexer: bool = False
    """Use `multiplexer_endpoints` even if `api_base_url` is set. Without `api_base_url` they are
    always used."""

    multiplexer_endpoints: tuple[EndpointConfig, ...] = ()
    """The servers that share the questions."""

    model_category: str | None = None
    """The category that its tags are reported under. None: `tags`."""

    scan_model: str | None = None
    """A smaller model, by its name in `models`, that scans videos for this one. It is asked
    about this model's tags, and this model only about what is in doubt afterwards."""

    model_return_confidence: bool = True
    """Ask how probable the answers are. Otherwise an answer is a plain yes or no: pictures then
    have no confidence, and no threshold applies to them."""

    max_concurrent_requests: Annotated[Requests | None, ZERO_IS_NONE] = Field(None, ge=1, le=4096)
    """The most requests in flight at once, over all endpoints. None or 0: as many as the
    endpoints take."""

    max_batch_size: Frames = Field(8, ge=1, le=1024)
    """The most frames that are decoded and wait for a free request, over all videos. More frames
    need more memory."""

    instance_count: Annotated[int | None, ZERO_IS_NONE] = Field(None, ge=1, le=1024)
    """The most videos or pictures to work on at once. The others wait. None or 0: no limit."""

    max_new_tokens: Tokens = Field(256, ge=8, le=8192)
    """The longest answer. A long list of tags gets as many tokens as it needs."""

    request_timeout: Seconds = Field(120.0, gt=0, le=3600)
    """The time to wait for one answer. While no other endpoint works, the first answer may take
    2.5 times as long, up to 300 s, because the server may be loading its model. An endpoint that
    is known to answer quickly gets less time."""

    endpoint_patience: Seconds = Field(300.0, ge=0, le=86400)
    """The time to wait for an endpoint to come back when none works. If none has ever answered,
    at most 3 s."""

    fallback_wait: Seconds = Field(0.0, ge=0, le=86400)
    """Fallback endpoints also help when a question would wait longer than this for the others.
    0: only when no other endpoint works."""

    temperature: float = Field(0.0, ge=0, le=2)
    """Freedom of the model in its wording. Finding tags needs 0."""

    image_max_side: Pixels = Field(1024, ge=64, le=4096)
    """The longest side of the pictures that are sent. Smaller pictures are not enlarged."""

    scan_max_side: Pixels = Field(512, ge=64, le=4096)
    """The longest side of frames of videos that are sent small. See `frame_size`."""

    frame_size: Literal["auto", "small", "full"] = "auto"
    """The size of the frames of videos. `small`: at most 512 pixels, unless you set another
    size. `full`: as large as other pictures, which costs several times as much. `auto`: small,
    until comparisons show that the model misses too much in small ones."""

    answer_form: Literal["auto", "list", "names", "verdicts"] = "auto"
    """The form of answers about frames of videos. `list`: the tags that show, in JSON. `names`:
    the same without JSON, for servers that need no schema. `verdicts`: yes or no for each tag,
    which takes several times as long. `auto`: lists, until comparisons show that the model
    leaves too much out of them."""

    frames_compared: int = Field(32, ge=0, le=1000)
    """The most frames of a video that are asked about once more, in full size or for verdicts,
    to learn what `auto` should be: at most one in 12 of the first scan, and about one when enough
    is known. They come on top of all other questions. 0: none."""

    frames_per_question: Frames = Field(1, ge=1, le=16)
    """The number of frames that the first scan of a video puts into one question, numbered and
    timed: fewer requests for the same pictures. Some models cannot tell several pictures apart,
    so try it on your own videos. A server that takes only one picture gets one."""

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
        """The category that its tags are reported under."""
        return self.model_category or "tags"

    def endpoints(self, *worker: str) -> tuple[EndpointConfig, ...]:
        """Return the endpoints for its questions, without those of other workers.

        ``worker``: the names of the worker of a cluster that asks; none for any other process.
        """
        return tuple(one for one in self.every_endpoint() if one.worker in ("", *worker))

    def every_endpoint(self) -> tuple[EndpointConfig, ...]:
        """Return the endpoints of all workers: the listed ones if they are in use, else
        ``api_base_url``.
        """
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
    """Settings of the search in a video: what it should find, and how exactly."""

    if TYPE_CHECKING:

        def __init__(self, **settings: Any) -> None: ...

    frame_interval_s: Annotated[Seconds | None, ZERO_IS_NONE] = Field(None, gt=0, le=3600)
    """The longest time between two frames of the first scan. None or 0: it follows from
    `shortest_event_s`, or else from the length of the video, from 3 s in a short one to 12 s.
    Frames between are asked about later where something is probable."""

    shortest_event_s: Annotated[Seconds | None, ZERO_IS_NONE] = Field(None, gt=0, le=3600)
    """The length of the shortest event that must be found. Shorter events need more questions.
    None or 0: the search chooses."""

    effort: float = Field(1.0, ge=0.1, le=10)
    """The value of a question: 2 takes a quarter more of the model's time than 1, and 0.5 a sixth
    less."""

    questions_per_hour: Annotated[PerHour | None, ZERO_IS_NONE] = Field(None, gt=0, le=100_000)
    """The most questions to ask for an hour of video. They are asked where the answer is least
    certain. None or 0: no limit."""

    seconds_per_hour: Annotated[Seconds | None, ZERO_IS_NONE] = Field(None, gt=0, le=1_000_000)
    """The most model seconds to spend on an hour of video, by what questions have cost so far.
    None or 0: no limit."""

    learn_costs: bool = True
    """Choose questions by what they cost on your endpoints, as learnt from their answers when the
    search of a video begins. Off: by usual costs, so that two runs ask the same of the same
    answers, whatever the speed."""

    edge_tolerance_s: Seconds = Field(0.5, ge=0.05, le=60)
    """The accuracy of the ends of spans. An end that is probably closer than this is not
    refined."""

    second_looks: bool = True
    """Ask doubtful answers again, with another frame of the same shot."""

    def with_interval(self, interval_s: float | None) -> SearchConfig:
        """Return the settings with another scan interval in seconds. None and 0 change nothing.
        Raise ``ConfigError``.
        """
        if not interval_s:
            return self
        return parse(SearchConfig, {**self.model_dump(), "frame_interval_s": interval_s}, "search")

    def at_least(self, effort: float) -> SearchConfig:
        """Return the settings with this effort if it is more than theirs."""
        return self if effort <= self.effort else self.model_copy(update={"effort": effort})

    def interval_for(self, duration_s: float) -> float:
        """Return the longest time between two frames of the first scan, in seconds, in a video of
        ``duration_s``.
        """
        if self.frame_interval_s is not None:
            return self.frame_interval_s
        if self.shortest_event_s is not None:
            return min(16.0, max(4.0, 0.8 * self.shortest_event_s))
        return min(12.0, max(3.0, duration_s / 40))


class VideoConfig(SettingsGroup):
    """Settings for reading videos."""

    if TYPE_CHECKING:

        def __init__(self, **settings: Any) -> None: ...

    hwaccel: str | None = None
    """The device that decodes: `cuda`, `vaapi`, `videotoolbox`, `d3d11va`, `qsv` … The processor
    decodes what the device cannot. None: the processor decodes everything."""

    stall_s: Seconds = Field(60.0, ge=1, le=3600)
    """The time to wait for a disk or network share that delivers nothing more of a file. Then
    the file fails."""

    vr_layout: str = AUTO
    """The layout of the frames of VR videos: `sbs-180`, `tb-360` … `auto`: as a file's name and
    shape say. `off`: whole frames are shown."""

    @field_validator("hwaccel")
    @classmethod
    def _no_device(cls, kind: str | None) -> str | None:
        return (kind or "").strip().lower() or None

    @field_validator("vr_layout")
    @classmethod
    def _known_layout(cls, layout: str) -> str:
        return checked_layout(layout)


class ImageConfig(SettingsGroup):
    """Settings for the pictures that a model is shown."""

    if TYPE_CHECKING:

        def __init__(self, **settings: Any) -> None: ...

    frames: int = Field(5, ge=1, le=20)
    """The number of moments of a moving picture or a clip to look at, spread over all of it.
    Moments that look the same are asked about once."""

    parts: int = Field(0, ge=0, le=16)
    """The most parts that a large still is also shown in, if it has more detail than one picture
    of `image_max_side` shows. 0: only the whole still."""


class EngineConfig(SettingsGroup):
    """All settings of the engine. Only ``models`` is needed."""

    if TYPE_CHECKING:

        def __init__(self, **settings: Any) -> None: ...

    LEGACY = frozenset({"trace_logging"})

    active_ai_models: tuple[str, ...] = ()
    """The models that are asked, by name. The tags of each are a category of their own. Empty:
    every `vlm_model` that does not only scan for another."""

    models: Mapping[str, ModelConfig]
    """The models, by the names that other settings use for them."""

    pipelines: Mapping[str, PipelineConfig] = Field(default_factory=dict)
    """Pipelines of your own, by name. `video` and `image` are built in. In a YAML file, a
    pipeline may be the name of another YAML file beside it."""

    category_config: Mapping[str, Mapping[str, TagRule]] = Field(default_factory=dict)
    """Differences from `default_rule` for single tags: `{category: {tag: rule}}`, with the
    tags' names in `tag_list`. Case makes no difference. A warning names rules for other tags."""

    default_rule: TagRule = TagRule()
    """The rule for every tag, where `category_config` sets nothing else."""

    search: SearchConfig = SearchConfig()
    """The search in videos."""

    video: VideoConfig = VideoConfig()
    """Reading videos."""

    image: ImageConfig = ImageConfig()
    """The pictures that a model is shown."""

    cluster: ClusterConfig | None = None
    """The Dask cluster whose workers look at videos and pictures: its address, or its settings.
    None: this process does."""

    store_path: str | None = None
    """The file that keeps every answer, so that nothing is asked twice. None: answers are kept
    while the engine is open."""

    store_max_mb: Annotated[Megabytes | None, ZERO_IS_NONE] = Field(2000, ge=10)
    """The size limit of that file. Above it, the videos not used for longest are removed. None
    or 0: no limit."""

    check_endpoints: bool = False
    """Ask each endpoint about two test pictures before its first question. One whose answers do
    not depend on the picture, or are about another picture, is left out. A good result counts for
    a day."""

    loglevel: Literal["DEBUG", "INFO", "WARNING", "ERROR"] | None = None
    """The lowest level that the logger `vlm_engine` logs. None: as your program's logging is set
    up."""

    @model_validator(mode="after")
    def _active_models_are_apart(self) -> Self:
        for name in self.active_ai_models:
            if name not in self.models:
                raise ValueError(
                    f"active_ai_models: {name!r} is not among models: "
                    f"{', '.join(self.models) or 'none'}"
                )
            if self.models[name].type != "vlm_model":
                raise ValueError(
                    f"active_ai_models: {name!r} is of type {self.models[name].type}; only a "
                    "vlm_model can be asked"
                )
        owners: dict[str, str] = {}
        for name, model in self.active_models().items():
            if model.category in owners:
                both = f"models {owners[model.category]!r} and {name!r}"
                raise ValueError(
                    f"{both} have the same category {model.category!r}: set another "
                    "model_category in one of them"
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
                name: read_yaml(path.parent / pipeline) if isinstance(pipeline, str) else pipeline
                for name, pipeline in data["pipelines"].items()
            }
            return {**data, "pipelines": pipelines}
        return data

    def active_models(self) -> Mapping[str, ModelConfig]:
        """Return the models whose tags are asked about, by name: those in ``active_ai_models``,
        else every vlm_model that does not only scan for another.
        """
        usable = {name: model for name, model in self.models.items() if model.type == "vlm_model"}
        scanning = {model.scan_model for model in usable.values()}
        names = self.active_ai_models or [name for name in usable if name not in scanning]
        return {name: usable[name] for name in names if name in usable}

    def scanner_for(self, model: ModelConfig) -> ModelConfig:
        """Return the ``scan_model`` of ``model``, set to ask about the tags of ``model``, with its
        descriptions and synonyms where the scan model has none.
        """
        assert model.scan_model is not None
        small = self.models[model.scan_model]
        meanings = {
            "tag_descriptions": {**model.tag_descriptions, **small.tag_descriptions},
            "synonyms": {**model.synonyms, **small.synonyms},
        }
        return small.model_copy(update={"tag_list": model.tag_list, **meanings})

    def used_endpoints(self) -> Sequence[tuple[EndpointConfig, ModelConfig]]:
        """Return the endpoints of all models that are asked, and scan for others, each once, with
        the model that has the most tags there. Those that only one worker asks are among them.
        """
        models = list(self.active_models().values())
        models += [self.scanner_for(model) for model in models if model.scan_model]
        pairs = [
            ((one.base_url, one.model_id or model.model_id), one, model)
            for model in models
            for one in model.every_endpoint()
        ]
        by_tags = sorted(pairs, key=lambda pair: len(pair[2].tag_list))
        longest = {place: (one, model) for place, one, model in by_tags}
        return tuple(longest[place] for place in dict.fromkeys(place for place, *_ in pairs))

    def rule_of(self, category: str, threshold: float | None = None) -> Callable[[str], TagRule]:
        """Return the function that gives the rule for each tag of a category: the default, and
        what the tag overrides.

        ``threshold`` replaces the default rule's, not one that a tag sets itself.
        """
        default = (
            self.default_rule
            if threshold is None
            else self.default_rule.model_copy(update={"threshold": threshold})
        )
        rules = {tag_key(tag): rule for tag, rule in self.category_config.get(category, {}).items()}
        return lambda tag: (
            default.overridden(rules[tag_key(tag)]) if tag_key(tag) in rules else default
        )

    def unused_rules(self) -> list[str]:
        """Return the rules of ``category_config``, as ``category: tag``, for tags that no active
        model is asked about.
        """
        looked_for = {
            (model.category, tag_key(tag))
            for model in self.active_models().values()
            for tag in model.tag_list
        }
        ruled = [
            (category, tag) for category, rules in self.category_config.items() for tag in rules
        ]
        return [
            f"{category}: {tag}"
            for category, tag in ruled
            if (category, tag_key(tag)) not in looked_for
        ]
