"""The built-in stage for pictures: one question for each look, what the looks say together, the user's rules."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from vlm_engine.config.models import EngineConfig
from vlm_engine.errors import FrameError, MediaUnreadableError
from vlm_engine.files import media_errors
from vlm_engine.models.base import Model
from vlm_engine.pictures import ImageViews, PictureReader, Source, ViewKind, name_of, spread
from vlm_engine.spans import describe_image, images_together
from vlm_engine.tagging.cached_client import CachedAnswers, CachedClient
from vlm_engine.tagging.cascade import Cascade, Tags
from vlm_engine.tagging.combine import of_moments, of_parts
from vlm_engine.tasks import gather_or_cancel
from vlm_engine.types import Coverage, Frame, FrameQuery, ImageResult, ImageShape, Purpose, Verdict
from vlm_engine.video import VideoReader, probe
from vlm_engine.watchdog import Readers, pause

_log = logging.getLogger(__name__)

# Decoding keeps a core busy, reading from a slow share none. Threads of their own: the answer store never waits for pictures.
_THREADS = 8


@dataclass(frozen=True, slots=True)
class _Judged:
    verdicts: Mapping[str, Verdict]
    coverage: Coverage


class JudgeImage(Model):
    """``image`` (a path, a file's bytes, or a ``ZipEntry``) and ``identity`` (or None) → ``ImageResult``."""

    needs = ("image",)

    def __init__(self, panels: Sequence[Cascade], config: EngineConfig) -> None:
        self._panels = tuple(panels)
        self._config = config
        self._rule_of = lru_cache(64)(config.rule_of)
        self._reader = PictureReader(frames=config.image.frames, parts=config.image.parts)
        self._readers = Readers(_THREADS, config.video.stall_s)

    async def aclose(self) -> None:
        """Waits for what is being read, and closes the zips."""
        await self._readers.aclose()
        self._reader.close()

    async def process(self, inputs: Mapping[str, Any]) -> ImageResult:
        """Raises ``MediaError``, or ``ClientError`` when this picture cannot be judged, or ``NoEndpointError``."""
        tags = {
            panel.judge: panel.tags(inputs.get("skipped_categories", ())) for panel in self._panels
        }
        asked = {judge: own for judge, own in tags.items() if own}
        judged = await self._by_all(inputs["image"], inputs.get("identity"), asked) if asked else {}
        threshold = inputs.get("threshold")
        described = [
            describe_image(
                judged[panel.judge].verdicts if panel.judge in judged else {},
                panel.category,
                self._rule_of(panel.category, threshold),
            )
            for panel in self._panels
        ]
        coverage = sum((one.coverage for one in judged.values()), Coverage())
        calls = {
            judge.name: one.coverage.calls for judge, one in judged.items() if one.coverage.calls
        }
        return ImageResult(images_together(described), coverage, calls)

    async def _by_all(
        self, source: Source, identity: str | None, tags: Mapping[CachedClient, Tags]
    ) -> dict[CachedClient, _Judged]:
        """What each judge says; all are asked at once."""
        async with AsyncExitStack() as turn:
            in_order = sorted(
                tags, key=id
            )  # always in one order, so that nobody waits for somebody who waits for him
            for room in (
                *(judge.instances for judge in in_order),
                *(judge.room for judge in in_order),
            ):
                await turn.enter_async_context(room)
            if identity is None:
                identity = await self._readers.call(
                    name_of(source), partial(self._reader.fingerprint, source)
                )
            picture = _Picture(source, identity, self._looks)
            judged = await gather_or_cancel(
                [self._by(judge, picture, own) for judge, own in tags.items()]
            )
        return dict(zip(tags, judged, strict=True))

    async def _by(self, judge: CachedClient, picture: _Picture, tags: Tags) -> _Judged:
        memory = await judge.memory(picture.identity)
        return self._known_still(judge, memory, tags) or await self._judged(
            judge, picture, memory, tags
        )

    def _known_still(
        self, judge: CachedClient, memory: CachedAnswers, tags: Tags
    ) -> _Judged | None:
        """What was found out before about a still that is seen as a whole; None where something is to be asked."""
        if self._config.image.parts:
            return None
        seen = judge.recall(memory, FrameQuery(0.0, tags, Purpose.STILL))
        if seen is None or any(tag not in seen.verdicts for tag in tags):
            return None
        return _Judged(seen.verdicts, Coverage(asked=1, answered=1))

    async def _judged(
        self, judge: CachedClient, picture: _Picture, memory: CachedAnswers, tags: Tags
    ) -> _Judged:
        """``memory``: what is known of the picture as a still."""
        looks = await picture.looks(judge.shape(Purpose.STILL))
        if looks.kind is ViewKind.MOVING:
            moving = f"{picture.identity} moving"
            moments = await _each(judge, moving, await judge.memory(moving), looks.frames, tags)
            unseen = Coverage(asked=looks.missing, failed=looks.missing, unreadable=looks.missing)
            return _Judged(
                of_moments([one.verdicts for one in moments], looks.missing), _all(moments) + unseen
            )
        whole = await _one(judge, picture.identity, memory, looks.frames[0], tags)
        if looks.kind is ViewKind.STILL:
            return whole
        parts = f"{picture.identity} {looks.layout}"
        seen = [
            whole,
            *await _each(judge, parts, await judge.memory(parts), looks.frames[1:], tags),
        ]
        return _Judged(of_parts([one.verdicts for one in seen]), _all(seen))

    async def _looks(self, source: Source, shape: ImageShape) -> ImageViews:
        looks = await self._readers.call(
            name_of(source), partial(self._reader.views, source, shape)
        )
        if looks.kind is ViewKind.VIDEO:
            looks = await self._readers.call(name_of(source), partial(self._clip, source, shape))
        return looks

    def _clip(self, source: Source, shape: ImageShape) -> ImageViews:
        """Moments from all over a video. Raises ``MediaUnreadableError`` when none of them can be decoded."""
        with media_errors(name_of(source)):
            return self._moments(source, shape)

    def _moments(self, source: Source, shape: ImageShape) -> ImageViews:
        how, video = self._config.video, self._reader.as_video(source)
        pause()  # what reads the video is watched by itself
        info = probe(video, stall_s=how.stall_s)
        times_s = spread(info.duration_s, self._config.image.frames)
        with VideoReader(info, hwaccel=how.hwaccel, stall_s=how.stall_s) as reader:
            shown = [frame for _, frame in reader.frames(times_s, shape)]
        frames = tuple(frame for frame in shown if isinstance(frame, Frame))
        problem = next((frame for frame in shown if isinstance(frame, FrameError)), None)
        if problem is not None and not frames:
            raise MediaUnreadableError(str(problem)) from problem
        unseen = len(shown) - len(frames)
        if problem is not None:
            _log.warning(
                "%s: %d of %d moments cannot be seen: %s",
                name_of(source),
                unseen,
                len(shown),
                problem,
            )
        return ImageViews(ViewKind.MOVING, frames, missing=unseen)


class _Picture:
    """One picture while its judges are asked: read and decoded once for each shape in which they want it."""

    def __init__(
        self,
        source: Source,
        identity: str,
        read: Callable[[Source, ImageShape], Awaitable[ImageViews]],
    ) -> None:
        self.identity = identity
        self._source = source
        self._read = read
        self._looks: dict[ImageShape, ImageViews] = {}
        self._reading = asyncio.Lock()

    async def looks(self, shape: ImageShape) -> ImageViews:
        """What there is to look at."""
        async with self._reading:
            if shape not in self._looks:
                self._looks[shape] = await self._read(self._source, shape)
            return self._looks[shape]


async def _each(
    judge: CachedClient, media: str, memory: CachedAnswers, frames: Sequence[Frame], tags: Tags
) -> list[_Judged]:
    """The verdicts on each frame. One that is there twice counts twice and is judged once."""
    judged: dict[float, _Judged] = {}
    for frame in frames:
        if frame.time_s not in judged:
            judged[frame.time_s] = await _one(judge, media, memory, frame, tags)
    return [judged[frame.time_s] for frame in frames]


async def _one(
    judge: CachedClient, media: str, memory: CachedAnswers, frame: Frame, tags: Tags
) -> _Judged:
    seen = judge.recall(memory, FrameQuery(frame.time_s, tags, Purpose.STILL))
    known = dict(seen.verdicts) if seen else {}
    left = tuple(tag for tag in tags if tag not in known)
    if left:
        known |= await judge.ask(media, FrameQuery(frame.time_s, left, Purpose.STILL), frame)
    return _Judged(known, Coverage(asked=1, answered=1, calls=1 if left else 0))


def _all(judged: Sequence[_Judged]) -> Coverage:
    """What all of them took; one that is there twice was judged once."""
    return sum((one.coverage for one in {id(one): one for one in judged}.values()), Coverage())
