"""Concurrent work on one event loop: gather, batches, a semaphore, and clean-up at its end."""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Generic, TypeVar

from vlm_engine.errors import VLMEngineError

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_EntryT = TypeVar("_EntryT")
_ResultT = TypeVar("_ResultT")


async def gather_or_cancel(works: Sequence[Coroutine[Any, Any, _T]]) -> list[_T]:
    """Return the results in order. The first error cancels the others and is raised by itself."""
    if len(works) == 1:  # without a task: pictures come by the thousand, and most have one model
        return [await works[0]]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


class ResizableSemaphore:
    """Semaphore whose limit may change: ``size()``, called each time. First come, first served."""

    def __init__(self, size: Callable[[], int]) -> None:
        self._size = size
        self._held = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, *_: object) -> None:
        self.release()

    async def acquire(self) -> None:
        """Wait for a place and take it."""
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        self.admit()
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.release()  # it was given in the same moment
            raise

    def release(self) -> None:
        """Give a place back."""
        self._held -= 1
        self.admit()

    def admit(self) -> None:
        """Let in as many waiting tasks as there are places now. Call it when ``size`` may have
        grown.
        """
        while self._waiting and self._held < self._size():
            place = self._waiting.popleft()
            if not place.done():
                self._held += 1
                place.set_result(None)


