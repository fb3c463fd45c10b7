"""Reads that may never return run on threads of their own, watched for signs of life.

A read from a network share that stopped answering hangs in the kernel, and nothing in this process
can end it. Nobody has to wait for it, though: the caller gets an error, and the thread is left
behind until the share answers.
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


class _GivenUpError(BaseException):
    """Ends a read in which nobody is interested any more."""


class _ThreadState(threading.local):
    thread: _Thread | None = None
    job: _Job | None = None


_current = _ThreadState()


def heartbeat() -> None:
    """Report progress of the current thread's read to its watchdog, if it has one.

    Ends the read if its caller has given up; only ``Readers`` sees the exception of that.
    """
    if _current.job is not None and _current.job.given_up:
        raise _GivenUpError
    if _current.thread is not None:
        _current.thread.last_beat = time.monotonic()


def pause() -> None:
    """Report that the current thread reads nothing until its next ``heartbeat``; it may compute."""
    if _current.thread is not None:
        _current.thread.last_beat = math.inf


class Watchdog:
    """Runs calls one at a time on a thread; gives up after ``stall_s`` without heartbeat."""

    def __init__(self, path: str | Path, stall_s: float = STALL_S) -> None:
        self._path, self._stall_s = path, stall_s
        self._thread = _free_thread()
        self._latest: Future[object] | None = None
        self._closed = False

    def call(self, work: Callable[[], _T]) -> _T:
        """Return or raise what ``work`` returns or raises.

        Raises ``MediaOutOfReachError`` when it stalls, and at once while an earlier call still
        hangs. Raises ``ValueError`` after ``close``.
        """
        if self._closed:
            raise ValueError(f"{self._path}: its reader is closed")
        if self._hangs():
            raise _stall_error(self._path, self._stall_s)
        self._thread.last_beat = time.monotonic()
        future: Future[_T] = Future()
        self._latest = future  # type: ignore[assignment]  # only asked whether it is done
        self._thread.calls.put(partial(_fulfil, future, work))
        while not future.done():
            left_s = self._thread.seconds_left(self._stall_s)
            if left_s <= 0:
                raise _stall_error(self._path, self._stall_s)
            wait([future], min(left_s, self._stall_s))
        self._latest = None
        return future.result()

    def close(self, last: Callable[[], object] | None = None) -> None:
        """Run ``last`` and release the thread, without waiting for a read that hangs.

        Harmless when repeated.
        """
        if self._closed:
            return
        if last is not None and self._hangs():
            self._thread.calls.put(partial(_fulfil, Future(), last))
        elif last is not None:
            try:
                self.call(last)
            except MediaUnreadableError as error:
                _log.warning("%s", error)
        self._closed = True
        if self._hangs():
            self._thread.calls.put(partial(_idle.append, self._thread))
        else:
            _idle.append(self._thread)

    def _hangs(self) -> bool:
        return self._latest is not None and not self._latest.done()


class Readers:
    """Runs short calls for the tasks of one event loop, ``limit`` at once, each on its own thread.

    A call without a heartbeat for ``stall_s`` seconds is given up and its place is free again.
    Close it in the end.
    """

    def __init__(self, limit: int, stall_s: float = STALL_S) -> None:
        self._limit, self._stall_s = limit, stall_s
        self._free = asyncio.Semaphore(limit)

    async def call(self, path: str | Path, work: Callable[[], _T]) -> _T:
        """Return or raise what ``work`` returns or raises; if cancelled, end it at its next
        heartbeat.

        Raises ``MediaOutOfReachError`` when it stalls.
        """
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        try:
            job = _Job(path, _free_thread(), loop.create_future())
        except BaseException:  # the system has no thread left
            self._free.release()
            raise
        job.thread.last_beat = time.monotonic()
        job.timer = loop.call_later(self._stall_s, self._check, loop, job)
        job.thread.calls.put(partial(self._run, loop, job, work))
        try:
            outcome: _T = await job.outcome
        finally:
            job.given_up = not job.outcome.done() or job.outcome.cancelled()
            # An error in it would hold this frame, which holds it, and what the call had in memory.
            del job
        return outcome

    async def aclose(self) -> None:
        """Wait for the reads that are under way. Harmless when repeated."""
        for _ in range(self._limit):
            await self._free.acquire()
        for _ in range(self._limit):
            self._free.release()

    def _run(self, loop: asyncio.AbstractEventLoop, job: _Job, work: Callable[[], object]) -> None:
        """Run ``work`` on the job's thread."""
        result, error = None, None
        _current.job = job
        try:
            result = work()
        except BaseException as raised:  # noqa: BLE001 - handed to the caller, whatever it is
            error = raised
        _current.job = None
        _idle.append(job.thread)
        with suppress(RuntimeError):  # the loop is closed, so nobody waits for it
            loop.call_soon_threadsafe(self._end, job, result, error)
        del job, error  # as in call

    def _check(self, loop: asyncio.AbstractEventLoop, job: _Job) -> None:
        """Give the job up if it stalls; else check again when it next could have stalled."""
        left_s = job.thread.seconds_left(self._stall_s)
        if left_s > 0:
            job.timer = loop.call_later(min(left_s, self._stall_s), self._check, loop, job)
        else:
            job.given_up = True
            self._end(job, None, _stall_error(job.path, self._stall_s))

    def _end(self, job: _Job, result: object, error: BaseException | None) -> None:
        if job.timer is None:
            return  # it was given up before
        job.timer.cancel()
        job.timer = None
        self._free.release()
        if job.outcome.done():
            return  # it was cancelled
        if error is None:
            job.outcome.set_result(result)
        else:
            job.outcome.set_exception(error)


@dataclass(eq=False)
class _Job:
    """One call of ``Readers``. ``timer`` checks for a stall; None when the call has ended."""

    path: str | Path
    thread: _Thread
    outcome: asyncio.Future[Any]
    timer: asyncio.TimerHandle | None = None
    given_up: bool = False


class _Thread:
    """Thread that runs queued calls; not an executor's, for which Python would wait at exit."""

    def __init__(self) -> None:
        self.last_beat = time.monotonic()
        self.calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        threading.Thread(target=self._run, name="read", daemon=True).start()

    def seconds_left(self, stall_s: float) -> float:
        """Return how long the thread may still go without a heartbeat."""
        return self.last_beat + stall_s - time.monotonic()

    def _run(self) -> None:
        _current.thread = self
        while True:
            call = self.calls.get()
            call()
            del call  # it holds what it returned


# Threads that wait for the next file. On Linux each thread has a heap of its own, which is seldom
# given back: memory that the probe of a long video leaves behind is reused only on its thread
# (15 MB for two hours).
_idle: list[_Thread] = []


def _free_thread() -> _Thread:
    try:
        return _idle.pop()
    except IndexError:
        return _Thread()


def _stall_error(path: str | Path, stall_s: float) -> MediaOutOfReachError:
    return MediaOutOfReachError(
        f"{path}: reading stalled, nothing came for {stall_s:g} s; "
        "is its disk or network share still there?"
    )


def _fulfil(future: Future[_T], work: Callable[[], _T]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:  # noqa: BLE001 - handed to the caller, whatever it is
        future.set_exception(error)
