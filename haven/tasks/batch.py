"""The loop of every task that tags: goes through a queue of scenes or images, several at once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import ClassVar, Generic, TypeVar

from haven.items import ItemKind
from haven.report import End, ItemReport, Outcome, counted
from haven.stash.errors import ItemGoneError
from haven.stash.evidence import Evidence
from haven.stash.values import Fate, Image, Scene
from haven.tasks.background import TimeSlice, TimeSliceOverError
from haven.tasks.context import TaskContext
from haven.tasks.failures import ENDS_THE_BATCH, EXPECTED, FailureStreak, SameCauseError
from haven.tasks.messages import title_of
from vlm_engine import ImageResult, ImageTagInfo, VideoResult, VideoTagInfo

_log = logging.getLogger(__name__)
_LOOK_AGAIN_S = 1.0
"""Seconds after which a batch looks whether it may take more items: a worker may have joined."""

ItemT = TypeVar("ItemT", Scene, Image)
ResultT = TypeVar("ResultT", VideoResult, ImageResult)


@dataclass(frozen=True, slots=True)
class Writer:
    """Destination of results: Stash, or for *Preview* (``run_id`` 0) the log and the report."""

    context: TaskContext
    run_id: int = 0
    updating: bool = False

    @property
    def verb(self) -> str:
        """Participle for what was done to an item: ``tagged``."""
        if not self.run_id:
            return "looked at"
        return "updated" if self.updating else "tagged"

    async def apply(
        self,
        kind: ItemKind,
        results: Mapping[str, VideoTagInfo | ImageTagInfo],
        evidence: Mapping[str, Evidence],
    ) -> Mapping[str, Fate]:
        """Return the fate of each item, by id: what changed, would change, or why nothing did.

        *Preview* stores no evidence: it explains what is in Stash.
        """
        stash, handler = self.context.stash, self.context.handler
        markers = self.context.settings.create_markers
        if not self.run_id:
            return await stash(handler.preview, kind, results, create_markers=markers)
        return await stash(
            handler.apply,
            self.run_id,
            kind,
            results,
            create_markers=markers,
            updating=self.updating,
            evidence=evidence,
        )

    async def mark_failed(self, kind: ItemKind, reasons: Mapping[str, str]) -> Mapping[str, Fate]:
        """Give items the tag ``VLM_Errored``, except for *Preview*. Vanished ones are left out."""
        if not self.run_id:
            return {}
        mark = self.context.handler.mark_failed
        return await self.context.stash(mark, self.run_id, kind, reasons)


class ItemHandler(ABC, Generic[ItemT, ResultT]):
    """Work on each item of one kind.

    ``chunk``: how many items are read from Stash at a time.
    """

    kind: ClassVar[ItemKind]
    chunk: ClassVar[int]

    def __init__(self, context: TaskContext, writer: Writer) -> None:
        self.context = context
        self.writer = writer

    @property
    @abstractmethod
    def pace(self) -> str:
        """Text about how many items are worked on at once."""

    @abstractmethod
    def at_once(self) -> int:
        """Return how many items are looked at at once."""

    def under_way(self) -> int:
        """Return how many may be begun and not finished, also those that wait to be written."""
        return self.at_once()

    @abstractmethod
    async def read(self, ids: Sequence[str]) -> Sequence[ItemT]:
        """Return the items with these ids, without those that have vanished."""

    @abstractmethod
    async def look(self, item: ItemT) -> ResultT:
        """Ask the model. Interrupted when the time slice is over. Raises what the engine raises."""

    @abstractmethod
    def add_result(self, report: ItemReport, result: ResultT) -> ItemReport:
        """Return the report with what was found."""

    @abstractmethod
    async def write(self, item: ItemT, result: ResultT, report: ItemReport) -> ItemReport:
        """Write the result, and return the report with the change. Never interrupted."""

    @abstractmethod
    async def fail(self, report: ItemReport) -> None:
        """Log and mark an item that failed; the report says why."""

    @abstractmethod
    def finish(self, report: ItemReport) -> None:
        """Count the item in the progress, whatever its outcome."""

    @abstractmethod
    def flush(self) -> None:
        """Write without waiting for more results, because no item is looked at any more."""

    @abstractmethod
    def describe_calls(self) -> str:
        """Return what was asked, for the end line."""


async def read_ahead(
    ids: Sequence[str],
    read: Callable[[Sequence[str]], Awaitable[Sequence[ItemT]]],
    gone: Callable[[str], None],
    chunk: int,
) -> AsyncGenerator[ItemT, None]:
    """Yield the items with these ids, in order. While one chunk is used, the next is being read.

    ``read`` returns the items with some ids; ``gone`` is called with each id that it leaves out.
    """

    async def start(ids: Sequence[str]) -> Sequence[ItemT]:
        return await read(ids)

    chunks = [ids[first : first + chunk] for first in range(0, len(ids), chunk)]
    reading = [asyncio.create_task(start(some)) for some in chunks[:1]]
    try:
        for number, wanted in enumerate(chunks, 1):
            items = await reading.pop()
            reading += [asyncio.create_task(start(some)) for some in chunks[number : number + 1]]
            found = {item.id for item in items}
            for item_id in wanted:
                if item_id not in found:
                    gone(item_id)
            for item in items:
                yield item
    finally:
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)


class Batch(Generic[ItemT, ResultT]):
    """The items of one queue, worked on as many at once as their handler allows.

    ``left``: the ids that are not finished yet, in the order of the queue.
    """

    def __init__(
        self,
        context: TaskContext,
        time_slice: TimeSlice,
        handler: ItemHandler[ItemT, ResultT],
        ids: Sequence[str],
    ) -> None:
        self.left = dict.fromkeys(ids)
        self._context = context
        self._time_slice = time_slice
        self._handler: ItemHandler[ItemT, ResultT] = handler
        self._kind = handler.kind
        self._outcome = Outcome.DONE if handler.writer.run_id else Outcome.PLANNED
        self._looking = self._under_way = 0
        self._has_room = asyncio.Event()
        self._all_begun = False
        self._outcomes: Counter[Outcome] = Counter()
        self._broken_by: Exception | None = None
        self._failures = FailureStreak("stays queued" if context.still_queued else "is not tried")

    async def run(self) -> str:
        """Work until nothing is left or the time slice is over, and return the end line.

        An item that fails is marked, and the rest goes on. Raises one of ``ENDS_THE_BATCH``, after
        logging the end line, when no other item would succeed. Results that wait to be written are
        written in any case.
        """
        queued = " queued" if self._context.still_queued else ""
        items = counted(len(self.left), self._kind)
        _log.info("%s%s, %s.", items, queued, self._handler.pace)
        async with asyncio.TaskGroup() as group:
            await self._begin_all(group)
            self._all_begun = True
            self._flush_after_the_last()
        self._context.record.waiting[self._kind] += len(self.left)
        if self._broken_by is not None:
            _log.warning("%s.", self._summary())
            raise self._broken_by
        return await self._queue_the_rest() if self.left else f"{self._summary()}."

    async def _queue_the_rest(self) -> str:
        await self._context.queue_again(f"{self._kind} {next(iter(self.left))}")
        self._context.record.end = End.SLICED
        return (
            f"{self._summary()}. The time slice of {self._time_slice.minutes:g} min is over and"
            " other jobs wait, so the task queued itself again behind them."
        )

    async def _begin_all(self, group: asyncio.TaskGroup) -> None:
        try:
            async with aclosing(self._items()) as items:
                async for item in items:
                    if not await self._may_begin():
                        break
                    self._looking += 1
                    self._under_way += 1
                    group.create_task(self._process(item))
        except EXPECTED as error:
            self._break_off(error)

    def _items(self) -> AsyncGenerator[ItemT, None]:
        handler = self._handler
        return read_ahead(tuple(self.left), handler.read, self._finish_gone, handler.chunk)

    async def _may_begin(self) -> bool:
        """Wait until there is room for one more item. False when the time slice is over."""
        handler = self._handler
        while not self._time_slice.is_over and (
            self._looking >= handler.at_once() or self._under_way >= handler.under_way()
        ):
            self._has_room.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_AGAIN_S):
                    await self._has_room.wait()
        return not self._time_slice.is_over

    def _finish_gone(self, item_id: str) -> None:
        self._finish(ItemReport(self._kind, item_id, "", Outcome.GONE))

    def _finish(self, report: ItemReport) -> None:
        del self.left[report.id]
        self._outcomes[report.outcome] += 1
        self._context.record.add(report)
        self._handler.finish(report)

    def _break_off(self, error: Exception) -> None:
        """End the batch: what is looked at is interrupted, what is being written is not."""
        self._broken_by = self._broken_by or error
        self._time_slice.end()

    async def _process(self, item: ItemT) -> None:
        try:
            self._finish(await self._process_one(item))
        except TimeSliceOverError:
            pass  # it stays queued
        except EXPECTED as error:
            self._break_off(error)
        finally:
            self._under_way -= 1
            self._has_room.set()

    async def _process_one(self, item: ItemT) -> ItemReport:
        """Return the report of one item. A fault inside costs this item alone."""
        handler, started = self._handler, time.monotonic()
        report = ItemReport(
            self._kind, item.id, title_of(item), self._outcome, item.path, item.duration_s
        )
        try:
            result = await self._look(item)
            report = handler.add_result(report, result)
            report = replace(report, seconds=time.monotonic() - started)
            report = await handler.write(item, result, report)
            self._failures.reset()
            return report
        except (*ENDS_THE_BATCH, TimeSliceOverError):
            raise
        except ItemGoneError as error:
            _log.warning("%s", error)
            return replace(report, outcome=Outcome.GONE, error=str(error))
        except Exception as error:  # noqa: BLE001 - a boundary: costs one item
            reason = str(error)
            if not isinstance(error, EXPECTED):
                reason = f"{type(error).__name__}: {error}"
                _log.debug("Where it failed:", exc_info=error)
            seconds = time.monotonic() - started
            report = replace(report, outcome=Outcome.FAILED, error=reason, seconds=seconds)
            self._count_failure(error, item)
            await handler.fail(report)
            return report

    def _count_failure(self, error: Exception, item: ItemT) -> None:
        try:
            self._failures.add(error, item.path)
        except SameCauseError as same:
            self._break_off(same)

    async def _look(self, item: ItemT) -> ResultT:
        try:
            async with self._time_slice.limit():
                return await self._handler.look(item)
        finally:
            self._looking -= 1
            self._has_room.set()
            self._flush_after_the_last()

    def _flush_after_the_last(self) -> None:
        if self._all_begun and not self._looking:
            self._handler.flush()

    def _summary(self) -> str:
        outcomes = self._outcomes
        done = counted(outcomes[self._outcome], self._kind)
        parts = [f"{done} {self._handler.writer.verb}", f"{outcomes[Outcome.FAILED]} failed"]
        if gone := outcomes[Outcome.GONE]:
            parts.append(f"{gone} no longer in Stash")
        if self.left:
            parts.append(f"{len(self.left)} not finished{self._context.still_queued}")
        calls = self._handler.describe_calls()
        return f"{', '.join(parts)}; {calls}; {self._context.record.seconds:.0f} s"
