"""Going through a queue, several items at once: what all tasks that look at scenes or images share."""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Generic, Self, TypeVar

from haven.items import ItemKind
from haven.report import End, ItemReport, Outcome, counted
from haven.stash.errors import ItemGoneError
from haven.tasks.context import ENDS_THE_BATCH, EXPECTED, TaskContext
from haven.tasks.prefetch import ItemT, Prefetcher
from haven.tasks.same_cause import FailureRow, SameCauseError
from haven.tasks.time_slice import TimeSlice, TimeSliceOverError

_log = logging.getLogger(__name__)


ResultT = TypeVar("ResultT")


class ItemHandler(ABC, Generic[ItemT, ResultT]):
    """What a batch does with each item of one kind.

    ``kind``: what the items are; ``chunk``: so many are read from Stash at a time, as soon as fewer than ``ahead`` are known.
    ``verb``: what has been done to an item with which all went well, for people, and ``outcome``: what it has come to.
    """

    kind: ClassVar[ItemKind]
    chunk: ClassVar[int]
    ahead: ClassVar[int]

    def __init__(self, verb: str, outcome: Outcome) -> None:
        self.verb = verb
        self.outcome = outcome

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    @property
    @abstractmethod
    def pace(self) -> str:
        """How many are worked on at once, in words."""

    @abstractmethod
    def at_once(self) -> int:
        """How many are looked at at once."""

    def under_way(self) -> int:
        """How many may be on their way, those included that were looked at and wait to be written."""
        return self.at_once()

    @abstractmethod
    async def read(self, ids: Sequence[str]) -> Sequence[ItemT]:
        """The items with these ids, without those that have vanished."""

    @abstractmethod
    def gone(self, item_id: str) -> ItemReport:
        """The report of an item that has vanished."""

    @abstractmethod
    def report(self, item: ItemT) -> ItemReport:
        """The report of an item with which all goes well, before anything is known of it."""

    @abstractmethod
    async def look(self, item: ItemT) -> ResultT:
        """Asks what there is to ask. May be broken off when the turn is over."""

    @abstractmethod
    def seen(self, report: ItemReport, result: ResultT) -> ItemReport:
        """The report with what was seen."""

    @abstractmethod
    async def finish(self, item: ItemT, result: ResultT, report: ItemReport) -> ItemReport:
        """Takes the result to where it belongs, and gives the report with what that changes. Is not broken off."""

    @abstractmethod
    async def fail(self, report: ItemReport) -> None:
        """The item could not be done; the report says why."""

    @abstractmethod
    def put_down(self, report: ItemReport, item_id: str) -> None:
        """The item came to its end, one way or another."""

    def hurry(self) -> None:
        """Nothing more is looked at: what waits to be written together waits for nothing."""

    @abstractmethod
    def asked(self) -> str:
        """What was asked of the endpoints, as the end line has it."""


