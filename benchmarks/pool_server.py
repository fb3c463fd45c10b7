"""One fake endpoint in a process of its own: ``python -m benchmarks.pool_server '{"slots": 8, "service_s": 0.2}'``.

It says its port on the first line of its output. ``go`` on its input starts the clock of its faults; when the input ends, it
says what it did, as JSON, and ends.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from dataclasses import asdict, dataclass
from enum import StrEnum

from aiohttp import web

from benchmarks.pool_pictures import MODEL, number_in, reply


class Fault(StrEnum):
    """What goes wrong."""

    NONE = "none"
    DOWN = "down"  # refuses connections from ``at_s`` to ``until_s``
    HANG = "hang"  # answers nothing any more from ``at_s`` on
    BUSY = "busy"  # refuses the first request after ``at_s`` with 429 and Retry-After: 1
    POISON = "poison"  # fails on the pictures 0, 1 and 2


@dataclass(frozen=True, slots=True)
class Endpoint:
    """``slots`` requests are worked on at once, each for ``service_s``; the rest wait."""

    slots: int
    service_s: float
    fault: Fault = Fault.NONE
    at_s: float = 6.0
    until_s: float = 1e9

    @property
    def rate(self) -> float:
        """Answers per second at most."""
        return self.slots / self.service_s


@dataclass(slots=True)
class Counts:
    """``answered`` requests of those ``received``; ``failed`` are those that it failed itself, dropped and hung ones included."""

    received: int = 0
    answered: int = 0
    failed: int = 0


class _Server:
    def __init__(self, endpoint: Endpoint) -> None:
        self.counts = Counts()
        self._endpoint = endpoint
        self._slots = asyncio.Semaphore(endpoint.slots)
        self._started: float | None = None
        self._busy_once = endpoint.fault is Fault.BUSY
        self._server: asyncio.Server | None = None
        self._port = 0

    async def run(self) -> None:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await self._listen()
        sys.stdout.write(f"{self._port}\n")
        sys.stdout.flush()
        lines = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        faults: asyncio.Task[None] | None = None
        while await lines.readline():
            self._started = time.monotonic()
            if self._endpoint.fault is Fault.DOWN:
                faults = asyncio.create_task(self._go_down())
        if faults is not None:
            faults.cancel()
        sys.stdout.write(json.dumps(asdict(self.counts)))

    async def _listen(self) -> None:
        listener = socket.create_server(("127.0.0.1", self._port), backlog=1024)
        self._port = listener.getsockname()[1]
        assert self._runner.server is not None
        self._server = await asyncio.get_running_loop().create_server(self._runner.server, sock=listener)

    async def _go_down(self) -> None:
        await asyncio.sleep(self._endpoint.at_s)
        assert self._server is not None and self._runner.server is not None
        self._server.close()
        for connection in self._runner.server.connections:
            connection.force_close()
        await asyncio.sleep(self._endpoint.until_s - self._endpoint.at_s)
        await self._listen()

    def _faulty(self) -> bool:
        since_s = -1.0 if self._started is None else time.monotonic() - self._started
        return self._endpoint.at_s <= since_s < self._endpoint.until_s

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": MODEL}]})

    async def _chat(self, request: web.Request) -> web.Response:
        self.counts.received += 1
        body = await request.read()
        if self._busy_once and self._faulty():
            self._busy_once = False
            self.counts.failed += 1
            return web.json_response({"error": {"message": "too many requests"}}, status=429, headers={"Retry-After": "1"})
        number = number_in(body)
        try:
            async with self._slots:
                await asyncio.sleep(self._endpoint.service_s)
                if self._endpoint.fault is Fault.HANG and self._faulty():
                    await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.counts.failed += self._endpoint.fault in (Fault.HANG, Fault.DOWN) and self._faulty()
            raise
        if self._endpoint.fault is Fault.POISON and number < 3:
            self.counts.failed += 1
            return web.json_response({"error": {"message": "the engine crashed on this picture"}}, status=500)
        self.counts.answered += 1
        return web.json_response(_completion(number))


def _completion(number: int) -> dict[str, object]:
    message = {"role": "assistant", "content": reply(number)}
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 0,
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 800, "completion_tokens": 8, "total_tokens": 808},
    }


if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    asyncio.run(_Server(Endpoint(**told | {"fault": Fault(told.get("fault", Fault.NONE))})).run())
