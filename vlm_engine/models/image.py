"""The built-in stage for pictures: one question to each model, the user's rules."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from vlm_engine.config_models import EngineConfig
from vlm_engine.models.base import Model
from vlm_engine.models.judge import Judge
from vlm_engine.models.panel import Panel
from vlm_engine.picture import encode
from vlm_engine.pictures import Source, Zips, fingerprint, open_picture
from vlm_engine.spans import describe_image, images_together
from vlm_engine.types import Coverage, Frame, ImageResult, ImageShape, Look, Purpose, Verdict

_T = TypeVar("_T")

# Decoding keeps a core busy, reading from a slow share none. Threads of their own: the answer store never waits for pictures.
_THREADS = 8


class JudgeImage(Model):
    """``image`` (a path, a file's bytes, or a ``ZipEntry``) and ``identity`` (or None) → ``ImageResult``."""

    needs = ("image",)

    def __init__(self, panels: Sequence[Panel], config: EngineConfig) -> None:
        self._panels = tuple(panels)
        self._config = config
        self._zips = Zips()
        self._threads = ThreadPoolExecutor(_THREADS, "picture")

    async def aclose(self) -> None:
        """Waits for what is being read, and closes the zips."""
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        self._zips.close()

    async def process(self, inputs: Mapping[str, Any]) -> ImageResult:
        """Raises ``MediaError``, or ``ClientError`` when this picture cannot be judged, or ``NoEndpointError``."""
        wanted = {panel: panel.tags(inputs.get("skipped_categories", ())) for panel in self._panels}
        looks = {panel.judge: Look(0.0, tags, Purpose.STILL) for panel, tags in wanted.items() if tags}
        known: dict[Judge, Mapping[str, Verdict]] = {}
        calls: dict[str, int] = {}
        if looks:
            async with AsyncExitStack() as turn:
                for judge in sorted(looks, key=id):  # always in one order, so that no two pictures wait for each other
                    await turn.enter_async_context(judge.instances)
                    await turn.enter_async_context(judge.room)
                known, calls = await self._judged(inputs["image"], inputs.get("identity"), looks)
        described = (
            describe_image(
                known.get(panel.judge, {}), panel.category, self._config.rule_of(panel.category, inputs.get("threshold"))
            )
            for panel in self._panels
        )
        coverage = Coverage(asked=len(looks), answered=len(looks), calls=sum(calls.values()))
        return ImageResult(images_together(described), coverage, calls)

    async def _judged(
        self, source: Source, identity: str | None, looks: Mapping[Judge, Look]
    ) -> tuple[dict[Judge, Mapping[str, Verdict]], dict[str, int]]:
        """The verdicts of each judge, and how many questions they took now, by its name. The picture is decoded once."""
        media = await self._in_thread(partial(fingerprint, source, self._zips)) if identity is None else identity
        known: dict[Judge, Mapping[str, Verdict]] = {}
        left: dict[Judge, Look] = {}
        for judge, look in looks.items():
            seen = judge.recall(await judge.memory(media), look)
            known[judge] = seen.verdicts if seen else {}
            tags = tuple(tag for tag in look.tags if tag not in known[judge])
            if tags:
                left[judge] = replace(look, tags=tags)
        if left:
            shapes = {judge.shape(Purpose.STILL) for judge in left}
            frames = await self._in_thread(partial(_frames, source, self._zips, shapes))
            for judge, verdicts in zip(left, await _all_asked(media, left, frames), strict=True):
                known[judge] = {**known[judge], **verdicts}
        return known, {judge.name: 1 for judge in left}

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


async def _all_asked(media: str, looks: Mapping[Judge, Look], frames: Mapping[ImageShape, Frame]) -> list[Mapping[str, Verdict]]:
    try:
        async with asyncio.TaskGroup() as group:
            asking = [
                group.create_task(judge.ask(media, look, frames[judge.shape(Purpose.STILL)])) for judge, look in looks.items()
            ]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in asking]


def _frames(source: Source, zips: Zips, shapes: Collection[ImageShape]) -> dict[ImageShape, Frame]:
    picture = open_picture(source, zips)
    frames = {}
    for shape in shapes:
        jpeg, width, height = encode(picture, shape)
        frames[shape] = Frame(0.0, width, height, jpeg)
    return frames
