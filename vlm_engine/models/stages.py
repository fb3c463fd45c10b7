"""The built-in stages for pipelines that users write. They run the functions that the engine itself
runs.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

from vlm_engine.config.models import EngineConfig
from vlm_engine.errors import ConfigError, MediaUnreadableError
from vlm_engine.models.base import Model, only
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


_RequestT = TypeVar("_RequestT", VideoRequest, ImageRequest)


class FunctionStage(Model):
    """A built-in stage: a function of its inputs."""

    def __init__(
        self,
        function: Callable[[Mapping[str, Any]], Awaitable[Any]],
        *,
        needs: tuple[str, ...] = (),
        takes: tuple[str, ...] = (),
    ) -> None:
        self._function = function
        self.needs = needs
        self.takes = takes

    async def process(self, inputs: Mapping[str, Any]) -> Any:
        """Return the function's result."""
        return await self._function(inputs)


def built_in_stages(
    cascades: Sequence[Cascade], config: EngineConfig, images: ImageTagger
) -> dict[str, Model]:
    """Return the built-in stages by name: probe, search, describe, and tag a picture."""

    async def probe_video(inputs: Mapping[str, Any]) -> VideoInfo:
        return await probe(_request(VideoRequest, inputs["video_path"], inputs), config)

    async def search_video(inputs: Mapping[str, Any]) -> VideoResult:
        video: VideoInfo = inputs["video"]
        return await search(video, cascades, _request(VideoRequest, video.path, inputs), config)

    async def describe_video(inputs: Mapping[str, Any]) -> VideoResult:
        found: VideoResult = only(inputs, "describe_video", VideoResult)
        return describe(found, config, inputs.get("threshold"))

    async def judge_image(inputs: Mapping[str, Any]) -> ImageResult:
        return await images.tag(_request(ImageRequest, inputs["image"], inputs), cascades)

    return {
        "probe_video": FunctionStage(probe_video, needs=("video_path",)),
        "search_video": FunctionStage(search_video, needs=("video",)),
        "describe_video": FunctionStage(describe_video),
        "judge_image": FunctionStage(judge_image, needs=("image",)),
    }


def model_stage(
    name: str, kind: str, cascade: Cascade, config: EngineConfig, images: ImageTagger
) -> Model:
    """Return a model of the settings as a stage of a pipeline for this ``kind`` of media.

    Its input, under any name, is what the call gives or what a stage before it made: a path or
    ``VideoInfo``; or a picture that ``process_image`` takes, a Pillow image, or a numpy array
    (rows, columns, and RGB from 0 to 255). It returns the result for its own tags.
    """

    async def tag_video(inputs: Mapping[str, Any]) -> VideoResult:
        video, inputs = _subject(name, "video_path", inputs, VIDEO_VALUES)
        request = _request(VideoRequest, video, inputs)
        if not isinstance(video, VideoInfo):
            video = await probe(request, config)
        return describe(await search(video, [cascade], request, config), config, request.threshold)

    async def tag_image(inputs: Mapping[str, Any]) -> ImageResult:
        image, inputs = _subject(name, "image", inputs, IMAGE_VALUES)
        content = await asyncio.to_thread(_encoded, name, image)
        return await images.tag(_request(ImageRequest, content, inputs), [cascade])

    if kind == "image":
        return FunctionStage(tag_image, takes=IMAGE_VALUES[1:])
    return FunctionStage(tag_video, takes=VIDEO_VALUES[1:])


def _request(kind: type[_RequestT], source: Any, inputs: Mapping[str, Any]) -> _RequestT:
    options = {field.name for field in fields(kind)} - {"source"}
    return kind(source, **{name: value for name, value in inputs.items() if name in options})


def _subject(
    stage: str, usual: str, inputs: Mapping[str, Any], values: Sequence[str]
) -> tuple[Any, Mapping[str, Any]]:
    """Return the input to look at, and the others: the usual one, else the one that is no value of
    the call.
    """
    if usual in inputs:
        return inputs[usual], inputs
    found = [name for name in inputs if name not in values]
    if len(found) != 1:
        there = f"there are {', '.join(found)}" if found else "there is none"
        raise ConfigError(
            f"stage {stage!r} looks at its input {usual!r}, "
            f"or at the one that a stage before it makes; {there}"
        )
    return inputs[found[0]], {**inputs, "identity": None}  # that is the name of another input


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
