"""Reads that may never return, on a thread of their own.

A read from a network share that stopped answering hangs in the kernel, and nothing in this process can end it. But
nobody has to wait for it: the thread is left behind until the share answers, and the caller hears what happened.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from vlm_engine.errors import MediaOutOfReachError, MediaUnreadableError

_log = logging.getLogger(__name__)

STALL_S = 60.0  # a disk that has to spin up, or a share that reconnects, needs half of it

_T = TypeVar("_T")


@dataclass(slots=True)
class _Pulse:
    at: float


class _Here(threading.local):
    pulse: _Pulse | None = None
    reading: _Reading | None = None


class _GivenUpError(BaseException):
    """Nobody waits any more for what this thread reads."""


_here = _Here()


def beat() -> None:
    """Tells whoever watches the current thread that its reading goes on. Harmless where nobody does.

    Ends the reading where it was given up: what this raises then is for nobody but ``Readers``.
    """
    if _here.reading is not None and _here.reading.is_given_up:
        raise _GivenUpError
    if _here.pulse is not None:
        _here.pulse.at = time.monotonic()


def rest() -> None:
    """Tells whoever watches the current thread that nothing is read now, until the next ``beat``: it may compute for long."""
    if _here.pulse is not None:
        _here.pulse.at = math.inf


class Watch:
    """Runs calls one at a time, all on one thread, and gives up waiting when no ``beat`` came for ``stall_s`` seconds."""

    def __init__(self, path: str | Path, stall_s: float = STALL_S) -> None:
        self._path, self._stall_s = path, stall_s
        self._thread = _free_thread()
        self._latest: Future[object] | None = None
        self._closed = False

    def call(self, work: Callable[[], _T]) -> _T:
        """What ``work`` returns or raises.

        Raises ``MediaOutOfReachError`` when it stalls, and at once while an earlier call still hangs; and ``ValueError``
        after ``close``.
        """
        if self._closed:
            raise ValueError(f"{self._path}: its reader is closed")
        if self._hangs():
            raise self._stalled()
        self._thread.pulse.at = time.monotonic()
        future: Future[_T] = Future()
        self._latest = future  # type: ignore[assignment]  # whose result nobody will ask for
        self._thread.calls.put(lambda: _keep(future, work))
        while not future.done():
            left_s = self._thread.pulse.at + self._stall_s - time.monotonic()
            if left_s <= 0:
                raise self._stalled()
            wait([future], min(left_s, self._stall_s))
        self._latest = None
        return future.result()

    def close(self, last: Callable[[], object] | None = None) -> None:
        """Lets go of the thread after ``last``; does not wait for what hangs. Harmless when repeated."""
        if self._closed:
            return
        if last is not None and self._hangs():
            self._thread.calls.put(lambda: _keep(Future(), last))
        elif last is not None:
            try:
                self.call(last)
            except MediaUnreadableError as error:
                _log.warning("%s", error)
        self._closed = True
        if self._hangs():
            self._thread.calls.put(lambda: _idle.append(self._thread))
        else:
            _idle.append(self._thread)

    def _hangs(self) -> bool:
        return self._latest is not None and not self._latest.done()

    def _stalled(self) -> MediaOutOfReachError:
        return _stalled(self._path, self._stall_s)


class Readers:
    """Runs short calls side by side for the tasks of one event loop, each on a thread of its own, ``most`` at once.

    One for which no ``beat`` came for ``stall_s`` seconds is given up, and its place is free again. Close them in the end.
    """

    def __init__(self, most: int, stall_s: float = STALL_S) -> None:
        self._most, self._stall_s = most, stall_s
        self._free = asyncio.Semaphore(most)

    async def call(self, path: str | Path, work: Callable[[], _T]) -> _T:
        """What ``work`` returns or raises. Where nobody waits for it any more, it ends with its next ``beat``.

        Raises ``MediaOutOfReachError`` when it stalls.
        """
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        try:
            reading = _Reading(path, _free_thread(), loop.create_future())
        except BaseException:  # the system gives no thread
            self._free.release()
            raise
        reading.thread.pulse.at = time.monotonic()
        reading.guard = loop.call_later(self._stall_s, self._look, loop, reading)
        reading.thread.calls.put(partial(self._carry_out, loop, reading, work))
        try:
            outcome: _T = await reading.outcome
        finally:
            reading.is_given_up = not reading.outcome.done() or reading.outcome.cancelled()
            del reading  # an error that it holds would hold this frame, which holds it, and all that the call had in memory
        return outcome

    async def aclose(self) -> None:
        """Waits for what is being read. Harmless when repeated."""
        for _ in range(self._most):
            await self._free.acquire()
        for _ in range(self._most):
            self._free.release()

    def _carry_out(
        self, loop: asyncio.AbstractEventLoop, reading: _Reading, work: Callable[[], object]
    ) -> None:
        """On the thread."""
        result, error = None, None
        _here.reading = reading
        try:
            result = work()
        except BaseException as raised:  # noqa: BLE001 - handed to the caller, whatever it is
            error = raised
        _here.reading = None
        _idle.append(reading.thread)
        with suppress(RuntimeError):  # the loop is closed, so nobody waits for it
            loop.call_soon_threadsafe(self._end, reading, result, error)
        del reading, error  # as in call

    def _look(self, loop: asyncio.AbstractEventLoop, reading: _Reading) -> None:
        """Whether it still reads."""
        left_s = reading.thread.pulse.at + self._stall_s - time.monotonic()
        if left_s > 0:
            reading.guard = loop.call_later(min(left_s, self._stall_s), self._look, loop, reading)
        else:
            reading.is_given_up = True
            self._end(reading, None, _stalled(reading.path, self._stall_s))

    def _end(self, reading: _Reading, result: object, error: BaseException | None) -> None:
        if reading.guard is None:
            return  # it was given up before
        reading.guard.cancel()
        reading.guard = None
        self._free.release()
        if reading.outcome.done():
            return  # nobody waits for it any more
        if error is None:
            reading.outcome.set_result(result)
        else:
            reading.outcome.set_exception(error)


@dataclass(eq=False)
class _Reading:
    """One call of ``Readers``. ``guard``: looks whether it still reads; None when that is over. ``is_given_up``: nobody waits."""

    path: str | Path
    thread: _Thread
    outcome: asyncio.Future[Any]
    guard: asyncio.TimerHandle | None = None
    is_given_up: bool = False


class _Thread:
    """Not one of an executor's: Python would wait for those when it ends."""

    def __init__(self) -> None:
        self.pulse = _Pulse(time.monotonic())
        self.calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        threading.Thread(target=self._run, name="read", daemon=True).start()

    def _run(self) -> None:
        _here.pulse = self.pulse
        while True:
            call = self.calls.get()
            call()
            del call  # it holds what it returned


# Threads wait here for the next file. On Linux each thread has a heap of its own, which is seldom given back: what the
# probe of a long video leaves behind serves the reader only on the same one (15 MB for two hours).
_idle: list[_Thread] = []


def _free_thread() -> _Thread:
    try:
        return _idle.pop()
    except IndexError:
        return _Thread()


def _stalled(path: str | Path, stall_s: float) -> MediaOutOfReachError:
    where = "is its disk or network share still there?"
    return MediaOutOfReachError(f"{path}: reading stalled, nothing came for {stall_s:g} s; {where}")


def _keep(future: Future[_T], work: Callable[[], _T]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:  # noqa: BLE001 - handed to the caller, whatever it is
        future.set_exception(error)
