"""Many small calls of something that blocks, made as few large ones, as group commit does (Gray and Reuter 1993)."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, TypeVar

from vlm_engine.errors import VLMEngineError

_log = logging.getLogger(__name__)
_X = TypeVar("_X")
_Y = TypeVar("_Y")


class Batcher(Generic[_X, _Y]):
    """Hands entries to ``work`` in a thread, for the tasks of one event loop. What comes while it is at one lot is the next.

    ``work`` gives the outcome of each entry, in order. When it raises a ``VLMEngineError``, everybody in that lot gets the
    error: it would have met each of them. After any other error each entry is handed over alone, so that only those that
    bring it about get it.
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
        working = _in_a_thread(loop, partial(self._worked, [entry for entry, _ in lot]))
        working.add_done_callback(partial(self._end, loop, [outcome for _, outcome in lot]))

    def _worked(self, entries: Sequence[_X]) -> Sequence[_Y | Exception]:
        """In the thread: what comes of each entry."""
        try:
            return self._work(entries)
        except VLMEngineError as error:
            return [error] * len(entries)
        except Exception as error:  # noqa: BLE001 - handed to whoever waits for it
            return [error] if len(entries) == 1 else [self._worked([entry])[0] for entry in entries]

    def _end(
        self,
        loop: asyncio.AbstractEventLoop,
        outcomes: Sequence[asyncio.Future[_Y]],
        done: asyncio.Future[Sequence[_Y | Exception]],
    ) -> None:
        worked = [asyncio.CancelledError()] * len(outcomes) if done.cancelled() else done.result()
        for outcome, result in zip(outcomes, worked, strict=True):
            if outcome.done():
                continue  # nobody waits for it any more
            if isinstance(result, BaseException):
                outcome.set_exception(result)
            else:
                outcome.set_result(result)
        if self._waiting:
            self._begin(loop)
        else:
            self._at_work = False


def _in_a_thread(loop: asyncio.AbstractEventLoop, work: Callable[[], _Y]) -> asyncio.Future[_Y]:
    """Does the work in a thread; here, where the system gives none."""
    once = _Once(work)
    try:
        return loop.run_in_executor(None, once)
    except RuntimeError as error:
        _log.debug("No thread could be started (%s): working without one.", error)
        done: asyncio.Future[_Y] = loop.create_future()
        done.set_result(once())
        return done


class _Once(Generic[_Y]):
    """Does the work once: an executor that could start no thread keeps what it was given, and may do it later."""

    def __init__(self, work: Callable[[], _Y]) -> None:
        self._work = work
        self._first = threading.Lock()

    def __call__(self) -> _Y:
        if not self._first.acquire(blocking=False):
            raise RuntimeError("this work is done already")
        return self._work()
