"""Finds when the user's own tags apply in videos and pictures, by asking vision-language models.

A program uses ``VLMEngine``. Its settings are in ``vlm_engine.config_models``, the stages that a user may replace or
add in ``vlm_engine.models``, its errors in ``vlm_engine.errors``, and the values it returns in ``vlm_engine.types``.
The other names here are for the Stash plugin, and may change with it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vlm_engine.errors import (
    ArchiveError,
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
from vlm_engine.tasks import Batcher, ResizableSemaphore
from vlm_engine.types import (
    Coverage,
    EndpointStats,
    ImageResult,
    ImageTagInfo,
    OnProgress,
    Progress,
    Source,
    Span,
    VideoResult,
    VideoTagInfo,
    ZipEntry,
)
from vlm_engine.watchdog import Readers

if TYPE_CHECKING:
    from vlm_engine.config.base import clean_name, placed
    from vlm_engine.config.models import (
        EndpointConfig,
        EngineConfig,
        ImageConfig,
        ModelConfig,
        SearchConfig,
        TagRule,
        VideoConfig,
        clean_tags,
        parse,
    )
    from vlm_engine.config.templates import template_fields
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
    from vlm_engine.tagging.category_search import LEAST_COVERAGE
    from vlm_engine.tagging.results import image_dict, video_dict
    from vlm_engine.vr import AUTO, checked_layout
    from vlm_engine.yaml_text import parse_yaml

__version__ = "2.0.0"
__all__ = [
    "AUTO",
    "LEAST_COVERAGE",
    "ArchiveError",
    "Batcher",
    "ConfigError",
    "Coverage",
    "EndpointConfig",
    "EndpointStats",
    "EngineConfig",
    "ImageConfig",
    "ImageResult",
    "ImageTagInfo",
    "InMemoryFile",
    "MediaError",
    "MediaNotFoundError",
    "MediaOutOfReachError",
    "MediaUnreadableError",
    "MediaUnsupportedError",
    "ModelConfig",
    "NoEndpointError",
    "OnProgress",
    "Progress",
    "Readers",
    "ReplyError",
    "ResizableSemaphore",
    "SearchConfig",
    "SharedLock",
    "Source",
    "Span",
    "StoreError",
    "TagRule",
    "VLMEngine",
    "VLMEngineError",
    "VideoConfig",
    "VideoResult",
    "VideoTagInfo",
    "WordingConfig",
    "ZipEntry",
    "__version__",
    "check_once",
    "checked_layout",
    "clean_descriptions",
    "clean_name",
    "clean_synonyms",
    "clean_tags",
    "described_apart",
    "image_dict",
    "media_errors",
    "parse",
    "parse_yaml",
    "placed",
    "readable",
    "split_tags",
    "tag_key",
    "template_fields",
    "video_dict",
    "writing",
]
_IMPORTED_ON_USE = (
    "yaml_text",
    "vr",
    "store",
    "config.base",
    "config.templates",
    "config.wording",
    "config.models",
    "tagging.results",
    "tagging.category_search",
    "engine",
)
"""The modules of the other names, the quickest to import first."""


def __getattr__(name: str) -> Any:
    """Import settings, store and engine, and so pydantic and aiohttp, when a name of theirs is first used."""
    if name in __all__:
        for module in _IMPORTED_ON_USE:
            found = import_module(f"{__name__}.{module}")
            if hasattr(found, name):
                return getattr(found, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
