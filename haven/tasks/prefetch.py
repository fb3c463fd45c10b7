"""The queue of a task: ids first, and what they stand for read from Stash a little ahead of its turn."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Protocol, TypeVar


class Item(Protocol):
    """A scene or image of Stash's."""

    @property
    def id(self) -> str:
        """Its id in Stash."""

    @property
    def path(self) -> str:
        """Where Stash has its file; "" where it has none."""


ItemT = TypeVar("ItemT", bound=Item)


class Prefetcher(Generic[ItemT]):
    """The items with these ids, in their order, for one caller.

    ``read`` gives the items of some ids, without those that have vanished, of which ``gone`` is told. It is asked for ``chunk``
    at a time, as soon as fewer than ``ahead`` are known, so that nobody waits for Stash.
    """

    def __init__(
        self,
        ids: Sequence[str],
        read: Callable[[Sequence[str]], Awaitable[Sequence[ItemT]]],
        gone: Callable[[str], None],
        *,
        chunk: int,
        ahead: int,
    ) -> None:
        self._ids = deque(ids)
        self._read = read
        self._gone = gone
        self._chunk = chunk
        self._ahead = ahead
        self._known: deque[ItemT] = deque()
        self._reading: asyncio.Task[None] | None = None

    async def next(self) -> ItemT | None:
        """The next item, or None when all have been given. Raises what ``read`` raises."""
        while True:
            if self._reading is not None and (self._reading.done() or not self._known):
                await self._reading
                self._reading = None
            if self._reading is None and self._ids and len(self._known) < self._ahead:
                self._reading = asyncio.create_task(self._read_chunk())
            if self._known:
                return self._known.popleft()
            if self._reading is None:
                return None

    async def _read_chunk(self) -> None:
        wanted = [self._ids.popleft() for _ in range(min(self._chunk, len(self._ids)))]
        found = {item.id: item for item in await self._read(wanted)}
        for item_id in wanted:
            if item_id not in found:
                self._gone(item_id)
        self._known.extend(found.values())

    async def aclose(self) -> None:
        """Stops reading."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
