"""A limit on the tasks in flight, under which the largest goes first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from heapq import heappop, heappush
from itertools import count


class Places:
    """Semaphore of ``size()`` places, which may change; of those who wait, the largest goes first.

    Longest processing time first: Graham, Bounds on Multiprocessing Timing Anomalies (1969).
    """

    def __init__(self, size: Callable[[], int]) -> None:
        self._size = size
        self._held = 0
        self._order = count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def at(self, size: int) -> AsyncIterator[None]:
        """Hold a place for a task of this size."""
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heappush(self._waiting, (-size, next(self._order), place))
        self.admit()
        try:
            await place
            yield
        finally:
            if place.done() and not place.cancelled():
                self._held -= 1
            place.cancel()
            self.admit()

    def admit(self) -> None:
        """Let in as many as there are places now. Call it when there may be more."""
        while self._waiting and self._held < self._size():
            _, _, place = heappop(self._waiting)
            if not place.done():
                self._held += 1
                place.set_result(None)
