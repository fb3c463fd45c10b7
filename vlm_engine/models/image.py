"""The built-in stage for pictures: one question, the user's rules."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from vlm_engine.config_models import EngineConfig
from vlm_engine.models.base import Model
from vlm_engine.models.judge import Judge
from vlm_engine.picture import encode
from vlm_engine.pictures import Source, Zips, fingerprint, open_picture
from vlm_engine.spans import describe_image
from vlm_engine.types import Coverage, Frame, ImageResult, ImageShape, Look, Purpose, Verdict

_T = TypeVar("_T")

# Decoding keeps a core busy, reading from a slow share none. Threads of their own: the answer store never waits for pictures.
_THREADS = 8


class JudgeImage(Model):
    """``image`` (a path, a file's bytes, or a ``ZipEntry``) and ``identity`` (or None) → ``ImageResult``."""

    needs = ("image",)

    def __init__(self, judge: Judge, config: EngineConfig) -> None:
        self._judge = judge
        self._config = config
        self._zips = Zips()
        self._threads = ThreadPoolExecutor(_THREADS, "picture")

    async def aclose(self) -> None:
        """Waits for what is being read, and closes the zips."""
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        self._zips.close()

    async def process(self, inputs: Mapping[str, Any]) -> ImageResult:
        """Raises ``MediaError``, or ``ClientError`` when this picture cannot be judged, or ``NoEndpointError``."""
        category = self._judge.model.category
        tags = () if category in inputs.get("skipped_categories", ()) else self._judge.model.tag_list
        rule_of = self._config.rule_of(category, inputs.get("threshold"))
        if not tags:
            return ImageResult(category, describe_image({}, category, rule_of), Coverage())
        async with self._judge.instances, self._judge.room:
            known, calls = await self._judged(inputs["image"], inputs.get("identity"), tags)
        return ImageResult(category, describe_image(known, category, rule_of), Coverage(asked=1, answered=1, calls=calls))

    async def _judged(self, source: Source, identity: str | None, tags: tuple[str, ...]) -> tuple[Mapping[str, Verdict], int]:
        """The verdicts on one picture, and how many questions they took now."""
        media = await self._in_thread(partial(fingerprint, source, self._zips)) if identity is None else identity
        seen = self._judge.recall(await self._judge.memory(media), Look(0.0, tags, Purpose.STILL))
        known = dict(seen.verdicts) if seen else {}
        left = tuple(tag for tag in tags if tag not in known)
        if left:
            frame = await self._in_thread(partial(_frame, source, self._zips, self._judge.shape(Purpose.STILL)))
            known |= await self._judge.ask(media, Look(0.0, left, Purpose.STILL), frame)
        return known, 1 if left else 0

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _frame(source: Source, zips: Zips, shape: ImageShape) -> Frame:
    jpeg, width, height = encode(open_picture(source, zips), shape)
    return Frame(0.0, width, height, jpeg)
