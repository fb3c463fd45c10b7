"""The built-in stages for pipelines that users write. They run the functions that the engine itself runs."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping, Sequence
from typing import Any

from vlm_engine.config.models import EngineConfig
from vlm_engine.errors import ConfigError, MediaUnreadableError
from vlm_engine.models.base import Model, only
from vlm_engine.spans import together
from vlm_engine.tagging.cached_client import Cascade
from vlm_engine.tagging.image import ImageTagger
from vlm_engine.tagging.requests import ImageRequest, VideoRequest
from vlm_engine.tagging.video import describe, probe, search
from vlm_engine.types import ImageResult, VideoInfo, VideoResult

VIDEO_VALUES = (
    "video_path",
    "identity",
    "frame_interval",
    "time_interval",
    "threshold",
    "vr_video",
    "skipped_categories",
    "existing_json_data",
    "earlier",
    "return_timestamps",
    "return_confidence",
    "on_progress",
)
"""The values of a call for a video. ``time_interval`` is an older name of ``frame_interval``."""
IMAGE_VALUES = ("image", "identity", "threshold", "skipped_categories", "return_confidence")
"""The values of a call for a picture."""


class ProbeVideo(Model):
    """``video_path`` (and ``identity``) → ``VideoInfo``, without decoding."""

    needs = ("video_path",)

    def __init__(self, config: EngineConfig) -> None:
        self._config = config

    async def process(self, inputs: Mapping[str, Any]) -> VideoInfo:
        """Raise ``MediaError`` for a video that cannot be read."""
        return await probe(_video_request(inputs["video_path"], inputs), self._config)


class SearchVideo(Model):
    """``video`` (and how to search it) → ``VideoResult`` with raw spans, before the user's rules."""

    needs = ("video",)

    def __init__(self, cascades: Sequence[Cascade], config: EngineConfig) -> None:
        self._cascades = cascades
        self._config = config

    async def process(self, inputs: Mapping[str, Any]) -> VideoResult:
        """Raise as ``tagging.video.search``."""
        video: VideoInfo = inputs["video"]
        request = _video_request(video.path, inputs)
        found = await search(video, self._cascades, request, self._config)
        info = together((), video.duration_s)
        return VideoResult(video, info, found.findings, found.coverage, found.gaps_s, found.calls)


class DescribeVideo(Model):
    """``VideoResult`` (and ``threshold``) → the same by the user's rules."""

    def __init__(self, config: EngineConfig) -> None:
        self._config = config

    async def process(self, inputs: Mapping[str, Any]) -> VideoResult:
        """Raise ``ConfigError`` when no result is among the inputs."""
        found: VideoResult = only(inputs, "describe_video", VideoResult)
        return describe(found, self._config, inputs.get("threshold"))


class JudgeImage(Model):
    """``image`` (and ``identity``, ``threshold``, ``skipped_categories``) → ``ImageResult``."""

    needs = ("image",)

    def __init__(self, cascades: Sequence[Cascade], tagger: ImageTagger) -> None:
        self._cascades = cascades
        self._tagger = tagger

    async def process(self, inputs: Mapping[str, Any]) -> ImageResult:
        """Raise as ``ImageTagger.tag``."""
        request = _image_request(inputs["image"], inputs)
        return await self._tagger.tag(request, self._cascades)


class VideoModelStage(Model):
    """A model of the settings: a path or ``VideoInfo``, under any name → ``VideoResult`` of its tags."""

    takes = tuple(name for name in VIDEO_VALUES if name != "video_path")

    def __init__(self, name: str, cascade: Cascade, config: EngineConfig) -> None:
        self._name = name
        self._cascade = cascade
        self._config = config

    async def process(self, inputs: Mapping[str, Any]) -> VideoResult:
        """Raise as ``search``, and ``ConfigError`` when it is not clear which input is the video."""
        subject = _subject(self._name, "video_path", inputs, VIDEO_VALUES)
        video = inputs[subject]
        request = _video_request(video, inputs)
        if not isinstance(video, VideoInfo):
            if subject != "video_path":  # then the identity is not that of this video
                request = _video_request(video, {**inputs, "identity": None})
            video = await probe(request, self._config)
        found = await search(video, [self._cascade], request, self._config)
        return describe(found, self._config, request.threshold)


