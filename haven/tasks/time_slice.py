"""Stash does one job at a time: a long task may give those that wait their turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

_LOOK_AGAIN_S = 5.0


class TimeSliceOverError(Exception):
    """The task's turn is over; what was under way is to be taken up in the next one."""


class TimeSlice:
    """Lasts ``minutes`` (0: for ever), and from then on until somebody else waits."""

    def __init__(self, minutes: float, others_wait: Callable[[], Awaitable[bool]]) -> None:
        self.minutes = minutes
        self.is_over = False
        self._others_wait = others_wait
        self._limits: set[asyncio.Timeout] = set()

    async def watch(self) -> None:
        """Runs beside the work, and returns when the turn is over. Raises what ``others_wait`` raises."""
        if not self.minutes:
            return
        pause_s = self.minutes * 60
        while not self.is_over:
            await asyncio.sleep(pause_s)
            if await self._others_wait():
                self.end()
            pause_s = _LOOK_AGAIN_S

    def end(self) -> None:
        """The turn is over, whether or not anybody waits. What was broken off already is left to end."""
        if self.is_over:
            return
        self.is_over = True
        for limit in self._limits:
            limit.reschedule(asyncio.get_running_loop().time())

    @asynccontextmanager
    async def lasts(self) -> AsyncIterator[None]:
        """Breaks the block off when the turn is over: ``TimeSliceOverError``."""
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
