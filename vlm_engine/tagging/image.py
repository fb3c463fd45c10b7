"""Tagging of one picture: a question for each view of it, one verdict for each tag, the user's
rules.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import lru_cache, partial

from vlm_engine.config.models import EngineConfig
from vlm_engine.errors import FrameError, MediaUnreadableError
from vlm_engine.pictures import ImageViews, PictureReader, Source, ViewKind, name_of, spread
from vlm_engine.spans import describe_image, images_together
from vlm_engine.tagging.cached_client import CachedAnswers, CachedClient, Cascade, Tags
from vlm_engine.tagging.requests import ImageRequest
from vlm_engine.tasks import gather_or_cancel
from vlm_engine.types import Coverage, Frame, FrameQuery, ImageResult, ImageShape, Purpose, Verdict
from vlm_engine.video import VideoReader, probe
from vlm_engine.watchdog import Readers, pause

_log = logging.getLogger(__name__)
_THREADS = 8
"""Decoding keeps a core busy, and reading from a slow share none. These threads are apart from
those of the answer store, which never waits for pictures.
"""
_ENOUGH = 0.3
"""The share of a moving picture's moments that must show a tag, each counted by its confidence."""


@dataclass(frozen=True, slots=True)
class _Judged:
    verdicts: Mapping[str, Verdict]
    coverage: Coverage


class ImageTagger:
    """Tags pictures, any number at once. Close it in the end."""

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        self._rule_of = lru_cache(64)(config.rule_of)
        self._reader = PictureReader(frames=config.image.frames, parts=config.image.parts)
        self._readers = Readers(_THREADS, config.video.stall_s)

    async def aclose(self) -> None:
        """Wait for what is being read, and close the zips."""
        await self._readers.aclose()
        self._reader.close()

    async def tag(self, request: ImageRequest, cascades: Sequence[Cascade]) -> ImageResult:
        """Tag a picture with the tags of every category.

        Raises ``MediaError``, ``ClientError`` when this picture cannot be judged, and
        ``NoEndpointError``.
        """
        tags = {cascade.judge: cascade.tags(request.skipped_categories) for cascade in cascades}
        requested = {client: client_tags for client, client_tags in tags.items() if client_tags}
        judged = await self._judge(request, requested) if requested else {}
        verdicts = {
            cascade.category: judged[cascade.judge].verdicts if cascade.judge in judged else {}
            for cascade in cascades
        }
        described = [
            describe_image(seen, category, self._rule_of(category, request.threshold))
            for category, seen in verdicts.items()
        ]
        coverage = sum((one.coverage for one in judged.values()), Coverage())
        by_model = {
            client.name: one.coverage for client, one in judged.items() if one.coverage.calls
        }
        calls = {name: each.calls for name, each in by_model.items()}
        seconds = {name: each.seconds for name, each in by_model.items()}
        judges = {
            cascade.category: await cascade.judge.identity()
            for cascade in cascades
            if cascade.judge in judged
        }
        return ImageResult(images_together(described), coverage, calls, seconds, verdicts, judges)

    async def _judge(
        self, request: ImageRequest, tags: Mapping[CachedClient, Tags]
    ) -> dict[CachedClient, _Judged]:
        """Return what each model says; all are asked at once."""
        async with AsyncExitStack() as places:
            in_order = sorted(tags, key=id)  # always the same, against deadlocks
            for limit in (
                *(client.instances for client in in_order),
                *(client.open_questions for client in in_order),
            ):
                await places.enter_async_context(limit)
            identity = request.identity
            if identity is None:
                identity = await self._readers.call(
                    name_of(request.source), partial(self._reader.fingerprint, request.source)
                )
            picture = _Picture(request.source, identity, self._read)
            judged = await gather_or_cancel(
                [
                    self._judge_by(client, picture, client_tags)
                    for client, client_tags in tags.items()
                ]
            )
        return dict(zip(tags, judged, strict=True))

    async def _judge_by(self, client: CachedClient, picture: _Picture, tags: Tags) -> _Judged:
        known = await client.load_answers(picture.identity)
        if not self._config.image.parts:  # else the whole is one of several views
            found = client.find_answer(
                known, FrameQuery(0.0, tags, Purpose.STILL), client.still_style
            )
            if found is not None and all(tag in found.verdicts for tag in tags):
                return _Judged(found.verdicts, Coverage(asked=1, answered=1))
        views = await picture.views(client.still_style.shape)
        if views.kind is ViewKind.MOVING:
            moving = f"{picture.identity} moving"
            known = await client.load_answers(moving)
            moments = await _judge_frames(client, moving, known, views.frames, tags)
            unseen = Coverage(asked=views.missing, failed=views.missing, unreadable=views.missing)
            verdicts = combine_moments([one.verdicts for one in moments], views.missing)
            return _Judged(verdicts, _coverage(moments) + unseen)
        whole = await _judge_frame(client, picture.identity, known, views.frames[0], tags)
        if views.kind is ViewKind.STILL:
            return whole
        in_parts = f"{picture.identity} {views.layout}"
        known = await client.load_answers(in_parts)
        parts = await _judge_frames(client, in_parts, known, views.frames[1:], tags)
        seen = [whole, *parts]
        return _Judged(combine_parts([one.verdicts for one in seen]), _coverage(seen))

    async def _read(self, source: Source, shape: ImageShape) -> ImageViews:
        name = name_of(source)
        views = await self._readers.call(name, partial(self._reader.views, source, shape))
        if views.kind is ViewKind.VIDEO:
            views = await self._readers.call(name, partial(self._read_clip, source, shape))
        return views

    def _read_clip(self, source: Source, shape: ImageShape) -> ImageViews:
        """Return moments from all over a video. Raises ``MediaUnreadableError`` if none decodes."""
        config, name = self._config.video, name_of(source)
        video = self._reader.as_video(source)
        pause()  # what reads the video is watched by itself
        info = probe(video, stall_s=config.stall_s)
        times_s = spread(info.duration_s, self._config.image.frames)
        with VideoReader(info, hwaccel=config.hwaccel, stall_s=config.stall_s) as reader:
            moments = [moment for _, moment in reader.frames(times_s, shape)]
        frames = tuple(moment for moment in moments if isinstance(moment, Frame))
        error = next((moment for moment in moments if isinstance(moment, FrameError)), None)
        if error is not None and not frames:
            raise MediaUnreadableError(str(error)) from error
        unseen = len(moments) - len(frames)
        if error is not None:
            _log.warning(
                "%s: %d of %d moments cannot be seen: %s", name, unseen, len(moments), error
            )
        return ImageViews(ViewKind.MOVING, frames, missing=unseen)