class ImageModelStage(Model):
    """A model of the settings: a picture, under any name → ``ImageResult`` of its tags.

    The picture is one that ``process_image`` takes, or one that a stage before it made: a Pillow
    image, or a numpy array (rows, columns, and RGB from 0 to 255).
    """

    takes = tuple(name for name in IMAGE_VALUES if name != "image")

    def __init__(self, name: str, cascade: Cascade, tagger: ImageTagger) -> None:
        self._name = name
        self._cascade = cascade
        self._tagger = tagger

    async def process(self, inputs: Mapping[str, Any]) -> ImageResult:
        """Raise as ``ImageTagger.tag``, and ``ConfigError`` when it is not clear which input is the picture."""
        subject = _subject(self._name, "image", inputs, IMAGE_VALUES)
        if subject != "image":  # then the identity is not that of this picture
            inputs = {**inputs, "identity": None}
        image = await asyncio.to_thread(_encoded, self._name, inputs[subject])
        return await self._tagger.tag(_image_request(image, inputs), [self._cascade])


def built_in_stages(
    cascades: Sequence[Cascade], config: EngineConfig, images: ImageTagger
) -> dict[str, Model]:
    """Return the built-in stages by name."""
    return {
        "probe_video": ProbeVideo(config),
        "search_video": SearchVideo(cascades, config),
        "describe_video": DescribeVideo(config),
        "judge_image": JudgeImage(cascades, images),
    }


def model_stages(
    kind: str, cascades: Mapping[str, Cascade], config: EngineConfig, images: ImageTagger
) -> dict[str, Model]:
    """Return the models of the settings as stages of a pipeline for this ``kind`` of media, by name."""
    if kind == "image":
        return {name: ImageModelStage(name, cascade, images) for name, cascade in cascades.items()}
    return {name: VideoModelStage(name, cascade, config) for name, cascade in cascades.items()}


def _video_request(source: Any, inputs: Mapping[str, Any]) -> VideoRequest:
    return VideoRequest(
        source,
        identity=inputs.get("identity"),
        frame_interval=inputs.get("frame_interval"),
        threshold=inputs.get("threshold"),
        vr_video=inputs.get("vr_video", False),
        skipped_categories=inputs.get("skipped_categories", ()),
        earlier=inputs.get("earlier"),
        on_progress=inputs.get("on_progress"),
    )


def _image_request(source: Any, inputs: Mapping[str, Any]) -> ImageRequest:
    return ImageRequest(
        source,
        identity=inputs.get("identity"),
        threshold=inputs.get("threshold"),
        skipped_categories=inputs.get("skipped_categories", ()),
    )


def _subject(stage: str, usual: str, inputs: Mapping[str, Any], values: Sequence[str]) -> str:
    """Return the name of the input to look at: the usual one, else the one that is no value of the call."""
    if usual in inputs:
        return usual
    found = [name for name in inputs if name not in values]
    if len(found) != 1:
        there = f"there are {', '.join(found)}" if found else "there is none"
        raise ConfigError(
            f"stage {stage!r} looks at its input {usual!r}, or at the one that a stage before it makes; {there}"
        )
    return found[0]


def _encoded(stage: str, image: Any) -> Any:
    """Return a picture in memory as the bytes of a file; a file, in any form, as it is."""
    from PIL import Image

    if isinstance(image, bytearray | memoryview):
        return bytes(image)
    if hasattr(image, "__array_interface__") and not isinstance(image, Image.Image):
        try:
            image = Image.fromarray(image)
        except (TypeError, ValueError) as error:
            raise MediaUnreadableError(
                f"stage {stage!r}: its input is no picture: {error}"
            ) from error
    if not isinstance(image, Image.Image):
        return image
    data = io.BytesIO()
    has_png_mode = image.mode in {"RGB", "RGBA", "L"}
    (image if has_png_mode else image.convert("RGB")).save(data, "PNG", compress_level=1)
    return data.getvalue()
