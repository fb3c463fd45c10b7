"""A vision-language model endpoint that needs no model: real HTTP, real pictures, the OpenAI protocol.

The picture is the only channel: the server decodes the JPEG it is sent and reads from it what ``sandbox.glyphs``
drew, and knows nothing else of the video. ::

    async with SandboxVLM(Behaviour(miss_rate=0.05)) as vlm:     # in an asyncio program
        ...ask vlm.url...
    with running(SandboxVLM()) as vlm:                           # anywhere else, on a thread of its own
        vlm.behaviour.fault = Fault.HANG
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import io
import json
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from PIL import Image, UnidentifiedImageError

from sandbox import answers, glyphs
from sandbox.threads import on_loop

HOST = "127.0.0.1"
MODEL = "sandbox-vlm"


class Fault(StrEnum):
    """What goes wrong with a request instead of an answer."""

    NONE = "none"
    HANG = "hang"
    DROP = "drop"
    BUSY = "busy"
    UNAVAILABLE = "unavailable"
    SERVER_ERROR = "server_error"
    ERROR_BODY = "error_body"
    HTML = "html"
    GARBAGE = "garbage"
    TRUNCATED = "truncated"


@dataclass(slots=True)
class Behaviour:
    """How an endpoint behaves. Every attribute may be written while it runs, from any thread.

    ``slots`` requests are worked on at once, each for ``latency_s``; the rest wait. ``miss_rate`` and
    ``false_alarm_rate`` are probabilities per tag and frame; what becomes of one tag in one frame depends on
    ``seed`` alone, whatever the size of the picture. ``fault`` meets chat completions, before anything
    else is looked at but the key: the next ``fault_requests`` of them (None: all), and of these the share ``fault_share``,
    evenly spread. An empty ``api_key`` asks for none. Without ``offers_schema`` a ``response_format`` is refused;
    without ``offers_logprobs`` the wish for them is ignored.
    """

    models: tuple[str, ...] = (MODEL,)
    api_key: str = field(default="", repr=False)
    vision: bool = True
    offers_schema: bool = True
    offers_logprobs: bool = True
    latency_s: float = 0.0
    slots: int = 4
    miss_rate: float = 0.0
    false_alarm_rate: float = 0.0
    seed: int = 0
    fault: Fault = Fault.NONE
    fault_requests: int | None = None
    fault_share: float = 1.0
    retry_after_s: float = 1.0


@dataclass(slots=True)
class Counters:
    """What an endpoint has served since it was made. ``failed`` counts by kind: a fault's name, or the refusal's.

    ``in_flight`` are requests received and not yet answered, waiting ones included. Image tokens are a rough
    count, one for 784 pixels. ``frame_numbers`` are those of the answered pictures, in the order of the answers.
    """

    requests: int = 0
    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    in_flight_max: int = 0
    image_tokens: int = 0
    answer_tokens: int = 0
    frame_numbers: list[int] = field(default_factory=list)


class SandboxVLM:
    """The endpoint: listens from entering its context to leaving it, on a port the system chose unless ``port`` says one."""

    def __init__(self, behaviour: Behaviour | None = None, *, port: int = 0) -> None:
        self.behaviour = behaviour or Behaviour()
        self.counters = Counters()
        self.port = port
        self._faults_drawn = 0.0
        self._working = 0
        self._freed = asyncio.Event()
        self._listening: asyncio.Task[asyncio.Server] | None = None

    @property
    def url(self) -> str:
        """The base address, version segment included."""
        return f"http://{HOST}:{self.port}/v1"

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
        await self._runner.cleanup()

    def start(self) -> None:
        """Listens again after ``stop()``, on the same port. May be called from any thread."""
        on_loop(self._loop, self._listen)

    def stop(self) -> None:
        """Refuses connections from now on, and breaks those there are. May be called from any thread."""
        on_loop(self._loop, self._hang_up)

    def _listen(self) -> None:
        if self._listening is None:
            listener = socket.create_server((HOST, self.port), backlog=1024)
            self.port = listener.getsockname()[1]
            assert self._runner.server is not None
            self._listening = self._loop.create_task(self._loop.create_server(self._runner.server, sock=listener))

    def _hang_up(self) -> None:
        if self._listening is None:
            return
        listening, self._listening = self._listening, None
        if listening.done():
            listening.result().close()
        else:
            listening.add_done_callback(lambda task: task.result().close())
        assert self._runner.server is not None
        for connection in self._runner.server.connections:
            connection.force_close()

    async def _models(self, request: web.Request) -> web.Response:
        try:
            self._check_key(request)
        except _RefusalError as refusal:
            return refusal.response()
        inputs = ["text", "image"] if self.behaviour.vision else ["text"]
        served = [
            {"id": name, "object": "model", "created": 0, "owned_by": "sandbox", "architecture": {"input_modalities": inputs}}
            for name in self.behaviour.models
        ]
        return web.json_response({"object": "list", "data": served})

    async def _chat(self, request: web.Request) -> web.Response:
        self.counters.requests += 1
        fault = Fault.NONE
        with self._in_flight():
            try:
                self._check_key(request)
                fault = self._draw_fault()
                if fault not in (Fault.NONE, Fault.TRUNCATED):
                    return await self._fail(fault, request)
                return await self._answer(await _body(request), cut_off=fault is Fault.TRUNCATED)
            except _RefusalError as refusal:
                self.counters.failed[refusal.kind] += 1
                return refusal.response()
            except asyncio.CancelledError:
                self.counters.failed["abandoned" if fault is Fault.NONE else fault] += 1
                raise

    @contextmanager
    def _in_flight(self) -> Iterator[None]:
        counters = self.counters
        counters.in_flight += 1
        counters.in_flight_max = max(counters.in_flight_max, counters.in_flight)
        try:
            yield
        finally:
            counters.in_flight -= 1

    def _check_key(self, request: web.Request) -> None:
        key = self.behaviour.api_key
        if key and request.headers.get("Authorization") != f"Bearer {key}":
            raise _RefusalError(401, "Incorrect API key provided.", "wrong key", code="invalid_api_key")

    def _draw_fault(self) -> Fault:
        behaviour = self.behaviour
        if behaviour.fault is Fault.NONE or behaviour.fault_requests == 0:
            return Fault.NONE
        if behaviour.fault_requests is not None:
            behaviour.fault_requests -= 1
        self._faults_drawn += behaviour.fault_share
        if self._faults_drawn < 1:
            return Fault.NONE
        self._faults_drawn -= 1
        return behaviour.fault

    async def _fail(self, fault: Fault, request: web.Request) -> web.Response:
        if fault in (Fault.HANG, Fault.DROP):
            if fault is Fault.DROP and request.transport is not None:
                request.transport.abort()
            await asyncio.Event().wait()  # until the connection is gone, which cancels this handler
        self.counters.failed[fault] += 1
        return _FAILURES[fault](self.behaviour)

    async def _answer(self, body: dict[str, Any], *, cut_off: bool) -> web.Response:
        self._check_request(body)
        wanted = _asked(body)
        image = self._image(body)
        async with self._slot():
            await asyncio.sleep(self.behaviour.latency_s)
        image_tokens = round(image.width * image.height / 784) if image else 0
        shown = glyphs.read(image) if image else glyphs.Shown(frozenset(), None)
        tokens = answers.write(wanted, {tag: self.belief(tag, shown) for tag in wanted.candidates})
        limit = body.get("max_completion_tokens") or body.get("max_tokens") or len(tokens)
        kept = tokens[: min(limit, len(tokens) // 2 if cut_off else limit)]
        self._count(shown, image_tokens, len(kept), cut_off)
        return web.json_response(self._completion(body, kept, image_tokens, cut=len(kept) < len(tokens)))

    def _check_request(self, body: dict[str, Any]) -> None:
        behaviour = self.behaviour
        if body.get("model") not in behaviour.models:
            message = f"The model `{body.get('model')}` does not exist. Valid aliases: {', '.join(behaviour.models)}."
            raise _RefusalError(404, message, "wrong model", type_="NotFoundError")
        if body.get("response_format") and not behaviour.offers_schema:
            raise _RefusalError(400, "response_format is not supported by this server", "no schema")
        if (body.get("top_logprobs") or 0) > 20:
            message = f"Requested sample logprobs of {body['top_logprobs']}, which is greater than max allowed: 20"
            raise _RefusalError(400, message, "bad request")

    def _image(self, body: dict[str, Any]) -> Image.Image | None:
        urls = [part["image_url"]["url"] for part in answers.parts(body) if part.get("type") == "image_url"]
        if not urls:
            return None
        if not self.behaviour.vision:
            raise _RefusalError(500, "image input is not supported by this model", "no vision", type_="server_error")
        if len(urls) > 1:
            raise _RefusalError(400, "At most 1 image(s) may be provided in one prompt.", "bad request")
        try:
            data = base64.b64decode(urls[0].partition("base64,")[2], validate=True)
            image = Image.open(io.BytesIO(data))
            image.load()
        except (UnidentifiedImageError, binascii.Error, OSError, SyntaxError) as error:
            raise _RefusalError(400, f"Failed to load image: {error}", "bad image") from error
        return image

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        while self._working >= self.behaviour.slots:
            self._freed.clear()
            with suppress(TimeoutError):  # a plain write to ``slots`` wakes nobody, so look again now and then
                await asyncio.wait_for(self._freed.wait(), 0.05)
        self._working += 1
        try:
            yield
        finally:
            self._working -= 1
            self._freed.set()

    def belief(self, tag: str, shown: glyphs.Shown) -> float:
        """The probability that this model gives a tag: firm where its verdict is right, faint where its noise made it wrong."""
        is_there = glyphs.code(tag) in shown.codes
        error_rate = self.behaviour.miss_rate if is_there else self.behaviour.false_alarm_rate
        chance, strength = _draws(self.behaviour.seed, shown.frame_number, tag)
        errs = chance < error_rate
        sureness = 0.55 + 0.2 * strength if errs else 0.9 + 0.09 * strength
        return sureness if is_there != errs else 1 - sureness

    def _count(self, shown: glyphs.Shown, image_tokens: int, answer_tokens: int, cut_off: bool) -> None:
        counters = self.counters
        if cut_off:
            counters.failed[Fault.TRUNCATED] += 1
        else:
            counters.answered += 1
        counters.image_tokens += image_tokens
        counters.answer_tokens += answer_tokens
        if shown.frame_number is not None:
            counters.frame_numbers.append(shown.frame_number)

    def _completion(self, body: dict[str, Any], tokens: list[answers.Token], image_tokens: int, *, cut: bool) -> dict[str, Any]:
        logprobs = None
        if body.get("logprobs") and self.behaviour.offers_logprobs:
            logprobs = {"content": [token.as_openai(body.get("top_logprobs") or 0) for token in tokens]}
        asked_tokens = image_tokens + sum(len(text) for text in answers.texts(body)) // 4
        content = "".join(token.text for token in tokens)
        return _envelope(body["model"], content, "length" if cut else "stop", logprobs, (asked_tokens, len(tokens)))


class _RefusalError(Exception):
    """A request that is turned down, as the servers that people run do it. ``kind`` names it in the counters."""

    def __init__(self, status: int, message: str, kind: str, *, type_: str = "BadRequestError", code: int | str = 0) -> None:
        super().__init__(message)
        self.status, self.kind = status, kind
        self.error = {"message": message, "type": type_, "param": None, "code": code or status}

    def response(self) -> web.Response:
        return web.json_response({"error": self.error}, status=self.status)


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError as error:
        raise _RefusalError(400, f"JSON decode error: {error}", "bad request") from error
    if not isinstance(body, dict) or not body.get("messages"):
        raise _RefusalError(400, "Cannot apply chat template to an empty conversation.", "bad request")
    return body


def _asked(body: dict[str, Any]) -> answers.Asked:
    try:
        return answers.asked(body)
    except answers.BadSchemaError as error:
        raise _RefusalError(400, str(error), "bad schema") from error


def _draws(*what: object) -> tuple[float, float]:
    """Two numbers in [0, 1) that depend on ``what`` alone."""
    digest = hashlib.sha256(json.dumps(what).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64, int.from_bytes(digest[8:16], "big") / 2**64


def _envelope(model: str, content: str, finish: str, logprobs: Any, tokens: tuple[int, int]) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    return {
        "id": "chatcmpl-sandbox",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": logprobs, "finish_reason": finish}],
        "usage": {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)},
    }


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    error = {"message": message, "type": "server_error", "param": None, "code": status}
    return web.json_response({"error": error}, status=status, headers=headers)


_FAILURES = {
    Fault.BUSY: lambda how: _error(429, "Too many requests, try again later.", {"Retry-After": f"{how.retry_after_s:g}"}),
    Fault.UNAVAILABLE: lambda how: _error(503, "Loading model"),
    Fault.SERVER_ERROR: lambda how: _error(500, "EngineCore encountered an issue."),
    Fault.ERROR_BODY: lambda how: web.json_response({"error": "model crashed while answering"}),
    Fault.HTML: lambda how: web.Response(text="<!doctype html><title>Welcome</title><h1>It works</h1>", content_type="text/html"),
    Fault.GARBAGE: lambda how: web.json_response(_envelope(how.models[0], "k42H2 tru. the the %fal", "stop", None, (100, 12))),
}
