"""A worker's end of the connection to the hub: calls to a caller, and allowances of slots."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from itertools import count
from typing import Any

from distributed import Worker

from vlm_engine.cluster import hub
from vlm_engine.errors import StoreError
from vlm_engine.tasks import resolve

_GATHERED_S = 0.001
"""Calls within this time travel together: each message costs its processes about as much."""
GONE = "the program that this worker works for has gone, so nothing can be stored any more"


class Link:
    """Connection of one engine to its caller, whose run has this name.

    Use it on the event loop of the worker. ``on_close`` is called when the caller has gone.
    ``on_allowance`` is called with the name of an endpoint and the numbers of an ``Allowance``.
    ``is_closed``: nothing reaches the caller any more.
    """

    def __init__(self, worker: Worker, run: str) -> None:
        self.run = run
        self.on_close: Callable[[], object] = lambda: None
        self.on_allowance: Callable[[str, list[int]], object] = lambda name, numbers: None
        self._worker = worker
        self._loop = asyncio.get_running_loop()
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._calls: list[tuple[int, bytes]] = []
        self.is_closed = False
        _links_of(worker)[run] = self

    def call(self, method: str, *values: object) -> Any:
        """Return what the caller's method returns, and raise what it raises.

        Blocks: for any thread but that of the event loop. Raises ``StoreError`` when the caller
        has gone.
        """
        content = pickle.dumps((method, values))
        reply = asyncio.run_coroutine_threadsafe(self._ask(content), self._loop)
        is_error, value = pickle.loads(reply.result())
        if is_error:
            raise value
        return value

    def tell(self, method: str, *values: object) -> None:
        """Call a method of the caller without waiting for anything. For any thread."""
        content = pickle.dumps((method, values))
        self._loop.call_soon_threadsafe(self._send_call, 0, content)

    def report(self, name: str, numbers: list[int]) -> None:
        """Report what the engine has and wants of an endpoint's slots."""
        self._send({"op": hub.REPORT, "run": self.run, "name": name, "numbers": numbers})

    def close(self) -> None:
        """Fail the calls that wait. Later ones fail at once."""
        self.is_closed = True
        _links_of(self._worker).pop(self.run, None)
        waiting, self._waiting = self._waiting, {}
        for reply in waiting.values():
            resolve(reply, StoreError(GONE))

    async def _ask(self, content: bytes) -> bytes:
        if self.is_closed:
            raise StoreError(GONE)
        number = next(self._numbers)
        reply: asyncio.Future[bytes] = self._loop.create_future()
        self._waiting[number] = reply
        try:
            self._send_call(number, content)
            return await reply
        finally:
            self._waiting.pop(number, None)

    def _send_call(self, number: int, content: bytes) -> None:
        self._calls.append((number, content))
        if len(self._calls) == 1:
            self._loop.call_later(_GATHERED_S, self._send_calls)

    def _send_calls(self) -> None:
        calls, self._calls = self._calls, []
        self._send({"op": hub.CALL, "run": self.run, "calls": calls})

    def _send(self, message: dict[str, Any]) -> None:
        if not self.is_closed:
            self._worker.batched_send(message)

    def _take_replies(self, replies: list[tuple[int, bytes]]) -> None:
        for number, content in replies:
            if number in self._waiting:
                resolve(self._waiting[number], content)


_ATTRIBUTE = "_vlm_engine_links"


def _links_of(worker: Worker) -> dict[str, Link]:
    """Return the links of a worker by run. The first use makes it take the hub's messages."""
    links: dict[str, Link] | None = getattr(worker, _ATTRIBUTE, None)
    if links is not None:
        return links
    links = {}
    setattr(worker, _ATTRIBUTE, links)

    def take_replies(run: str, replies: list[tuple[int, bytes]]) -> None:
        if run in links:
            links[run]._take_replies(replies)

    def take_allowance(run: str, name: str, numbers: list[int]) -> None:
        if run in links:
            links[run].on_allowance(name, numbers)

    def take_close(run: str) -> None:
        if run in links:
            links[run].on_close()

    worker.stream_handlers |= {
        hub.REPLY: take_replies,
        hub.ALLOW: take_allowance,
        hub.CLOSE: take_close,
    }
    return links
