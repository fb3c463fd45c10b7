"""Work of one event loop that goes on at the same time."""

from __future__ import annotations

import asyncio
import atexit
import weakref
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, TypeVar

_T = TypeVar("_T")


async def side_by_side(works: Sequence[Coroutine[Any, Any, _T]]) -> list[_T]:
    """What each gives, in their order. The first that fails ends the others, and its error is raised, by itself."""
    if len(works) == 1:
        return [
            await works[0]
        ]  # without a task of its own: pictures come by the thousand, and most have one judge
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


class LeftOpen:
    """Closes a stack that its owner left open: when the event loop is shut down, as ``asyncio.run`` does at its end; else when
    the owner vanishes or the program ends.

    Make it while the loop runs, and ``begin`` it there. ``is_over``: whether the stack is closed.
    """

    def __init__(self, owner: object, stack: AsyncExitStack) -> None:
        # Of what is open on it, a loop that is shut down closes asynchronous generators, and nothing else.
        self._waiting = self._closing(stack)
        self.is_over = False
        self._vanished = weakref.finalize(
            owner, _close, asyncio.get_running_loop(), self._waiting, []
        )

    async def begin(self) -> None:
        """From now on the loop knows of it."""
        await anext(self._waiting)

    async def end(self) -> None:
        """Closes the stack now, where it is not closed yet."""
        self._vanished.detach()
        await self._waiting.aclose()

    async def _closing(self, stack: AsyncExitStack) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self.is_over = True
            await stack.aclose()


def _close(
    loop: asyncio.AbstractEventLoop,
    waiting: AsyncGenerator[None, None],
    ending: list[asyncio.Task[None]],
) -> None:
    """``ending``: the task that closes it already, if any."""
    if loop.is_closed():
        return
    if loop.is_running():  # perhaps for the last time: then the rest is done when the program ends
        at_exit = partial(_close, loop, waiting, ending)
        atexit.register(at_exit)

        def begin() -> None:
            ending.append(loop.create_task(_end(waiting)))
            ending[0].add_done_callback(lambda _: atexit.unregister(at_exit))

        loop.call_soon_threadsafe(begin)
    elif asyncio._get_running_loop() is None:
        loop.run_until_complete(ending[0] if ending else _end(waiting))


async def _end(waiting: AsyncGenerator[None, None]) -> None:
    try:
        await waiting.aclose()
    except RuntimeError:  # the interpreter ends: it has no threads any more, in which the store is closed; its file is whole
        return
