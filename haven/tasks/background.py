"""Work beside a task: its time slice, its session with Stash, lines about the endpoints."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Self

from haven.stash.errors import StashError
from haven.tasks.context import TaskContext
from vlm_engine import EndpointStats, QuestionCost

_log = logging.getLogger(__name__)
_REPORT_EVERY_S = 60.0
_CHECK_AGAIN_S = 5.0

Stats = Mapping[str, EndpointStats]


class TimeSliceOverError(Exception):
    """The task's time slice is over; the item goes on in the next one."""


class TimeSlice:
    """Time until a task lets other jobs go first. Stash does one job at a time.

    It lasts ``minutes`` (0: for ever), and longer until another job waits.
    """

    def __init__(self, minutes: float, others_wait: Callable[[], Awaitable[bool]]) -> None:
        self.minutes = minutes
        self.is_over = False
        self._others_wait = others_wait
        self._limits: set[asyncio.Timeout] = set()

    async def watch(self) -> None:
        """End the slice when it is time. Raises what ``others_wait`` raises."""
        if not self.minutes:
            return
        pause_s = self.minutes * 60
        while not self.is_over:
            await asyncio.sleep(pause_s)
            if await self._others_wait():
                self.end()
            pause_s = _CHECK_AGAIN_S

    def end(self) -> None:
        """End the slice now, and interrupt what runs in it."""
        if self.is_over:
            return
        self.is_over = True
        for limit in self._limits:
            limit.reschedule(asyncio.get_running_loop().time())

    @asynccontextmanager
    async def limit(self) -> AsyncIterator[None]:
        """Interrupt the block with ``TimeSliceOverError`` when the slice ends."""
        if self.is_over:
            raise TimeSliceOverError
        try:
            async with asyncio.timeout(None) as limit:
                self._limits.add(limit)
                try:
                    yield
                finally:
                    self._limits.discard(limit)
        except TimeoutError as error:
            if limit.expired():
                raise TimeSliceOverError from error
            raise


class BackgroundTasks:
    """Runs beside the work inside its ``async with``, and logs at its end what the endpoints did.

    ``stats`` returns what each endpoint has done so far. ``time_slice`` is that of the whole task.
    """

    def __init__(self, context: TaskContext, stats: Callable[[], Stats]) -> None:
        self._context = context
        self._stats = stats
        self._running: list[asyncio.Task[None]] = []
        self.time_slice = TimeSlice(
            context.settings.time_slice, partial(context.stash, context.handler.others_wait)
        )

    async def __aenter__(self) -> Self:
        works = (self._keep_session(), self._watch_time_slice(), self._report_endpoints())
        self._running = [asyncio.create_task(work) for work in works]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._running:
            task.cancel()
        record = self._context.record
        record.endpoints = self._stats()
        for line in summary_lines(record.endpoints, record.seconds):
            _log.info("%s", line)

    async def _keep_session(self) -> None:
        """Ping Stash, whose idle sessions end; one scene may take longer than that."""
        while True:
            await asyncio.sleep(max(1.0, self._context.server.max_session_age_s / 4))
            try:
                await self._context.stash(self._context.handler.ping)
            except StashError as error:
                _log.warning("Stash does not answer at the moment: %s", error)

    async def _report_endpoints(self) -> None:
        before = self._stats()
        while True:
            await asyncio.sleep(_REPORT_EVERY_S)
            now = self._stats()
            if line := interim_line(before, now, _REPORT_EVERY_S):
                _log.info("%s", line)
            before = now

    async def _watch_time_slice(self) -> None:
        try:
            await self.time_slice.watch()
        except StashError as error:
            _log.warning("Stash did not say which jobs wait, so the task goes on: %s", error)


def interim_line(before: Stats, now: Stats, seconds: float) -> str | None:
    """Return what each endpoint did in the last ``seconds``; None where nothing happened."""
    if before == now and not any(stats.in_flight for stats in now.values()):
        return None
    return "Endpoints: " + "; ".join(
        _interim(name, before.get(name), stats, seconds) for name, stats in now.items()
    )


def _interim(name: str, before: EndpointStats | None, now: EndpointStats, seconds: float) -> str:
    served = now.served - (before.served if before else 0)
    failed = sum(now.failed.values()) - (sum(before.failed.values()) if before else 0)
    parts = [f"{name} {60 * served / seconds:.0f} a minute"]
    parts += [f"{now.seconds:.1f} s each"] if now.seconds is not None else []
    parts += [f"{now.in_flight} of {now.slots} slots busy"]
    parts += [f"{failed} failed"] if failed else []
    parts += [now.state] if now.state != "working" else []
    return ", ".join(parts)


def summary_lines(stats: Stats, seconds: float) -> Iterator[str]:
    """Yield a line for each endpoint of a task that took ``seconds``, if anything was asked."""
    answers = sum(one.served for one in stats.values())
    if not answers and not any(one.failed for one in stats.values()):
        return
    yield f"Endpoints: {answers:,} answers, {60 * answers / max(seconds, 1e-3):.0f} a minute."
    for name, one in stats.items():
        yield f"Endpoint {name}: {_summary(one, answers)}."


def _summary(stats: EndpointStats, answers: int) -> str:
    failures = ", ".join(f"{count} {kind}" for kind, count in stats.failed.items())
    parts = [
        f"{stats.served:,} answers ({stats.served / max(1, answers):.0%})",
        f"{stats.seconds:.1f} s each" if stats.seconds is not None else "",
        f"{stats.prompt_tokens:,} tokens read and {stats.answer_tokens:,} written"
        if stats.prompt_tokens
        else "",
        f"busy for {stats.busy_s:,.0f} s" if stats.busy_s >= 1 else "",
        _describe_cost(stats.cost) if stats.cost else "",
        f"{stats.copies:,} copies of late requests" if stats.copies else "",
        f"failed: {failures}" if failures else "",
        f"not working for {stats.down_s:.0f} s" if stats.down_s >= 1 else "",
    ]
    return "; ".join(filter(None, parts))


def _describe_cost(cost: QuestionCost) -> str:
    return (
        f"a call takes {cost.call_s:.2g} s, a picture {cost.picture_s:.2g} s and "
        f"a token of the answer {cost.answer_token_s:.2g} s of its time"
    )