class Batcher(Generic[_EntryT, _ResultT]):
    """Collects entries and processes them in batches, one at a time: group commit (Gray and Reuter,
    1993).

    A batch starts when ``size`` entries wait or the first of them has waited for ``max_wait_s``
    seconds; what comes while one is being processed goes into the next. By default a batch starts
    at once.

    ``process`` starts the work on a batch and returns a future of one result for each entry, in
    order; a result that is an exception is raised to the caller of that entry. When the future
    itself fails, its error is raised to everyone who waits, and to everyone who comes later.
    """

    def __init__(
        self,
        process: Callable[[Sequence[_EntryT]], asyncio.Future[Sequence[_ResultT | BaseException]]],
        *,
        size: int = 1,
        max_wait_s: float = 0.0,
    ) -> None:
        self._process = process
        self._size = size
        self._max_wait_s = max_wait_s
        self._waiting: list[tuple[_EntryT, asyncio.Future[_ResultT]]] = []
        self._is_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._running: asyncio.Future[Sequence[_ResultT | BaseException]] | None = None
        self._error: BaseException | None = None

    async def add(self, entry: _EntryT) -> _ResultT:
        """Return the entry's result. It is processed even when the caller is cancelled."""
        if self._error is not None:
            raise self._error
        loop = asyncio.get_running_loop()
        result: asyncio.Future[_ResultT] = loop.create_future()
        self._waiting.append((entry, result))
        if len(self._waiting) >= self._size:
            self._set_due()
        elif self._timer is None:
            self._timer = loop.call_later(self._max_wait_s, self._set_due)
        return await result

    def flush(self) -> None:
        """Hold nothing back from now on."""
        self._size = 1
        if self._waiting:
            self._set_due()

    async def aclose(self) -> None:
        """Cancel the batch that is being processed. Entries that wait get ``CancelledError``."""
        self._fail(asyncio.CancelledError())
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait((self._running,))

    def _set_due(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._is_due:
            self._is_due = True
            if self._running is None:  # soon: with all that come in this moment
                asyncio.get_running_loop().call_soon(self._start)

    def _start(self) -> None:
        if not self._waiting:
            return
        self._is_due = False
        batch, self._waiting = self._waiting, []
        self._running = self._process([entry for entry, _ in batch])
        self._running.add_done_callback(partial(self._finish, [result for _, result in batch]))

    def _finish(
        self,
        waiting: Sequence[asyncio.Future[_ResultT]],
        done: asyncio.Future[Sequence[_ResultT | BaseException]],
    ) -> None:
        self._running = None
        error = asyncio.CancelledError() if done.cancelled() else done.exception()
        if error is None:
            for future, result in zip(waiting, done.result(), strict=True):
                resolve(future, result)
        else:
            for future in waiting:
                resolve(future, error)
            self._fail(error)
        if self._is_due:
            self._start()

    def _fail(self, error: BaseException) -> None:
        self._error = error
        waiting, self._waiting = self._waiting, []
        for _, future in waiting:
            resolve(future, error)


async def cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel the tasks, and wait until all have ended, whatever comes of them."""
    ending = tuple(tasks)
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)


def resolve(future: asyncio.Future[_T], result: _T | BaseException) -> None:
    """Give a result or an error to the one who waits for it, if anyone still does."""
    if future.done():
        return  # its caller was cancelled
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)


def in_thread(
    work: Callable[[Sequence[_EntryT]], Sequence[_ResultT]],
) -> Callable[[Sequence[_EntryT]], asyncio.Future[Sequence[_ResultT | BaseException]]]:
    """Return ``work``, which blocks, for a ``Batcher``: it runs in a thread.

    A ``VLMEngineError`` of ``work`` concerns the whole batch. After any other error each entry is
    processed by itself, so that it concerns only those that cause it.
    """

    def processed(entries: Sequence[_EntryT]) -> Sequence[_ResultT | BaseException]:
        try:
            return work(entries)
        except VLMEngineError as error:
            return [error] * len(entries)
        except Exception as error:  # noqa: BLE001 - raised to the caller of the entry
            return [error] if len(entries) == 1 else [processed([one])[0] for one in entries]

    return lambda entries: _run_in_thread(partial(processed, entries))


def _run_in_thread(work: Callable[[], _T]) -> asyncio.Future[_T]:
    """Run ``work`` in a thread; here, where the system gives none."""
    loop = asyncio.get_running_loop()
    once = threading.Lock()  # an executor that could start no thread may run the work later

    def run() -> _T:
        if not once.acquire(blocking=False):
            raise RuntimeError("this work is done already")
        return work()

    try:
        return loop.run_in_executor(None, run)
    except RuntimeError as error:
        _log.debug("No thread could be started (%s): working without one.", error)
        done: asyncio.Future[_T] = loop.create_future()
        done.set_result(run())
        return done


class CloseWithLoop:
    """Closes a stack that its owner leaves open: when the event loop is shut down, as
    ``asyncio.run`` does at its end; else when the owner is garbage collected or the program ends.

    Make it while the loop runs, and ``start`` it there. ``is_closed``: whether the stack is.
    """

    def __init__(self, owner: object, stack: AsyncExitStack) -> None:
        # All that a loop closes when it is shut down are its asynchronous generators.
        self._waiting = self._close_at_end(stack)
        self.is_closed = False
        self._finalizer = weakref.finalize(
            owner, _close, asyncio.get_running_loop(), self._waiting, []
        )

    async def start(self) -> None:
        """Make it known to the loop."""
        await anext(self._waiting)

    async def close(self) -> None:
        """Close the stack now, if it is open."""
        self._finalizer.detach()
        await self._waiting.aclose()

    async def _close_at_end(self, stack: AsyncExitStack) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self.is_closed = True
            await stack.aclose()


def _close(
    loop: asyncio.AbstractEventLoop,
    waiting: AsyncGenerator[None, None],
    closing: list[asyncio.Task[None]],
) -> None:
    """Close ``waiting`` in whatever state the loop is. ``closing``: the task that does so already,
    if any.
    """
    if loop.is_closed():
        return
    if loop.is_running():  # perhaps for the last time: then the rest is done when the program ends
        at_exit = partial(_close, loop, waiting, closing)
        atexit.register(at_exit)

        def start() -> None:
            closing.append(loop.create_task(_aclose(waiting)))
            closing[0].add_done_callback(lambda _: atexit.unregister(at_exit))

        loop.call_soon_threadsafe(start)
    elif asyncio._get_running_loop() is None:
        loop.run_until_complete(closing[0] if closing else _aclose(waiting))


async def _aclose(waiting: AsyncGenerator[None, None]) -> None:
    try:
        await waiting.aclose()
    except (
        RuntimeError
    ):  # at interpreter exit no thread is left to close the store in; its file is whole
        return
