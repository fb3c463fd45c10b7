"""The built-in stage for pictures: one question, the user's rules."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Any

from vlm_engine import picture
from vlm_engine.config_models import EngineConfig
from vlm_engine.models.base import Model
from vlm_engine.models.judge import Judge
from vlm_engine.spans import describe_image
from vlm_engine.types import Coverage, Frame, ImageResult, ImageShape, Look, Purpose


class JudgeImage(Model):
    """``image`` (a path or the file's bytes) → ``ImageResult``."""

    needs = ("image",)

    def __init__(self, judge: Judge, config: EngineConfig) -> None:
        self._judge = judge
        self._config = config

    async def process(self, inputs: Mapping[str, Any]) -> ImageResult:
        """Raises ``MediaError``, or ``ClientError`` when this picture cannot be judged, or ``NoEndpointError``."""
        category = self._judge.model.category
        tags = () if category in inputs.get("skipped_categories", ()) else self._judge.model.tag_list
        rule_of = self._config.rule_of(category, inputs.get("threshold"))
        if not tags:
            return ImageResult(category, describe_image({}, category, rule_of), Coverage())
        async with self._judge.instances, self._judge.room:
            image = inputs["image"]
            name = "picture in memory" if isinstance(image, bytes) else str(image)
            content = image if isinstance(image, bytes) else await asyncio.to_thread(picture.read_file, image)
            media = hashlib.sha256(content).hexdigest()
            seen = self._judge.recall(await self._judge.memory(media), Look(0.0, tags, Purpose.STILL))
            known = dict(seen.verdicts) if seen else {}
            left = tuple(tag for tag in tags if tag not in known)
            if left:
                frame = await asyncio.to_thread(_frame, content, name, self._judge.shape(Purpose.STILL))
                known |= await self._judge.ask(media, Look(0.0, left, Purpose.STILL), frame)
        info = describe_image(known, category, rule_of)
        return ImageResult(category, info, Coverage(asked=1, answered=1, calls=1 if left else 0))


def _frame(content: bytes, name: str, shape: ImageShape) -> Frame:
    jpeg, width, height = picture.encode(picture.open_picture(content, name), shape)
    return Frame(0.0, width, height, jpeg)
