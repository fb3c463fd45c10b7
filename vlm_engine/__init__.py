"""Finds when the user's own tags apply in videos and pictures, by asking vision-language models.

A program uses ``VLMEngine``. Its settings are in ``vlm_engine.config_models``, the stages that a
user may replace or add in ``vlm_engine.models``, its errors in ``vlm_engine.errors``, and the
values it returns in ``vlm_engine.types``. The other names here are for the Stash plugin, and may
change with it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vlm_engine.errors import (
    ArchiveError,
    ClientError,
    ConfigError,
    MediaError,
    MediaNotFoundError,
    MediaOutOfReachError,
    MediaUnreadableError,
    MediaUnsupportedError,
    NoEndpointError,
    ReplyError,
    StoreError,
    VLMEngineError,
)
from vlm_engine.files import InMemoryFile, media_errors
from vlm_engine.names import tag_key
from vlm_engine.paths import PathKind, Place, map_path, place_of, rule_for
from vlm_engine.tasks import Batcher, ResizableSemaphore
from vlm_engine.types import (
    LEAST_COVERAGE,
    Coverage,
    EndpointStats,
    ImageResult,
    ImageTagInfo,
    ModelIdentity,
    OnProgress,
    Progress,
    QuestionCost,
    Source,
    Span,
    StyleComparison,
    Verdict,
    VideoResult,
    VideoTagInfo,
    ZipEntry,
)
from vlm_engine.watchdog import Readers

if TYPE_CHECKING:
    from vlm_engine.checkup.agreement import FrameComparison
    from vlm_engine.checkup.endpoint import check_endpoint, offered_models
    from vlm_engine.checkup.frames import VideoFile
    from vlm_engine.checkup.frames_section import frames_section
    from vlm_engine.checkup.machine import machine_section
    from vlm_engine.checkup.playback import EndpointSpeed
    from vlm_engine.checkup.setup import (
        Measurement,
        SetupCheck,
        check_setup,
        forecast_section,
        measurements,
    )
    from vlm_engine.checkup.values import Finding, Section, SectionKind, Severity
    from vlm_engine.cluster import check_cluster, checked_places, open_engine
    from vlm_engine.config.base import SettingsGroup, clean_name, placed
    from vlm_engine.config.by_name import (
        default_of,
        description_of,
        parse_setting,
        set_in,
        setting_field,
        with_settings,
    )
    from vlm_engine.config.models import (
        ClusterConfig,
        EndpointConfig,
        EngineConfig,
        ModelConfig,
        TagRule,
        clean_tags,
        parse,
    )
    from vlm_engine.config.one_line import addresses_in, folders_in, key_in, tags_in
    from vlm_engine.config.wording import (
        WordingConfig,
        check_once,
        clean_descriptions,
        clean_synonyms,
        described_apart,
        split_tags,
    )
    from vlm_engine.engine import VLMEngine
    from vlm_engine.store import SharedLock, readable, writing
    from vlm_engine.tagging.results import image_dict, video_dict
    from vlm_engine.video.read_frames import read_frames
    from vlm_engine.yaml_text import parse_yaml

__version__ = "2.0.0"
__all__ = [
    "LEAST_COVERAGE",
    "ArchiveError",
    "Batcher",
    "ClientError",
    "ClusterConfig",
    "ConfigError",
    "Coverage",
    "EndpointConfig",
    "EndpointSpeed",
    "EndpointStats",
    "EngineConfig",
    "Finding",
    "FrameComparison",
    "ImageResult",
    "ImageTagInfo",
    "InMemoryFile",
    "Measurement",
    "MediaError",
    "MediaNotFoundError",
    "MediaOutOfReachError",
    "MediaUnreadableError",
    "MediaUnsupportedError",
    "ModelConfig",
    "ModelIdentity",
    "NoEndpointError",
    "OnProgress",
    "PathKind",
    "Place",
    "Progress",
    "QuestionCost",
    "Readers",
    "ReplyError",
    "ResizableSemaphore",
    "Section",
    "SectionKind",
    "SettingsGroup",
    "SetupCheck",
    "Severity",
    "SharedLock",
    "Source",
    "Span",
    "StoreError",
    "StyleComparison",
    "TagRule",
    "VLMEngine",
    "VLMEngineError",
    "Verdict",
    "VideoFile",
    "VideoResult",
    "VideoTagInfo",
    "WordingConfig",
    "ZipEntry",
    "__version__",
    "addresses_in",
    "check_cluster",
    "check_endpoint",
    "check_once",
    "check_setup",
    "checked_places",
    "clean_descriptions",
    "clean_name",
    "clean_synonyms",
    "clean_tags",
    "default_of",
    "described_apart",
    "description_of",
    "folders_in",
    "forecast_section",
    "frames_section",
    "image_dict",
    "key_in",
    "machine_section",
    "map_path",
    "measurements",
    "media_errors",
    "offered_models",
    "open_engine",
    "parse",
    "parse_setting",
    "parse_yaml",
    "place_of",
    "placed",
    "read_frames",
    "readable",
    "rule_for",
    "set_in",
    "setting_field",
    "split_tags",
    "tag_key",
    "tags_in",
    "video_dict",
    "with_settings",
    "writing",
]
_IMPORTED_ON_USE = {
    "checkup.agreement": "FrameComparison",
    "checkup.endpoint": "check_endpoint offered_models",
    "checkup.frames": "VideoFile",
    "checkup.frames_section": "frames_section",
    "checkup.machine": "machine_section",
    "checkup.playback": "EndpointSpeed",
    "checkup.setup": "Measurement SetupCheck check_setup forecast_section measurements",
    "checkup.values": "Finding Section SectionKind Severity",
    "cluster": "check_cluster checked_places open_engine",
    "config.base": "SettingsGroup clean_name placed",
    "config.by_name": "default_of description_of parse_setting set_in setting_field with_settings",
    "config.models": "ClusterConfig EndpointConfig EngineConfig ModelConfig TagRule clean_tags "
    "parse",
    "config.one_line": "addresses_in folders_in key_in tags_in",
    "config.wording": "WordingConfig check_once clean_descriptions clean_synonyms described_apart "
    "split_tags",
    "engine": "VLMEngine",
    "store": "SharedLock readable writing",
    "tagging.results": "image_dict video_dict",
    "video.read_frames": "read_frames",
    "yaml_text": "parse_yaml",
}
"""The other names, by their modules."""
_MODULE_OF = {name: module for module, names in _IMPORTED_ON_USE.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """Import settings, store and engine, and so pydantic and aiohttp, when a name of theirs is
    first used.
    """
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
