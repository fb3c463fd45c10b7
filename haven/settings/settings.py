"""Everything set, in layers, as one frozen object."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import haven_vlm_config
from haven.settings import layers, names, words
from haven.settings.merge import merged
from haven.settings.values import Layer, read
from vlm_engine import (
    ConfigError,
    EndpointConfig,
    EngineConfig,
    ImageConfig,
    SearchConfig,
    TagRule,
    VideoConfig,
    WordingConfig,
)

_log = logging.getLogger(__name__)
_EXAMPLE_TAGS = ("Basketball point", "Foul", "Break-away", "Turnover")
_OF_REPORTS = ("REPORT_FOLDER", "REPORTS_KEPT")


@dataclass(frozen=True, slots=True)
class TagNames:
    """The names of the tags in Stash by which the plugin is told what to do and says what it did."""

    parent: str = "VLM"
    tag_me: str = "VLM_TagMe"
    update_me: str = "VLM_UpdateMe"
    tagged: str = "VLM_Tagged"
    errored: str = "VLM_Errored"

    def all(self) -> tuple[str, ...]:
        """The five names."""
        return self.parent, self.tag_me, self.update_me, self.tagged, self.errored


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything set, parsed and frozen.

    ``model`` is "" for the one that the server has loaded; ``frame_interval_s`` is None where the search
    chooses; ``fallback_wait_s`` is 0 where fallbacks only stand in. ``path_mutation`` pairs folders of Stash's with those here.
    ``wording`` says what is asked about ``tag_list``, and how. ``tag_rules`` holds what single tags override of
    ``default_rule``. An ``engine_config`` agrees with the other fields:
    what a layer above it sets is already in its active models. ``report_folder`` is relative to the
    plugin's data folder, or absolute; ``reports_kept`` is 0 for all. ``origins``: where each setting was set, by its name in
    small letters, as ``Tags on the settings page``.
    """

    endpoints: tuple[EndpointConfig, ...]
    model: str
    tag_list: tuple[str, ...]
    wording: WordingConfig
    frame_interval_s: float | None
    threshold: float
    concurrent_task_limit: int
    time_slice_minutes: float
    create_markers: bool
    image_galleries: bool
    gallery_tag_share: float
    image_from_stash: bool
    tag_names: TagNames
    path_mutation: tuple[tuple[str, str], ...]
    stream_from_stash: bool
    default_rule: TagRule
    tag_rules: Mapping[str, TagRule]
    engine_config: EngineConfig | None
    request_timeout_s: float
    endpoint_patience_s: float
    fallback_wait_s: float
    image_max_side: int
    scan_image_max_side: int
    scan_frames_per_question: int
    search: SearchConfig
    video: VideoConfig
    image: ImageConfig
    store_max_mb: int | None
    report_folder: Path
    reports_kept: int
    origins: Mapping[str, str] = field(repr=False, compare=False)

    @classmethod
    def load(
        cls,
        stash_page: Mapping[str, Any] | None = None,
        task_args: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> Settings:
        """The settings of all layers: this file < the local file in ``folder`` < Stash's page < the task's arguments.

        ``stash_page`` is what Stash stores for the plugin; 0, "" and False there mean "not set". ``task_args`` has
        the names of this file as keys and text as values ("" is "not set"; commas, semicolons or lines separate); the
        task takes its own arguments out first, but ``mode`` may stay. ``folder`` is this file's by default.

        Raises ``ConfigError`` that lists the faults of all layers, each with its layer and key.
        """
        faults: list[str] = []
        values = merged(
            [read(layer, faults) for layer in cls._layers(stash_page, task_args, folder, faults)]
        )
        if not faults:
            faults = _contradictions(values)
        if faults:
            raise ConfigError("\n".join(faults))
        _warn_of_unused(values)
        return _settings(values)

    @property
    def tags_are_an_example(self) -> bool:
        """Whether nobody has said what to look for: the tags are those that this file comes with."""
        return self.tag_list == _EXAMPLE_TAGS and self.origins["tag_list"].startswith(
            Path(haven_vlm_config.__file__).name
        )

    @classmethod
    def load_for_taking_back(
        cls,
        stash_page: Mapping[str, Any] | None = None,
        task_args: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> Settings:
        """The same for a task that looks at no media: of the layers it takes the tags' names and where reports go, no more.

        What is wrong elsewhere stops it as little as a file that cannot be read, or a wrong place for reports.
        Raises ``ConfigError`` where a tag's name is wrong.
        """
        faults: list[str] = []
        passed_over: list[str] = []
        given = cls._layers(stash_page, task_args, folder, passed_over)
        found = [read(given[0], faults)]
        for layer in given[1:]:
            found += [
                read(layer.only(names.STEERING), faults),
                read(layer.only(_OF_REPORTS), passed_over),
            ]
        values = merged(found)
        if faults:
            raise ConfigError("\n".join(faults))
        if passed_over:
            _log.warning(
                "This task goes on without what is wrong in the settings:\n%s",
                "\n".join(passed_over),
            )
        return _settings(values)

    @staticmethod
    def _layers(
        stash_page: Mapping[str, Any] | None,
        task_args: Mapping[str, str] | None,
        folder: Path | None,
        faults: list[str],
    ) -> list[Layer]:
        here = Path(haven_vlm_config.__file__)
        return [
            Layer(
                here.name,
                {
                    name: value
                    for name, value in vars(haven_vlm_config).items()
                    if name.isupper() and name[0] != "_"
                },
            ),
            layers.file_layer(folder or here.parent, faults),
            layers.page_layer(stash_page or {}),
            layers.task_layer(task_args or {}),
        ]

    def fingerprint(self) -> str:
        """A short text that differs where the settings do. It tells nothing of the keys."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]

    def secrets(self) -> tuple[str, ...]:
        """Every API key, so that it can be kept out of logs."""
        models = self.engine_config.models.values() if self.engine_config else ()
        endpoints = [
            *self.endpoints,
            *(endpoint for model in models for endpoint in model.endpoints()),
        ]
        return tuple({endpoint.key() for endpoint in endpoints} - {""})


def _contradictions(values: Mapping[str, Any]) -> list[str]:
    """What is wrong only when all layers are seen together."""
    faults = []
    origins = values["origins"]
    if not values["endpoints"]:
        faults.append(
            f"{origins['endpoints']}: there is none; name a server, for example http://localhost:1234/v1"
        )
    if not values["tag_list"]:
        faults.append(
            f"{origins['tag_list']}: there are no tags; say what to look for, in {layers.WHERE_TAGS_ARE_SET}"
        )
    engine = values.get("vlm_engine_config")
    if engine and not engine.active_models():
        where = origins["vlm_engine_config"]
        faults.append(
            f"{where}.models: there is none to ask; write one of type vlm_model, or no VLM_ENGINE_CONFIG"
        )
    asked = (
        [endpoint for model in engine.models.values() for endpoint in model.endpoints()]
        if engine
        else []
    )
    for endpoint in dict.fromkeys([*values["endpoints"], *asked]):
        try:
            endpoint.key()
        except ConfigError as error:
            faults.append(
                f"{origins['endpoints']}: {error}; set it where Stash is started, or write the key as api_key"
            )
    return faults + words.faults(values) + names.faults(values)


def _settings(values: Mapping[str, Any]) -> Settings:
    return Settings(
        endpoints=values["endpoints"],
        model=values["model"],
        tag_list=values["tag_list"],
        wording=words.wording(values),
        frame_interval_s=values["video_frame_interval"] or None,
        threshold=values["video_threshold"],
        concurrent_task_limit=values["concurrent_task_limit"],
        time_slice_minutes=values["time_slice"],
        create_markers=values["create_markers"],
        image_galleries=values["image_galleries"],
        gallery_tag_share=values["gallery_tag_share"],
        image_from_stash=values["image_from_stash"],
        tag_names=TagNames(*names.steering(values)),
        path_mutation=values["path_mutation"],
        stream_from_stash=values["stream_from_stash"],
        default_rule=values["default_tag_rule"].model_copy(
            update={"threshold": values["video_threshold"]}
        ),
        tag_rules=MappingProxyType(words.by_tag(values["tag_rules"], values["tag_list"])),
        engine_config=values.get("vlm_engine_config"),
        request_timeout_s=values["request_timeout"],
        endpoint_patience_s=values["endpoint_patience"],
        fallback_wait_s=values["fallback_wait"],
        image_max_side=values["image_max_side"],
        scan_image_max_side=values["scan_image_max_side"],
        scan_frames_per_question=values["scan_frames_per_question"],
        search=SearchConfig(
            shortest_event_s=values["video_shortest_event"],
            effort=values["video_search_effort"],
            questions_per_hour=values["video_questions_per_hour"],
            edge_tolerance_s=values["video_edge_tolerance"],
        ),
        video=VideoConfig(
            hwaccel=values["video_decoding_device"],
            stall_s=values["video_stall_timeout"],
            vr_layout=values["vr_layout"],
        ),
        image=ImageConfig(frames=values["image_frames"], parts=values["image_parts"]),
        store_max_mb=values["store_max_mb"],
        report_folder=Path(values["report_folder"]),
        reports_kept=values["reports_kept"],
        origins=MappingProxyType(values["origins"]),
    )


def _warn_of_unused(values: Mapping[str, Any]) -> None:
    """Names what is told of tags that may be misspelt: a rule for one that is not looked for, words for one that no layer has."""
    unused = {
        "rules for": words.unused(values["tag_rules"], values["tag_list"]),
        "descriptions of": words.unused(values["tag_descriptions"], values["every_tag"]),
        "synonyms of": words.unused(values["tag_synonyms"], values["every_tag"]),
    }
    for what, tags in unused.items():
        if tags:
            _log.warning("There are %s tags that are not looked for: %s", what, ", ".join(tags))
