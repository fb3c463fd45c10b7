"""One fake endpoint in a process of its own: ``python -m benchmarks.pool_server '{"slots": 8,
"service_s": 0.2}'``.

It signs as vLLM does. It says its port on the first line of its output. ``go`` on its input starts
the clock of its faults; when the input ends, it says what it did, as JSON, and ends.
"""

from __future__ import annotations

import asyncio
import json
import re
import selectors
import socket
import sys
import time
import zlib
from dataclasses import asdict, dataclass
from enum import StrEnum

from benchmarks.pool_pictures import MODEL, number_in, reply, reply_to_any

_ROOM = 1 << 20  # for one request


class Fault(StrEnum):
    """A failure of an endpoint."""

    NONE = "none"
    DOWN = "down"  # refuses connections from ``at_s`` to ``until_s``
    HANG = "hang"  # answers nothing any more from ``at_s`` on
    BUSY = "busy"  # refuses the first request after ``at_s`` with 429 and Retry-After: 1
    POISON = "poison"  # fails on the pictures 0, 1 and 2


@dataclass(frozen=True, slots=True)
class Endpoint:
    """``slots`` requests are worked on at once, each for ``service_s``; the rest wait.

    ``numbered``: its pictures are those of ``pool_pictures``; else they are any.
    """

    slots: int
    service_s: float
    fault: Fault = Fault.NONE
    at_s: float = 6.0
    until_s: float = 1e9
    numbered: bool = True

    @property
    def rate(self) -> float:
        """Answer per second at most."""
        return self.slots / self.service_s


@dataclass(slots=True)
class Counts:
    """``answered`` requests of those ``received``; ``failed`` are those that it failed itself,
    dropped and hung ones included.

    ``span_s``: from the first question to the last answer.
    """

    received: int = 0
    answered: int = 0
    failed: int = 0
    span_s: float = 0.0


class _Server:
    def __init__(self, endpoint: Endpoint) -> None:
        self.counts = Counts()
        self.connections: set[_Connection] = set()
        self._endpoint = endpoint
        self._slots = asyncio.Semaphore(endpoint.slots)
        self._started: float | None = None
        self._first: float | None = None
        self._busy_once = endpoint.fault is Fault.BUSY
        self._listening: asyncio.Server | None = None
        self._port = 0

    async def run(self) -> None:
        await self._listen()
        sys.stdout.write(f"{self._port}\n")
        sys.stdout.flush()
        lines = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
        )
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
        self._listening = await asyncio.get_running_loop().create_server(
            lambda: _Connection(self), sock=listener
        )

    async def _go_down(self) -> None:
        await asyncio.sleep(self._endpoint.at_s)
        assert self._listening is not None
        self._listening.close()
        for connection in list(self.connections):
            connection.transport.abort()
        await asyncio.sleep(self._endpoint.until_s - self._endpoint.at_s)
        await self._listen()

    def _faulty(self) -> bool:
        since_s = -1.0 if self._started is None else time.monotonic() - self._started
        return self._endpoint.at_s <= since_s < self._endpoint.until_s

    def number(self, body: bytearray) -> int:
        """Return the number of the picture in a request; a constant if its pictures have none."""
        return number_in(body) if self._endpoint.numbered else zlib.crc32(body)

    async def answer(self, number: int) -> bytes:
        """Return the whole response to a question about the picture of this number.

        Cancelled when the client hangs up.
        """
        self.counts.received += 1
        self._first = self._first or time.monotonic()
        if self._busy_once and self._faulty():
            self._busy_once = False
            self.counts.failed += 1
            return _response(429, {"error": {"message": "too many requests"}}, "Retry-After: 1\r\n")
        try:
            async with self._slots:
                await asyncio.sleep(self._endpoint.service_s)
                if self._endpoint.fault is Fault.HANG and self._faulty():
                    await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.counts.failed += (
                self._endpoint.fault in (Fault.HANG, Fault.DOWN) and self._faulty()
            )
            raise
        if self._endpoint.fault is Fault.POISON and number < 3:
            self.counts.failed += 1
            return _response(500, {"error": {"message": "the engine crashed on this picture"}})
        self.counts.answered += 1
        self.counts.span_s = time.monotonic() - self._first
        return _response(
            200,
            _completion(number, reply(number) if self._endpoint.numbered else reply_to_any(number)),
        )


class _Connection(asyncio.BufferedProtocol):
    """The least of HTTP that clients need, so that the servers take next to nothing of the machine
    that all share.
    """

    transport: asyncio.Transport

    def __init__(self, server: _Server) -> None:
        self._server = server
        self._received = bytearray(_ROOM)
        self._count = self._head = self._whole = 0
        self._answering: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        if self._answering is not None:
            self._answering.cancel()

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self._received)[self._count :]

    def buffer_updated(self, nbytes: int) -> None:
        self._count += nbytes
        if not self._whole:
            self._head = self._received.find(b"\r\n\r\n", 0, self._count) + 4
            if self._head < 4:
                return
            length = re.search(rb"content-length: *(\d+)", self._received[: self._head].lower())
            self._whole = self._head + (int(length[1]) if length else 0)
        if self._count >= self._whole:
            self._begin(self._received[self._head : self._whole])
            self._count = self._whole = (
                0  # no client here sends the next request before it has its answer
            )

    def _begin(self, body: bytearray) -> None:
        if not body:
            self.transport.write(
                _response(200, {"object": "list", "data": [{"id": MODEL, "owned_by": "vllm"}]})
            )
            return
        number = self._server.number(body)
        self._answering = asyncio.get_running_loop().create_task(self._answer(number))

    async def _answer(self, number: int) -> None:
        self.transport.write(await self._server.answer(number))


def _response(status: int, body: object, headers: str = "") -> bytes:
    content = json.dumps(body).encode("ascii")
    head = (
        f"HTTP/1.1 {status} Some\r\nContent-Type: application/json\r\nContent-Length: "
        f"{len(content)}\r\n{headers}\r\n"
    )
    return head.encode("ascii") + content


def _completion(number: int, content: str) -> dict[str, object]:
    message = {"role": "assistant", "content": content}
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 0,
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 800, "completion_tokens": 8, "total_tokens": 808},
    }


def _punctual() -> asyncio.AbstractEventLoop:
    """Return the usual loop wakes up to a millisecond late: its selector counts in whole ones."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    with asyncio.Runner(loop_factory=_punctual) as runner:
        runner.run(
            _Server(Endpoint(**given | {"fault": Fault(given.get("fault", Fault.NONE))})).run()
        )
