"""Run an asynchronous server on a thread of its own, for tests and scripts without a loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
PATIENCE_S = 30.0


@contextmanager
def running(server: AbstractAsyncContextManager[T, Any]) -> Iterator[T]:
    """Run ``server`` on its own thread and event loop until the block ends.

    ``with running(SandboxVLM()) as vlm: …``. Raises what the server raises on its way in or out.
    """
    entered: futures.Future[tuple[T, asyncio.AbstractEventLoop, asyncio.Event]] = futures.Future()

    async def serve() -> None:
        leave = asyncio.Event()
        async with server as value:
            entered.set_result((value, asyncio.get_running_loop(), leave))
            await leave.wait()

    thread = futures.ThreadPoolExecutor(1, thread_name_prefix=type(server).__name__)
    done = thread.submit(lambda: asyncio.run(serve()))
    thread.shutdown(wait=False)
    started: set[futures.Future[Any]] = {entered, done}
    futures.wait(started, timeout=PATIENCE_S, return_when=futures.FIRST_COMPLETED)
    if done.done():
        done.result()
    value, loop, leave = entered.result(timeout=0)
    try:
        yield value
    finally:
        if not done.done():
            loop.call_soon_threadsafe(leave.set)
        done.result(timeout=PATIENCE_S)


def on_loop(loop: asyncio.AbstractEventLoop, call: Callable[[], T]) -> T:
    """Run ``call`` on the thread of ``loop``, from any thread, and return its result."""
    try:
        if asyncio.get_running_loop() is loop:
            return call()
    except RuntimeError:
        pass

    async def hop() -> T:
        return call()

    return asyncio.run_coroutine_threadsafe(hop(), loop).result(timeout=PATIENCE_S)
