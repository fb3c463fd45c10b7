"""Drives one search: looks become frames, frames become questions, answers become observations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from vlm_engine.config_models import VideoConfig
from vlm_engine.errors import CoverageError, FrameError, MediaUnreadableError, ReplyError, RequestError, ServerError
from vlm_engine.models.judge import Judge, Memory
from vlm_engine.models.tally import Tally
from vlm_engine.search import GroupedSearch
from vlm_engine.types import Coverage, Frame, ImageShape, Look, Observation, Progress, VideoInfo
from vlm_engine.video import VideoReader
from vlm_engine.vr import Layout

LEAST_COVERAGE = 0.9
"""A video is not called done when the model could judge a smaller share of the frames that could be read."""
_HOPELESS_AFTER = 16

OnProgress = Callable[[Progress], None]
Frames = Iterator[tuple[float, Frame | FrameError]]


class SearchRun:
    """One search of one video, from the first look to the last.

    A frame that cannot be decoded or judged is counted as failed and left unjudged; the search goes on
    around it. Frames are decoded one after the other in time order, and asked about as soon as a slot is free.
    ``media`` is the name under which answers are kept.
    """

    def __init__(
        self,
        judge: Judge,
        video: VideoInfo,
        search: GroupedSearch,
        on_progress: OnProgress | None,
        *,
        media: str,
        vr: Layout | None,
        reading: VideoConfig,
    ) -> None:
        self._judge = judge
        self._video = video
        self._media = media
        self._search = search
        self._on_progress = on_progress
        self._decoder = _Decoder(video, reading, vr=vr)
        self._tally = Tally()
        self._outstanding = 0
        self._furthest = 0.0

    async def to_the_end(self) -> None:
        """Runs until the search has no more looks.

        Raises ``MediaUnreadableError`` when no frame decodes, ``NoEndpointError`` when nobody is left to ask, and
        ``CoverageError`` when too few of the frames that decode could be judged. Whatever was answered until then
        is stored.
        """
        memory = await self._judge.memory(self._media)
        try:
            while looks := await asyncio.to_thread(self._search.looks):
                await self._round(looks, memory)
        finally:
            self._decoder.close()
        coverage = self.coverage()
        if coverage.asked and coverage.unreadable == coverage.asked:
            raise MediaUnreadableError(f"{self._video.path}: none of its frames decodes: {self._tally.reasons()}")
        if coverage.answered < LEAST_COVERAGE * (coverage.asked - coverage.unreadable):
            raise self._too_little()

    def coverage(self) -> Coverage:
        """The frames so far."""
        return self._tally.coverage()

    def gaps_s(self) -> tuple[tuple[float, float], ...]:
        """The stretches, as (start, end), in which no frame could be read."""
        return self._tally.gaps_s(self._video.duration_s)

    async def _round(self, looks: Sequence[Look], memory: Memory) -> None:
        self._outstanding = len(looks)
        unknown = list(self._recall(looks, memory))
        try:
            async with asyncio.TaskGroup() as group:
                for shape in dict.fromkeys(self._judge.shape(look.purpose) for look in unknown):
                    alike = {look.time_s: look for look in unknown if self._judge.shape(look.purpose) == shape}
                    await self._ask_about(alike, shape, group)
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    def _recall(self, looks: Sequence[Look], memory: Memory) -> Iterator[Look]:
        """Records what is known already; yields what is left to ask, about the tags that are left."""
        for look in looks:
            seen = self._judge.recall(memory, look)
            if seen is not None:
                self._search.record(Look(look.time_s, tuple(seen.verdicts), look.purpose), seen)
            left = tuple(tag for tag in look.tags if seen is None or tag not in seen.verdicts)
            if left:
                yield Look(look.time_s, left, look.purpose)
            else:
                self._tally.read(look.time_s, True)
                self._tally.answered(calls=0)
                self._settle()

    async def _ask_about(self, looks: Mapping[float, Look], shape: ImageShape, group: asyncio.TaskGroup) -> None:
        room = self._judge.room
        frames = await self._decoder.frames(sorted(looks), shape)
        for _ in looks:
            await room.acquire()
            try:
                time_s, frame = await self._decoder.next(frames)
            except BaseException:
                room.release()
                raise
            self._tally.read(time_s, isinstance(frame, Frame))
            if isinstance(frame, FrameError):
                room.release()
                self._fail(looks[time_s], frame)
            else:
                asking = group.create_task(self._ask(looks[time_s], frame))
                asking.add_done_callback(lambda _: room.release())

    async def _ask(self, look: Look, frame: Frame) -> None:
        try:
            verdicts = await self._judge.ask(self._media, look, frame)
        except (RequestError, ReplyError, ServerError) as error:
            self._fail(look, error)
            return
        self._search.record(look, Observation(frame.time_s, verdicts))
        self._tally.answered(calls=1)
        self._settle()

    def _fail(self, look: Look, error: Exception) -> None:
        self._search.record(look, Observation(look.time_s, {}))
        self._tally.failed(str(error))
        coverage = self.coverage()
        if not coverage.answered and coverage.failed - coverage.unreadable >= _HOPELESS_AFTER:
            raise self._too_little()
        self._settle()

    def _settle(self) -> None:
        self._outstanding -= 1
        if self._on_progress is None:
            return
        coverage = self.coverage()
        expected = coverage.asked + self._outstanding + self._search.expected_more()
        if self._furthest:
            expected = min(expected, int(coverage.asked / self._furthest))
        progress = Progress(coverage, max(coverage.asked, expected))
        self._furthest = progress.fraction
        self._on_progress(progress)

    def _too_little(self) -> CoverageError:
        coverage = self.coverage()
        judged = f"only {coverage.answered} of {coverage.asked} frames could be judged"
        return CoverageError(f"{self._video.path}: {judged}, so its results would mislead: {self._tally.reasons()}")


class _Decoder:
    """A video's reader on a thread of its own, opened when the first frame is wanted.

    One thread keeps the order: a frame whose wait was cancelled is decoded to its end before the file is closed.
    """

    def __init__(self, video: VideoInfo, reading: VideoConfig, *, vr: Layout | None) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="decode")
        self._video, self._reading, self._vr = video, reading, vr
        self._reader: VideoReader | None = None

    async def frames(self, times_s: Sequence[float], shape: ImageShape) -> Frames:
        """An iterator over (time asked for, frame), in order of time; hand it to ``next``."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._frames, times_s, shape)

    async def next(self, frames: Frames) -> tuple[float, Frame | FrameError]:
        """The next frame. There must be one: every time asked for is served once."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, next, frames)

    def close(self) -> None:
        """Closes the file as soon as what is being decoded is done. Does not wait for it."""
        self._thread.submit(self._close)
        self._thread.shutdown(wait=False)

    def _frames(self, times_s: Sequence[float], shape: ImageShape) -> Frames:
        if self._reader is None:
            how = self._reading
            self._reader = VideoReader(self._video, vr=self._vr, hwaccel=how.hwaccel, stall_s=how.stall_s)
        return self._reader.frames(times_s, shape)

    def _close(self) -> None:
        if self._reader is not None:
            self._reader.close()
