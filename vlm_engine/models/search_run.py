"""Drives one search: looks become frames, frames become questions, answers become observations."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from vlm_engine.errors import CoverageError, FrameError, ReplyError, RequestError, ServerError
from vlm_engine.models.judge import Judge, Memory
from vlm_engine.search import VideoSearch
from vlm_engine.types import Coverage, Frame, ImageShape, Look, Observation, Progress, VideoInfo
from vlm_engine.video import VideoReader

LEAST_COVERAGE = 0.9
"""A video of whose frames a smaller share could be judged is not called done."""
_HOPELESS_AFTER = 16

OnProgress = Callable[[Progress], None]
Frames = Iterator[tuple[float, Frame | FrameError]]


class SearchRun:
    """One search of one video, from the first look to the last.

    A frame that cannot be decoded or judged is counted as failed and left unjudged; the search goes on
    around it. Frames are decoded one after the other in time order, and asked about as soon as a slot is free.
    """

    def __init__(self, judge: Judge, video: VideoInfo, search: VideoSearch, on_progress: OnProgress | None, *, vr: bool) -> None:
        self._judge = judge
        self._video = video
        self._search = search
        self._on_progress = on_progress
        self._decoder = _Decoder(video, vr)
        self._outstanding = self._answered = self._calls = 0
        self._failures: Counter[str] = Counter()
        self._furthest = 0.0

    async def to_the_end(self) -> Coverage:
        """Runs until the search has no more looks.

        Raises ``NoEndpointError`` when nobody is left to ask, and ``CoverageError`` when too few frames could be
        judged. Whatever was answered until then is stored.
        """
        memory = await self._judge.memory(self._video.identity)
        try:
            while looks := self._search.looks():
                await self._round(looks, memory)
        finally:
            self._decoder.close()
        if self._answered < LEAST_COVERAGE * (self._answered + self._failures.total()):
            raise self._too_little()
        return self._coverage()

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
            if isinstance(frame, FrameError):
                room.release()
                self._fail(looks[time_s], frame)
            else:
                asking = group.create_task(self._ask(looks[time_s], frame))
                asking.add_done_callback(lambda _: room.release())

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
                self._answered += 1
                self._settle()

    async def _ask(self, look: Look, frame: Frame) -> None:
        try:
            verdicts = await self._judge.ask(self._video.identity, look, frame)
        except (RequestError, ReplyError, ServerError) as error:
            self._fail(look, error)
            return
        self._search.record(look, Observation(frame.time_s, verdicts))
        self._answered += 1
        self._calls += 1
        self._settle()

    def _fail(self, look: Look, error: Exception) -> None:
        self._search.record(look, Observation(look.time_s, {}))
        self._failures[str(error)] += 1
        if not self._answered and self._failures.total() >= _HOPELESS_AFTER:
            raise self._too_little()
        self._settle()

    def _settle(self) -> None:
        self._outstanding -= 1
        if self._on_progress is None:
            return
        coverage = self._coverage()
        expected = coverage.asked + self._outstanding + self._search.expected_more()
        if self._furthest:
            expected = min(expected, int(coverage.asked / self._furthest))
        progress = Progress(coverage, max(coverage.asked, expected))
        self._furthest = progress.fraction
        self._on_progress(progress)

    def _coverage(self) -> Coverage:
        failed = self._failures.total()
        return Coverage(self._answered + failed, self._answered, failed, self._calls)

    def _too_little(self) -> CoverageError:
        coverage = self._coverage()
        reasons = "; ".join(f"{reason} ({count} x)" for reason, count in self._failures.most_common(3))
        judged = f"only {coverage.answered} of {coverage.asked} frames could be judged"
        return CoverageError(f"{self._video.path}: {judged}, so its results would mislead: {reasons}")


class _Decoder:
    """A video's reader on a thread of its own, opened when the first frame is wanted.

    One thread keeps the order: a frame whose wait was cancelled is decoded to its end before the file is closed.
    """

    def __init__(self, video: VideoInfo, vr: bool) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="decode")
        self._video, self._vr = video, vr
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
            self._reader = VideoReader(self._video, vr=self._vr)
        return self._reader.frames(times_s, shape)

    def _close(self) -> None:
        if self._reader is not None:
            self._reader.close()
