"""An asynchronous server on a thread of its own, for synchronous tests, demos and scripts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import AbstractAsyncContextManager, contextmanager
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")
PATIENCE_S = 30.0


class ServerThread(Generic[T]):
    """Runs ``server`` (any asynchronous context manager) on its own thread and event loop.

    Between ``start()`` and ``stop()``, or inside ``with``, ``value`` is what entering the server gave.
    What the server raises on its way in or out is raised by ``start()`` or ``stop()``.
    """

    def __init__(self, server: AbstractAsyncContextManager[T, Any]) -> None:
        self._server = server
        self._thread = futures.ThreadPoolExecutor(1, thread_name_prefix=type(server).__name__)
        self._entered: futures.Future[tuple[T, asyncio.AbstractEventLoop, asyncio.Event]] = (
            futures.Future()
        )
        self._done: futures.Future[None] | None = None

    @property
    def value(self) -> T:
        """What entering the server gave."""
        return self._entered.result(timeout=0)[0]

    def start(self) -> T:
        """Enters the server and returns once it has been entered."""
        self._done = self._thread.submit(lambda: asyncio.run(self._serve()))
        pending: set[futures.Future[Any]] = {self._entered, self._done}
        futures.wait(pending, timeout=PATIENCE_S, return_when=futures.FIRST_COMPLETED)
        if self._done.done():
            self._thread.shutdown()
            self._done.result()
        return self._entered.result(timeout=0)[0]

    def stop(self) -> None:
        """Leaves the server and ends the thread."""
        if self._done is None:
            return
        if self._entered.done() and not self._done.done():
            _, loop, leave = self._entered.result()
            loop.call_soon_threadsafe(leave.set)
        self._done.result(timeout=PATIENCE_S)
        self._thread.shutdown()

    async def _serve(self) -> None:
        leave = asyncio.Event()
        async with self._server as value:
            self._entered.set_result((value, asyncio.get_running_loop(), leave))
            await leave.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


@contextmanager
def running(server: AbstractAsyncContextManager[T, Any]) -> Iterator[T]:
    """``with running(SandboxVLM()) as vlm``: the server runs on its own thread until the block ends."""
    with ServerThread(server) as thread:
        yield thread.value


def on_loop(loop: asyncio.AbstractEventLoop, call: Callable[[], T]) -> T:
    """Runs ``call`` on the thread of ``loop`` and returns what it returns, from whichever thread.

    Lets a server offer plain methods that its own loop and other threads may call alike.
    """
    try:
        inside = asyncio.get_running_loop() is loop
    except RuntimeError:
        inside = False
    if inside:
        return call()

    async def hop() -> T:
        return call()

    return asyncio.run_coroutine_threadsafe(hop(), loop).result(timeout=PATIENCE_S)
