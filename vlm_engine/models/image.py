"""The built-in stage for pictures: one question for each look, what the looks say together, the user's rules."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from vlm_engine.config_models import EngineConfig
from vlm_engine.errors import FrameError, MediaUnreadableError
from vlm_engine.models.base import Model
from vlm_engine.models.combine import of_moments, of_parts
from vlm_engine.models.judge import Judge, Memory
from vlm_engine.pictures import Looks, PictureReader, Showing, Source, spread
from vlm_engine.spans import describe_image
from vlm_engine.types import Coverage, Frame, ImageResult, ImageShape, Look, Purpose, Verdict
from vlm_engine.video import VideoReader, probe

_T = TypeVar("_T")

# Decoding keeps a core busy, reading from a slow share none. Threads of their own: the answer store never waits for pictures.
_THREADS = 8


@dataclass(frozen=True, slots=True)
class _Judged:
    verdicts: Mapping[str, Verdict]
    coverage: Coverage


class JudgeImage(Model):
    """``image`` (a path, a file's bytes, or a ``ZipEntry``) and ``identity`` (or None) → ``ImageResult``."""

    needs = ("image",)

    def __init__(self, judge: Judge, config: EngineConfig) -> None:
        self._judge = judge
        self._config = config
        self._reader = PictureReader(frames=config.image.frames, parts=config.image.parts, stall_s=config.video.stall_s)
        self._threads = ThreadPoolExecutor(_THREADS, "picture")

    async def aclose(self) -> None:
        """Waits for what is being read, and closes the zips."""
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        self._reader.close()

    async def process(self, inputs: Mapping[str, Any]) -> ImageResult:
        """Raises ``MediaError``, or ``ClientError`` when this picture cannot be judged, or ``NoEndpointError``."""
        category = self._judge.model.category
        tags = () if category in inputs.get("skipped_categories", ()) else self._judge.model.tag_list
        rule_of = self._config.rule_of(category, inputs.get("threshold"))
        if not tags:
            return ImageResult(category, describe_image({}, category, rule_of), Coverage())
        source: Source = inputs["image"]
        identity: str | None = inputs.get("identity")
        async with self._judge.instances, self._judge.room:
            if identity is None:
                identity = await self._in_thread(partial(self._reader.fingerprint, source))
            judged = await self._known_still(identity, tags) or await self._judged(source, identity, tags)
        return ImageResult(category, describe_image(judged.verdicts, category, rule_of), judged.coverage)

    async def _known_still(self, media: str, tags: tuple[str, ...]) -> _Judged | None:
        """What was found out before about a still that is seen as a whole; None where something is to be asked."""
        if self._config.image.parts:
            return None
        seen = self._judge.recall(await self._judge.memory(media), Look(0.0, tags, Purpose.STILL))
        if seen is None or any(tag not in seen.verdicts for tag in tags):
            return None
        return _Judged(seen.verdicts, Coverage(asked=1, answered=1))

    async def _judged(self, source: Source, identity: str, tags: tuple[str, ...]) -> _Judged:
        shape = self._judge.shape(Purpose.STILL)
        looks = await self._in_thread(partial(self._reader.looks, source, shape))
        if looks.showing is Showing.CLIP:
            looks = await self._in_thread(partial(self._clip, source, shape))
        if looks.showing is Showing.MOVING:
            moments = await self._each(f"{identity} moving", looks.frames, tags)
            return _Judged(of_moments([one.verdicts for one in moments]), _all(moments))
        seen = await self._each(identity, looks.frames[:1], tags)
        if looks.showing is Showing.PARTS:
            seen += await self._each(f"{identity} {looks.layout}", looks.frames[1:], tags)
        return _Judged(of_parts([one.verdicts for one in seen]), _all(seen))

    async def _each(self, media: str, frames: Sequence[Frame], tags: tuple[str, ...]) -> list[_Judged]:
        """The verdicts on each frame. One that is there twice counts twice and is judged once."""
        memory = await self._judge.memory(media)
        judged: dict[float, _Judged] = {}
        for frame in frames:
            if frame.time_s not in judged:
                judged[frame.time_s] = await self._one(media, memory, frame, tags)
        return [judged[frame.time_s] for frame in frames]

    async def _one(self, media: str, memory: Memory, frame: Frame, tags: tuple[str, ...]) -> _Judged:
        seen = self._judge.recall(memory, Look(frame.time_s, tags, Purpose.STILL))
        known = dict(seen.verdicts) if seen else {}
        left = tuple(tag for tag in tags if tag not in known)
        if left:
            known |= await self._judge.ask(media, Look(frame.time_s, left, Purpose.STILL), frame)
        return _Judged(known, Coverage(asked=1, answered=1, calls=1 if left else 0))

    def _clip(self, source: Source, shape: ImageShape) -> Looks:
        """Moments from all over a video; those that can be decoded."""
        how = self._config.video
        info = probe(self._reader.video(source), stall_s=how.stall_s)
        times_s = spread(info.duration_s, self._config.image.frames)
        with VideoReader(info, hwaccel=how.hwaccel, stall_s=how.stall_s) as reader:
            shown = [frame for _, frame in reader.frames(times_s, shape)]
        frames = tuple(frame for frame in shown if isinstance(frame, Frame))
        if not frames:
            problem = next(frame for frame in shown if isinstance(frame, FrameError))
            raise MediaUnreadableError(str(problem)) from problem
        return Looks(Showing.MOVING, frames)

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _all(judged: Sequence[_Judged]) -> Coverage:
    """What all of them took; one that is there twice was judged once."""
    return sum((one.coverage for one in {id(one): one for one in judged}.values()), Coverage())
