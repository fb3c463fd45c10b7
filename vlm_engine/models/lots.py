"""Many small calls of something that blocks, made as few large ones, as group commit does (Gray and Reuter 1993)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
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
        self._at_work = False

    async def __call__(self, entry: _X) -> _Y:
        """What ``work`` makes of the entry; it is handed over also where nobody waits for that any more."""
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[_Y] = loop.create_future()
        self._waiting.append((entry, outcome))
        if not self._at_work:
            self._at_work = True
            loop.call_soon(self._begin, loop)  # with all that come just now
        return await outcome

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        lot, self._waiting = self._waiting, []
        working = loop.run_in_executor(None, self._work, [entry for entry, _ in lot])
        working.add_done_callback(partial(self._end, loop, [outcome for _, outcome in lot]))

    def _end(
        self, loop: asyncio.AbstractEventLoop, outcomes: Sequence[asyncio.Future[_Y]], done: asyncio.Future[Sequence[_Y]]
    ) -> None:
        error = asyncio.CancelledError() if done.cancelled() else done.exception()
        for number, outcome in enumerate(outcomes):
            if outcome.done():
                continue  # nobody waits for it any more
            if error is None:
                outcome.set_result(done.result()[number])
            else:
                outcome.set_exception(error)
        if self._waiting:
            self._begin(loop)
        else:
            self._at_work = False
