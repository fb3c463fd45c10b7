"""Many small calls of something that blocks, made as few large ones, as group commit does (Gray and Reuter 1993)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

_X = TypeVar("_X")
_Y = TypeVar("_Y")


class Lots(Generic[_X, _Y]):
    """Hands entries to ``work`` in a thread, for the tasks of one event loop. What comes while it is at one lot is the next.

    ``work`` gives the outcome of each entry, in order. When it raises, everybody in that lot gets the error.
    """

    def __init__(self, work: Callable[[Sequence[_X]], Sequence[_Y]]) -> None:
        self._work = work
        self._waiting: list[tuple[_X, asyncio.Future[_Y]]] = []
        self._working: asyncio.Task[None] | None = None

    async def __call__(self, entry: _X) -> _Y:
        """What ``work`` makes of the entry; it is handed over also where nobody waits for that any more."""
        outcome: asyncio.Future[_Y] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, outcome))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work_off())
        return await outcome

    async def _work_off(self) -> None:
        while self._waiting:
            lot, self._waiting = self._waiting, []
            (done,) = await asyncio.gather(asyncio.to_thread(self._work, [entry for entry, _ in lot]), return_exceptions=True)
            for number, (_, outcome) in enumerate(lot):
                if outcome.done():
                    continue  # nobody waits for it any more
                if isinstance(done, BaseException):
                    outcome.set_exception(done)
                else:
                    outcome.set_result(done[number])
