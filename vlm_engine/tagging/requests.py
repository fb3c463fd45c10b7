"""Requests: a video or a picture to tag, and how."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from vlm_engine.types import Findings, OnProgress, Source, ZipEntry

if TYPE_CHECKING:
    from vlm_engine.pictures import Source as ImageSource


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier result: the video's length in seconds, and what was seen, by category."""

    duration_s: float
    findings: Mapping[str, Findings]


@dataclass(frozen=True, slots=True)
class VideoRequest:
    """A video to tag. ``VLMEngine.process_video`` and ``tag_video`` describe the fields."""

    source: str | Path | Source
    identity: str | None = None
    frame_interval: float | None = None
    least_effort: float = 0.0
    threshold: float | None = None
    vr_video: bool = False
    skipped_categories: Collection[str] = ()
    earlier: Earlier | None = None
    on_progress: OnProgress | None = None


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """A picture to tag. ``VLMEngine.process_image`` and ``tag_image`` describe the fields."""

    source: ImageSource
    identity: str | None = None
    threshold: float | None = None
    skipped_categories: Collection[str] = ()


_RequestT = TypeVar("_RequestT", VideoRequest, ImageRequest)


def with_path(request: _RequestT, path_of: Callable[[str], str]) -> _RequestT:
    """Return the request with another path of its file, or of the zip that it is in."""
    source = request.source
    if isinstance(source, str | Path):
        return replace(request, source=path_of(str(source)))
    if isinstance(source, ZipEntry):
        return replace(request, source=replace(source, zip_path=path_of(source.zip_path)))
    return request
