"""The searches of one video: queries become frames, frames questions, answers observations."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import (
    AsyncIterator,
    Collection,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from vlm_engine.config.models import VideoConfig
from vlm_engine.errors import FrameError, MediaUnreadableError
from vlm_engine.tagging.cached_client import CachedClient, Tags
from vlm_engine.tagging.category_search import CategorySearch
from vlm_engine.tagging.comparison_run import Comparison, Picture
from vlm_engine.types import (
    Coverage,
    Frame,
    FrameQuery,
    ImageShape,
    OnProgress,
    Progress,
    Purpose,
    VideoInfo,
)
from vlm_engine.video import VideoReader
from vlm_engine.vr import Layout


class SearchRun:
    """The searches of one video, from the first query to the last.

    They go side by side, round by round: ``next_queries``, then ``ask`` what is ``unanswered`` and
    the ``comparisons``, until there are no queries; then ``finish``. Frames are decoded one after
    the other in order of time, each once for all searches that want it, and asked about when their
    models have room for them.
    """

    def __init__(
        self,
        video: VideoInfo,
        searches: Sequence[CategorySearch],
        on_progress: OnProgress | None,
        *,
        vr: Layout | None,
        config: VideoConfig,
    ) -> None:
        self._video = video
        self._searches = tuple(searches)
        self._on_progress = on_progress
        self._decoder = _Decoder(video, config, vr)
        self._outstanding = 0
        self._is_compared = False
        self._furthest = 0.0
        for search in searches:
            search.on_outcome = self._report_progress

    def next_queries(self) -> list[tuple[CategorySearch, FrameQuery]]:
        """Return the queries of the next round; none at the end. Takes long: not for the event
        loop.
        """
        return [(search, query) for search in self._searches for query in search.next_queries()]

    async def finish(self) -> None:
        """Store that the searches are finished.

        Raises ``MediaUnreadableError`` when no frame decodes, and ``CoverageError`` when too few of
        the frames that decode could be judged.
        """
        coverage = self.coverage()
        if coverage.asked and coverage.unreadable == coverage.asked:
            reasons = self._searches[0].tally.reasons()
            raise MediaUnreadableError(f"{self._video.path}: none of its frames decodes: {reasons}")
        for search in self._searches:
            await search.finish()

    def close(self) -> None:
        """Close the file once the current frame is decoded. Does not wait for it."""
        self._decoder.close()

    def coverage(self) -> Coverage:
        """Return the frames so far; one that two models were asked about counts twice."""
        return sum((search.tally.coverage() for search in self._searches), Coverage())

    def calls(self) -> Mapping[str, int]:
        """Return how many requests each model answered, by its name."""
        return sum((search.tally.calls for search in self._searches), Counter[str]())

    def seconds(self) -> Mapping[str, float]:
        """Return how many seconds of its endpoints each model took, by its name."""
        sums: defaultdict[str, float] = defaultdict(float)
        for search in self._searches:
            for model, seconds in search.tally.seconds.items():
                sums[model] += seconds
        return dict(sums)

    def gaps_s(self) -> tuple[tuple[float, float], ...]:
        """Return the stretches, as (start, end), in which no frame could be read."""
        return tuple(
            gap for search in self._searches for gap in search.tally.gaps_s(self._video.duration_s)
        )

    def unanswered(self, queries: Sequence[tuple[CategorySearch, FrameQuery]]) -> list[FrameBatch]:
        """Record what the store knows of these queries, and return the others in batches."""
        self._outstanding = len(queries)
        left = ((search, search.use_stored_answers(query)) for search, query in queries)
        return frame_batches([(search, query) for search, query in left if query is not None])

    async def comparisons(
        self, queries: Iterable[tuple[CategorySearch, FrameQuery]]
    ) -> list[Comparison]:
        """Return the frames of the first round, which was answered, that are asked about in another
        style; none of later rounds.
        """
        if self._is_compared:
            return []
        self._is_compared = True
        scans: dict[CategorySearch, list[FrameQuery]] = defaultdict(list)
        for search, query in queries:
            if query.purpose is Purpose.SCAN:
                scans[search].append(query)
        found = [
            comparison
            for search, scan in scans.items()
            for comparison in await search.comparisons(scan)
        ]
        self._outstanding = sum(len(comparison.choices) for comparison in found)
        return found

    async def ask(self, batches: Sequence[FrameBatch | Comparison]) -> None:
        """Ask these questions. Every answer is stored, whatever happens.

        Raises ``NoEndpointError`` when no endpoint is left, and ``CoverageError`` when nothing can
        be judged at all.
        """
        if not batches:
            return
        batches_at: dict[float, list[FrameBatch | Comparison]] = defaultdict(list)
        for batch in batches:
            for query in batch.queries:
                batches_at[query.time_s].append(batch)
        await self._decoder.start(
            {
                time_s: {shape for batch in at for shape in batch.shapes}
                for time_s, at in batches_at.items()
            }
        )
        try:
            async with asyncio.TaskGroup() as group:
                for time_s in sorted(batches_at):
                    async for batch in self._complete_batches(batches_at[time_s]):
                        task = group.create_task(batch.ask())
                        task.add_done_callback(batch.release_place)
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _complete_batches(
        self, batches: Sequence[FrameBatch | Comparison]
    ) -> AsyncIterator[FrameBatch | Comparison]:
        """Decode the next frame, and yield the batches that it completes once they have a place.

        A single frame gets its place before it is decoded. A larger batch gets it when it is
        complete: others might need the place to become complete.
        """
        single = [batch for batch in batches if len(batch.queries) == 1]
        async with AsyncExitStack() as places:
            for batch in sorted(single, key=lambda batch: id(batch.client)):  # against deadlocks
                await places.enter_async_context(batch.client.open_questions)
            picture = await self._decoder.next_picture()
            places.pop_all()
        for batch in batches:
            batch.add(picture)
        for batch in single:
            yield batch
        for batch in batches:
            if len(batch.queries) > 1 and batch.is_complete:
                await batch.client.open_questions.acquire()
                yield batch

    def _report_progress(self) -> None:
        self._outstanding -= 1
        if self._on_progress is None:
            return
        coverage = self.coverage()
        more = sum(search.expected_more() for search in self._searches)
        expected = coverage.asked + self._outstanding + more
        if self._furthest:
            expected = min(expected, int(coverage.asked / self._furthest))
        progress = Progress(coverage, max(coverage.asked, expected))
        self._furthest = progress.fraction
        self._on_progress(progress)


@dataclass(eq=False, slots=True)
class FrameBatch:
    """Queries of one search that are asked about in one request, in order of time; mostly one."""

    search: CategorySearch
    queries: Sequence[FrameQuery]
    frames: list[tuple[FrameQuery, Frame | FrameError]] = field(default_factory=list)

    @property
    def client(self) -> CachedClient:
        """The model that is asked."""
        return self.search.cascade.client_for(self.queries[0])

    @property
    def shapes(self) -> set[ImageShape]:
        """The size of its pictures."""
        return {self.search.styles[self.client].shape}

    @property
    def is_complete(self) -> bool:
        """True when all its frames were decoded."""
        return len(self.frames) == len(self.queries)

    def add(self, picture: Picture) -> None:
        """Take the frame of the next query."""
        (shape,) = self.shapes
        frame = picture if isinstance(picture, FrameError) else picture[shape]
        self.frames.append((self.queries[len(self.frames)], frame))

    def ask(self) -> Coroutine[None, None, None]:
        """Ask about the frames, as ``CategorySearch.ask_frames``."""
        return self.search.ask_frames(self.frames)

    def release_place(self, _: asyncio.Task[None]) -> None:
        """Give back the place among the open questions."""
        self.client.open_questions.release()


def frame_batches(queries: Iterable[tuple[CategorySearch, FrameQuery]]) -> list[FrameBatch]:
    """Return the queries in batches: several about the same tags where the model takes several."""
    alike: dict[tuple[CategorySearch, CachedClient, Tags], list[FrameQuery]] = defaultdict(list)
    batches = []
    for search, query in queries:
        client = search.cascade.client_for(query)
        if client.frames_per_question(query.purpose) > 1:
            alike[search, client, query.tags].append(query)
        else:
            batches.append(FrameBatch(search, [query]))
    for (search, client, _), group in alike.items():
        group.sort(key=lambda query: query.time_s)
        size = client.frames_per_question(group[0].purpose)
        batches += [
            FrameBatch(search, group[first : first + size]) for first in range(0, len(group), size)
        ]
    return batches


class _Decoder:
    """Reader of a video on a thread of its own, opened when the first frame is wanted.

    One thread keeps the order: a frame whose caller was cancelled is decoded to its end before the
    file is closed.
    """

    def __init__(self, video: VideoInfo, config: VideoConfig, vr: Layout | None) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="decode")
        self._video, self._config, self._vr = video, config, vr
        self._reader: VideoReader | None = None
        self._pictures: Iterator[tuple[float, Picture]] = iter(())

    async def start(self, shapes: Mapping[float, Collection[ImageShape]]) -> None:
        """Begin a round: ``shapes`` are wanted of the frames at these times."""
        loop = asyncio.get_running_loop()
        self._pictures = await loop.run_in_executor(self._thread, self._open, shapes)

    async def next_picture(self) -> Picture:
        """Return the next frame of the round, in order of time. There must be one left."""
        loop = asyncio.get_running_loop()
        _, picture = await loop.run_in_executor(self._thread, next, self._pictures)
        return picture

    def close(self) -> None:
        """Close the file once the current frame is decoded. Does not wait for it."""
        self._thread.submit(self._close)
        self._thread.shutdown(wait=False)

    def _open(
        self, shapes: Mapping[float, Collection[ImageShape]]
    ) -> Iterator[tuple[float, Picture]]:
        if self._reader is None:
            config = self._config
            self._reader = VideoReader(
                self._video, vr=self._vr, hwaccel=config.hwaccel, stall_s=config.stall_s
            )
        return self._reader.pictures(shapes)

    def _close(self) -> None:
        if self._reader is not None:
            self._reader.close()