class _Picture:
    """One picture while models are asked: read and decoded once for each shape that they want."""

    def __init__(
        self,
        source: Source,
        identity: str,
        read: Callable[[Source, ImageShape], Awaitable[ImageViews]],
    ) -> None:
        self.identity = identity
        self._source = source
        self._read = read
        self._views: dict[ImageShape, ImageViews] = {}
        self._reading = asyncio.Lock()

    async def views(self, shape: ImageShape) -> ImageViews:
        """Return what there is to look at."""
        async with self._reading:
            if shape not in self._views:
                self._views[shape] = await self._read(self._source, shape)
            return self._views[shape]


async def _judge_frames(
    client: CachedClient, cache_key: str, known: CachedAnswers, frames: Sequence[Frame], tags: Tags
) -> list[_Judged]:
    """Return the verdicts on each frame. One that occurs twice is judged once."""
    judged: dict[float, _Judged] = {}
    for frame in frames:
        if frame.time_s not in judged:
            judged[frame.time_s] = await _judge_frame(client, cache_key, known, frame, tags)
    return [judged[frame.time_s] for frame in frames]


async def _judge_frame(
    client: CachedClient, cache_key: str, known: CachedAnswers, frame: Frame, tags: Tags
) -> _Judged:
    found = client.find_answer(
        known, FrameQuery(frame.time_s, tags, Purpose.STILL), client.still_style
    )
    verdicts = dict(found.verdicts) if found else {}
    left = tuple(tag for tag in tags if tag not in verdicts)
    if not left:
        return _Judged(verdicts, Coverage(asked=1, answered=1))
    query = FrameQuery(frame.time_s, left, Purpose.STILL)
    answer = await client.ask_still(cache_key, query, frame)
    coverage = Coverage(asked=1, answered=1, calls=1, seconds=answer.seconds)
    return _Judged({**verdicts, **answer.verdicts}, coverage)


def _coverage(judged: Sequence[_Judged]) -> Coverage:
    """Return what all of them took; one that is there twice was judged once."""
    return sum((one.coverage for one in {id(one): one for one in judged}.values()), Coverage())


def combine_moments(views: Sequence[Mapping[str, Verdict]], unseen: int = 0) -> dict[str, Verdict]:
    """Return the verdicts on a moving picture. ``unseen``: moments that could not be looked at.

    A tag applies when the confidences of the moments that show it add up to at least three tenths
    of the number of moments; a moment without a confidence counts 1. The tag's own confidence is
    the mean of those that are known.
    """
    combined = {}
    for tag in views[0]:
        present = [view[tag] for view in views if view[tag].present]
        known = [each.probability for each in present if each.probability is not None]
        weight = sum(known) + len(present) - len(known)
        applies = bool(present) and weight >= _ENOUGH * (len(views) + unseen) - 1e-9
        combined[tag] = Verdict(applies, sum(known) / len(known) if known else None)
    return combined


def combine_parts(views: Sequence[Mapping[str, Verdict]]) -> dict[str, Verdict]:
    """Return the verdicts on a still from those on the whole and its parts: one of them is enough.

    The confidence is the largest; None where one is not known.
    """
    combined = {}
    for tag in views[0]:
        present = [view[tag].probability for view in views if view[tag].present]
        absent = [view[tag].probability for view in views if not view[tag].present]
        known = [each for each in present or absent if each is not None]
        if present:
            combined[tag] = Verdict(True, max(known) if len(known) == len(present) else None)
        else:
            combined[tag] = Verdict(False, max(known, default=None))
    return combined