class Batch(Generic[ItemT, ResultT]):
    """The items of one queue. As many as the errand says are on their way at once.

    ``left``: the ids of those that are not settled yet, in the order of the queue.
    """

    def __init__(
        self,
        context: TaskContext,
        turn: TimeSlice,
        errand: ItemHandler[ItemT, ResultT],
        ids: Sequence[str],
    ) -> None:
        self.left = dict.fromkeys(ids)
        self._context = context
        self._turn = turn
        self._errand: ItemHandler[ItemT, ResultT] = errand
        self._line: Prefetcher[ItemT] = Prefetcher(
            ids, errand.read, self._has_vanished, chunk=errand.chunk, ahead=errand.ahead
        )
        self._looking = self._under_way = 0
        self._one_went_on = asyncio.Event()
        self._all_begun = False
        self._outcomes: Counter[Outcome] = Counter()
        self._broken_by: Exception | None = None
        self._failures = FailureRow()

    async def run(self) -> str:
        """Works until nothing is left or the turn is over, and returns the end line.

        An item that fails is left to the errand, and the rest goes on. Raises one of ``ENDS_THE_BATCH``, after logging the
        end line, when going on makes no sense. Either way, what was being written is written first.
        """
        _log.info("%s in line, %s.", counted(len(self.left), self._errand.kind), self._errand.pace)
        async with asyncio.TaskGroup() as group:
            await self._begin_all(group)
            self._all_begun = True
            self._hurry_after_the_last()
        self._context.record.waiting[self._errand.kind] += len(self.left)
        if self._broken_by is not None:
            _log.warning("%s.", self._told())
            raise self._broken_by
        return await self._queue_the_rest() if self.left else f"{self._told()}."

    async def _queue_the_rest(self) -> str:
        await self._context.queue_again(f"{self._errand.kind} {next(iter(self.left))}")
        self._context.record.end = End.SLICED
        turn = f"the {self._turn.minutes:g} min of its turn are over and other jobs wait"
        return f"{self._told()}. Not done yet: {turn}, so the task has queued itself again behind them."

    async def _begin_all(self, group: asyncio.TaskGroup) -> None:
        try:
            while await self._may_begin() and (item := await self._line.next()) is not None:
                self._looking += 1
                self._under_way += 1
                group.create_task(self._do(item))
        except EXPECTED as error:
            self._break_off(error)
        finally:
            await self._line.aclose()

    async def _may_begin(self) -> bool:
        """Waits until there is room for one more. False when the turn is over."""
        while not self._turn.is_over and self._is_full():
            self._one_went_on.clear()
            await self._one_went_on.wait()
        return not self._turn.is_over

    def _is_full(self) -> bool:
        return (
            self._looking >= self._errand.at_once() or self._under_way >= self._errand.under_way()
        )

    def _has_vanished(self, item_id: str) -> None:
        self._put_down(self._errand.gone(item_id), item_id)

    def _put_down(self, report: ItemReport, item_id: str) -> None:
        del self.left[item_id]
        self._outcomes[report.outcome] += 1
        self._context.record.add(report)
        self._errand.put_down(report, item_id)

    def _break_off(self, error: Exception) -> None:
        """Nothing else would fare better. What is being looked at is broken off, what is being written is not."""
        self._broken_by = self._broken_by or error
        self._turn.end()

    async def _do(self, item: ItemT) -> None:
        try:
            self._put_down(await self._do_one(item), item.id)
        except TimeSliceOverError:
            pass  # it is still in line
        except EXPECTED as error:
            self._break_off(error)
        finally:
            self._under_way -= 1
            self._one_went_on.set()

    async def _do_one(self, item: ItemT) -> ItemReport:
        """The boundary around one item: whatever goes wrong inside concerns this one alone."""
        errand, started = self._errand, time.monotonic()
        report = errand.report(item)
        try:
            result = await self._look(item)
            report = replace(errand.seen(report, result), seconds=time.monotonic() - started)
            report = await errand.finish(item, result, report)
            self._failures.ends()
            return report
        except (*ENDS_THE_BATCH, TimeSliceOverError):
            raise
        except ItemGoneError as error:
            _log.warning("%s", error)
            return replace(report, outcome=Outcome.GONE, error=str(error))
        except Exception as error:  # noqa: BLE001  # the one boundary: an unforeseen fault costs one item, not the batch
            reason = str(error)
            if not isinstance(error, EXPECTED):
                reason = f"{type(error).__name__}: {error}"
                _log.debug("Where it failed:", exc_info=error)
            report = replace(
                report, outcome=Outcome.FAILED, error=reason, seconds=time.monotonic() - started
            )
            self._note_failure(error, item)
            await errand.fail(report)
            return report

    def _note_failure(self, error: Exception, item: ItemT) -> None:
        try:
            self._failures.add(error, item.path)
        except SameCauseError as same:
            self._break_off(same)

    async def _look(self, item: ItemT) -> ResultT:
        try:
            async with self._turn.lasts():
                return await self._errand.look(item)
        finally:
            self._looking -= 1
            self._one_went_on.set()
            self._hurry_after_the_last()

    def _hurry_after_the_last(self) -> None:
        if self._all_begun and not self._looking:
            self._errand.hurry()

    def _told(self) -> str:
        outcomes = self._outcomes
        parts = [
            f"{counted(outcomes[self._errand.outcome], self._errand.kind)} {self._errand.verb}",
            f"{outcomes[Outcome.FAILED]} failed",
        ]
        if gone := outcomes[Outcome.GONE]:
            parts.append(f"{gone} no longer in Stash")
        if self.left:
            parts.append(f"{len(self.left)} not finished and still queued")
        return f"{', '.join(parts)}; {self._errand.asked()}; {self._context.record.seconds:.0f} s"
