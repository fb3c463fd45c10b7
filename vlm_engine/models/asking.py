"""A model of the settings as a stage: what the built-in pipelines do with all models, done with this one alone."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Collection, Mapping
from typing import Any

from vlm_engine.config.models import EngineConfig
from vlm_engine.errors import ConfigError, MediaUnreadableError
from vlm_engine.models.base import Model
from vlm_engine.models.image import JudgeImage
from vlm_engine.models.pipelines import IMAGE_VALUES, VIDEO_VALUES
from vlm_engine.models.video import DescribeVideo, ProbeVideo, SearchVideo
from vlm_engine.tagging.cascade import Cascade
from vlm_engine.types import ImageResult, VideoInfo, VideoResult


class AskAboutVideo(Model):
    """A video's path or ``VideoInfo``, of whatever name → ``VideoResult`` by the rules, of one model's tags."""

    takes = tuple(name for name in VIDEO_VALUES if name != "video_path")

    def __init__(self, name: str, panel: Cascade, config: EngineConfig) -> None:
        self._name = name
        self._probe, self._search, self._describe = (
            ProbeVideo(config),
            SearchVideo([panel], config),
            DescribeVideo(config),
        )

    async def process(self, inputs: Mapping[str, Any]) -> VideoResult:
        """Raises as ``SearchVideo``, and ``ConfigError`` where it is not plain which input is the video."""
        subject = _subject(self._name, "video_path", inputs, VIDEO_VALUES)
        video = inputs[subject]
        if not isinstance(video, VideoInfo):
            identity = inputs.get("identity") if subject == "video_path" else None
            video = await self._probe.process({"video_path": video, "identity": identity})
        findings = await self._search.process({**inputs, "video": video})
        return await self._describe.process(
            {"findings": findings, "threshold": inputs.get("threshold")}
        )


class AskAboutPicture(Model):
    """A picture, of whatever name → ``ImageResult`` by the rules, of one model's tags.

    It is what ``process_image`` takes, or what a stage before it made: a picture of Pillow, or an array of numpy (rows, columns,
    and red, green, blue from 0 to 255).
    """

    takes = tuple(name for name in IMAGE_VALUES if name != "image")

    def __init__(self, name: str, panel: Cascade, config: EngineConfig) -> None:
        self._name = name
        self._judge = JudgeImage([panel], config)

    async def aclose(self) -> None:
        """See ``JudgeImage``."""
        await self._judge.aclose()

    async def process(self, inputs: Mapping[str, Any]) -> ImageResult:
        """Raises as ``JudgeImage``, and ``ConfigError`` where it is not plain which input is the picture."""
        subject = _subject(self._name, "image", inputs, IMAGE_VALUES)
        identity = inputs.get("identity") if subject == "image" else None
        image = await asyncio.to_thread(_encoded, self._name, inputs[subject])
        return await self._judge.process({**inputs, "image": image, "identity": identity})


def _subject(who: str, usual: str, inputs: Mapping[str, Any], others: Collection[str]) -> str:
    """The name of the input that is to be looked at: the usual one, else the one that is none of the call's values."""
    if usual in inputs:
        return usual
    found = [name for name in inputs if name not in others]
    if len(found) != 1:
        told = f"there are {', '.join(found)}" if found else "there is none"
        raise ConfigError(
            f"stage {who!r} looks at its input {usual!r}, or at the one that a stage before it makes; {told}"
        )
    return found[0]


def _encoded(who: str, image: Any) -> Any:
    """A picture in memory as the bytes of a file; a file, in any form, as it is."""
    from PIL import Image

    if isinstance(image, bytearray | memoryview):
        return bytes(image)
    if hasattr(image, "__array_interface__") and not isinstance(image, Image.Image):
        try:
            image = Image.fromarray(image)
        except (TypeError, ValueError) as error:
            raise MediaUnreadableError(
                f"stage {who!r}: its input is no picture: {error}"
            ) from error
    if not isinstance(image, Image.Image):
        return image
    data = io.BytesIO()
    (image if image.mode in {"RGB", "RGBA", "L"} else image.convert("RGB")).save(
        data, "PNG", compress_level=1
    )
    return data.getvalue()
