"""Drives the searches of one video: looks become frames, frames become questions, answers become observations."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack

from vlm_engine.config.models import VideoConfig
from vlm_engine.errors import MediaUnreadableError
from vlm_engine.files import media_errors
from vlm_engine.tagging.cached_client import CachedClient
from vlm_engine.tagging.category_search import CategorySearch
from vlm_engine.tagging.frame_batch import FrameBatch, Pictures, Wanted, sheets
from vlm_engine.types import Coverage, ImageShape, OnProgress, Progress, VideoInfo
from vlm_engine.video import VideoReader
from vlm_engine.vr import Layout


class SearchRun:
    """The searches of one video, from the first look to the last.

    They go side by side, round by round. Frames are decoded one after the other in time order, each once for all searches that
    want it in a round, and asked about as soon as every model that is to see it has room for it.
    """

    def __init__(
        self,
        video: VideoInfo,
        parts: Sequence[CategorySearch],
        on_progress: OnProgress | None,
        *,
        vr: Layout | None,
        reading: VideoConfig,
    ) -> None:
        self._video = video
        self._parts = tuple(parts)
        self._on_progress = on_progress
        self._decoder = _Decoder(video, reading, vr=vr)
        self._outstanding = 0
        self._furthest = 0.0

    async def to_the_end(self) -> None:
        """Runs until no search has more looks.

        Raises ``MediaUnreadableError`` when no frame decodes, ``NoEndpointError`` when nobody is left to ask, and
        ``CoverageError`` when too few of the frames that decode could be judged. Whatever was answered until then
        is stored.
        """
        try:
            while wanted := await asyncio.to_thread(self._looks):
                await self._round(wanted)
        finally:
            self._decoder.close()
        coverage = self.coverage()
        if coverage.asked and coverage.unreadable == coverage.asked:
            raise MediaUnreadableError(
                f"{self._video.path}: none of its frames decodes: {self._parts[0].tally.reasons()}"
            )
        for part in self._parts:
            await part.end()

    def coverage(self) -> Coverage:
        """The frames so far; one that two models were asked about counts twice."""
        return sum((part.tally.coverage() for part in self._parts), Coverage())

    def calls(self) -> Mapping[str, int]:
        """How many requests each model answered, by its name."""
        return sum((part.tally.calls for part in self._parts), Counter[str]())

    def gaps_s(self) -> tuple[tuple[float, float], ...]:
        """The stretches, as (start, end), in which no frame could be read."""
        return tuple(
            gap for part in self._parts for gap in part.tally.gaps_s(self._video.duration_s)
        )

    def _looks(self) -> list[Wanted]:
        return [(part, look) for part in self._parts for look in part.next_queries()]

    async def _round(self, wanted: Sequence[Wanted]) -> None:
        self._outstanding = len(wanted)
        left = []
        for part, look in wanted:
            unknown = part.recall(look)
            if unknown is None:
                self._settle()
            else:
                left.append((part, unknown))
        if not left:
            return
        by_time: dict[float, list[FrameBatch]] = defaultdict(list)
        for sheet in sheets(left):
            for look in sheet.looks:
                by_time[look.time_s].append(sheet)
        pictures = await self._decoder.pictures(
            {time_s: {sheet.shape for sheet in own} for time_s, own in by_time.items()}
        )
        try:
            async with asyncio.TaskGroup() as group:
                for time_s in sorted(by_time):
                    await self._show(by_time[time_s], pictures, group)
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _show(
        self,
        wanted: Sequence[FrameBatch],
        pictures: Iterator[tuple[float, Pictures]],
        group: asyncio.TaskGroup,
    ) -> None:
        """Takes the next frame from the decoder and shows it to those who want it, once each of them has room.

        A frame that goes with others waits for them first. Nobody keeps room for what is incomplete: others might need it to
        become complete.
        """
        alone: dict[CachedClient, list[FrameBatch]] = defaultdict(list)
        for sheet in wanted:
            if len(sheet.looks) == 1:
                alone[sheet.judge].append(sheet)
        async with AsyncExitStack() as held:
            for judge in sorted(
                alone, key=id
            ):  # always in one order, so that no two searches wait for each other
                await judge.room.acquire()
                held.callback(judge.room.release)
            _, served = await self._decoder.next(pictures)
            held.pop_all()
        for sheet in wanted:
            sheet.take(served)
        for judge, own in alone.items():
            _when_all_are_done(
                [group.create_task(self._ask(sheet)) for sheet in own], judge.room.release
            )
        for sheet in wanted:
            if len(sheet.looks) > 1 and sheet.is_complete:
                await sheet.judge.room.acquire()
                _when_all_are_done([group.create_task(self._ask(sheet))], sheet.judge.room.release)

    async def _ask(self, sheet: FrameBatch) -> None:
        await sheet.part.ask(sheet.shown)
        for _ in sheet.looks:
            self._settle()

    def _settle(self) -> None:
        self._outstanding -= 1
        if self._on_progress is None:
            return
        coverage = self.coverage()
        expected = (
            coverage.asked + self._outstanding + sum(part.expected_more() for part in self._parts)
        )
        if self._furthest:
            expected = min(expected, int(coverage.asked / self._furthest))
        progress = Progress(coverage, max(coverage.asked, expected))
        self._furthest = progress.fraction
        self._on_progress(progress)


def _when_all_are_done(tasks: Sequence[asyncio.Task[None]], call: Callable[[], None]) -> None:
    left = set(tasks)

    def done(task: asyncio.Task[None]) -> None:
        left.discard(task)
        if not left:
            call()

    for task in tasks:
        task.add_done_callback(done)


class _Decoder:
    """A video's reader on a thread of its own, opened when the first frame is wanted.

    One thread keeps the order: a frame whose wait was cancelled is decoded to its end before the file is closed.
    """

    def __init__(self, video: VideoInfo, reading: VideoConfig, *, vr: Layout | None) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="decode")
        self._video, self._reading, self._vr = video, reading, vr
        self._reader: VideoReader | None = None

    async def pictures(
        self, wanted: Mapping[float, Collection[ImageShape]]
    ) -> Iterator[tuple[float, Pictures]]:
        """An iterator over (time asked for, the frame in every shape), in order of time; hand it to ``next``."""
        with media_errors(self._video.path):
            return await asyncio.get_running_loop().run_in_executor(
                self._thread, self._pictures, wanted
            )

    async def next(self, pictures: Iterator[tuple[float, Pictures]]) -> tuple[float, Pictures]:
        """The next frame. There must be one: every time asked for is served once."""
        with media_errors(self._video.path):
            return await asyncio.get_running_loop().run_in_executor(self._thread, next, pictures)

    def close(self) -> None:
        """Closes the file as soon as what is being decoded is done. Does not wait for it."""
        self._thread.submit(self._close)
        self._thread.shutdown(wait=False)

    def _pictures(
        self, wanted: Mapping[float, Collection[ImageShape]]
    ) -> Iterator[tuple[float, Pictures]]:
        if self._reader is None:
            how = self._reading
            self._reader = VideoReader(
                self._video, vr=self._vr, hwaccel=how.hwaccel, stall_s=how.stall_s
            )
        return self._reader.pictures(wanted)

    def _close(self) -> None:
        if self._reader is not None:
            self._reader.close()
