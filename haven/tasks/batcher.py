"""Many small writes made one large one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, Self, TypeVar

EntryT = TypeVar("EntryT")
FateT = TypeVar("FateT")


class Batcher(Generic[EntryT, FateT]):
    """Holds entries back until there are enough of them, and hands them on together. Works inside its ``async with``.

    They are handed to ``write``, one lot at a time, when ``full`` of them wait, when the first has waited for ``patience_s``,
    or at once after ``hurry``. ``write`` gives the fate of each by its id. When it raises, everybody who waits gets the error,
    and so does whoever comes later.
    """

    def __init__(
        self,
        write: Callable[[Mapping[str, EntryT]], Awaitable[Mapping[str, FateT]]],
        *,
        full: int,
        patience_s: float,
    ) -> None:
        self._write = write
        self._full = full
        self._patience_s = patience_s
        self._held: dict[str, tuple[EntryT, asyncio.Future[FateT]]] = {}
        self._due = asyncio.Event()
        self._in_a_hurry = False
        self._patience: asyncio.TimerHandle | None = None
        self._broken: BaseException | None = None
        self._writing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._writing = asyncio.create_task(self._write_what_is_due())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._writing is not None
        self._writing.cancel()
        await asyncio.gather(self._writing, return_exceptions=True)

    async def __call__(self, item_id: str, entry: EntryT) -> FateT:
        """The fate of the entry, once it is written together with others. An id must not wait twice."""
        if self._broken is not None:
            raise self._broken
        loop = asyncio.get_running_loop()
        fate: asyncio.Future[FateT] = loop.create_future()
        self._held[item_id] = (entry, fate)
        if self._in_a_hurry or len(self._held) >= self._full:
            self._due.set()
        elif self._patience is None:
            self._patience = loop.call_later(self._patience_s, self._due.set)
        return await fate

    def hurry(self) -> None:
        """From now on nothing is held back."""
        self._in_a_hurry = True
        if self._held:
            self._due.set()

    async def _write_what_is_due(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            if self._patience is not None:
                self._patience.cancel()
                self._patience = None
            lot, self._held = self._held, {}
            try:
                fates = await self._write({item_id: entry for item_id, (entry, _) in lot.items()})
                _settle(lot, fates)
            except BaseException as error:
                self._broken = error
                for _, fate in (*lot.values(), *self._held.values()):
                    if not fate.done():
                        fate.set_exception(error)
                raise


def _settle(
    lot: Mapping[str, tuple[EntryT, asyncio.Future[FateT]]], fates: Mapping[str, FateT]
) -> None:
    for item_id, (_, fate) in lot.items():
        if not fate.done():
            fate.set_result(fates[item_id])
