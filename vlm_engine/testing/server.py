"""The server: from a request to the answer, the refusal or the failure that the endpoint's behaviour makes of it."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import io
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from PIL import Image, UnidentifiedImageError

from vlm_engine.testing import answers, glyphs
from vlm_engine.testing.behaviour import HOST, Behaviour, Counters, Fault, Refusal, RefusalError
from vlm_engine.testing.dialect import THOUGHT, ServerDialect
from vlm_engine.testing.profiles import MANNERS
from vlm_engine.testing.threads import on_loop


class SandboxVLM:
    """The endpoint: listens from entering its context to leaving it, on a port the system chose unless ``port`` says one."""

    def __init__(self, behaviour: Behaviour | None = None, *, port: int = 0) -> None:
        self.behaviour = behaviour or Behaviour()
        self.counters = Counters()
        self.port = port
        self._faults_drawn = 0.0
        self._working = 0
        self._freed = asyncio.Event()
        self._abandoned: set[asyncio.Task[web.Response]] = set()
        self._listener: socket.socket | None = None
        self._welcoming: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The base address, version segment included."""
        return f"http://{HOST}:{self.port}/v1"

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        app.router.add_route("*", "/{path:.*}", self._beside)
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True
        )
        await self._runner.setup()
        self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        await asyncio.gather(*self._welcoming)
        await self._runner.cleanup()
        for going_on in list(self._abandoned):
            going_on.cancel()
        await asyncio.gather(*self._abandoned, return_exceptions=True)

    def start(self) -> None:
        """Listens again after ``stop()``, on the same port. May be called from any thread."""
        on_loop(self._loop, self._listen)

    def stop(self) -> None:
        """Refuses connections from now on, and breaks those there are. May be called from any thread."""
        on_loop(self._loop, self._hang_up)

    def _listen(self) -> None:
        if self._listener is None:
            self._listener = socket.create_server((HOST, self.port), backlog=1024)
            self._listener.setblocking(False)
            self.port = self._listener.getsockname()[1]
            self._loop.add_reader(self._listener, self._accept, self._listener)

    def _hang_up(self) -> None:
        if self._listener is None:
            return
        self._loop.remove_reader(self._listener)
        self._listener.close()
        self._listener = None
        assert self._runner.server is not None
        for connection in self._runner.server.connections:
            connection.force_close()

    # asyncio's own server may leave a connection open that arrives in the moment in which it is closed.

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):  # whoever called has gone again
            connection, _ = listener.accept()
            welcoming = self._loop.create_task(self._welcome(connection, listener))
            self._welcoming.add(welcoming)
            welcoming.add_done_callback(self._welcoming.discard)

    async def _welcome(self, connection: socket.socket, listener: socket.socket) -> None:
        assert self._runner.server is not None
        transport, _ = await self._loop.connect_accepted_socket(self._runner.server, connection)
        if listener is not self._listener:
            transport.abort()

    @property
    def _manners(self) -> ServerDialect:
        return MANNERS[self.behaviour.profile]

    async def _models(self, request: web.Request) -> web.Response:
        try:
            self._check_key(request)
        except RefusalError as refusal:
            return self._refused(refusal)
        return web.json_response(self._manners.listing(self.behaviour))

    async def _beside(self, request: web.Request) -> web.Response:
        """Whatever is not of the OpenAI protocol."""
        manners, how = self._manners, self.behaviour
        if request.method == "POST":
            body = await request.json()
            found = manners.posted(request.path, body if isinstance(body, dict) else {}, how)
        else:
            found = manners.page(request.path, how)
        return _response(*(manners.lacks() if found is None else (200, found)))

    async def _chat(self, request: web.Request) -> web.Response:
        if not self._manners.finishes_abandoned:
            return await self._chatted(request)
        await request.read()
        going_on = asyncio.create_task(self._chatted(request))
        self._abandoned.add(going_on)
        going_on.add_done_callback(self._abandoned.discard)
        return await asyncio.shield(going_on)

    async def _chatted(self, request: web.Request) -> web.Response:
        self.counters.requests += 1
        fault = Fault.NONE
        with self._in_flight():
            try:
                self._check_key(request)
                fault = self._draw_fault()
                if fault not in (Fault.NONE, Fault.TRUNCATED, Fault.BLANKS):
                    return await self._fail(fault, request)
                return await self._answer(await _body(request), fault)
            except RefusalError as refusal:
                self.counters.failed[refusal.kind] += 1
                return self._refused(refusal)
            except asyncio.CancelledError:
                self.counters.failed["abandoned" if fault is Fault.NONE else fault] += 1
                raise

    def _refused(self, refusal: RefusalError) -> web.Response:
        return _response(*self._manners.refusal(refusal, self.behaviour))

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
        self._manners.check_key(request.headers.get("Authorization"), self.behaviour)

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
        return self._failure(fault)

    def _failure(self, fault: Fault) -> web.Response:
        how = self.behaviour
        if fault in _WORDS:
            status, message = _WORDS[fault]
            headers = {"Retry-After": f"{how.retry_after_s:g}"} if fault is Fault.BUSY else None
            return web.json_response(
                self._manners.failed(status, message), status=status, headers=headers
            )
        if fault is Fault.HTML:
            return web.Response(
                text="<!doctype html><title>Welcome</title><h1>It works</h1>",
                content_type="text/html",
            )
        if fault is Fault.ERROR_BODY:
            return web.json_response({"error": "model crashed while answering"})
        return web.json_response(
            _envelope(
                how.models[0], {"content": "k42H2 tru. the the %fal"}, "stop", None, (100, 12)
            )
        )

    async def _answer(self, body: dict[str, Any], fault: Fault) -> web.Response:
        self._manners.check(body, self.behaviour)
        wanted = _asked(body)
        images = self._images(body)
        prompt_tokens = (
            sum(map(_image_tokens, images)) + sum(len(text) for text in answers.texts(body)) // 4
        )
        if prompt_tokens > self.behaviour.context_tokens:
            self._manners.overflow(prompt_tokens, self.behaviour)
            prompt_tokens, images = self.behaviour.context_tokens, []
        async with self._slot():
            await asyncio.sleep(self.behaviour.latency_s)
        self.behaviour.loaded = True
        shown = [glyphs.read(image) for image in images] or [
            glyphs.Shown(frozenset(), None)
        ] * wanted.pictures
        tokens = answers.write(
            wanted, *({tag: self.belief(tag, one) for tag in wanted.candidates} for one in shown)
        )
        if fault is Fault.BLANKS and body.get("response_format"):
            tokens = [answers.Token('{ "'), *[answers.Token("\n")] * 5000]
        limit = self._room_after_thought(body) or len(tokens)
        kept = tokens[: min(limit, len(tokens) // 2 if fault is Fault.TRUNCATED else limit)]
        self._count(shown, images, len(kept), fault)
        return self._completion(body, kept, prompt_tokens, cut=len(kept) < len(tokens))

    def _room_after_thought(self, body: dict[str, Any]) -> int | None:
        """The tokens left for the answer; None if there is no limit."""
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        thought = len(THOUGHT) // 4 if self._manners.thinks(body, self.behaviour) else 0
        return max(1, limit - thought) if limit else None

    def _images(self, body: dict[str, Any]) -> list[Image.Image]:
        urls = [
            part["image_url"]["url"]
            for part in answers.parts(body)
            if part.get("type") == "image_url"
        ]
        if urls and not self.behaviour.vision:
            raise RefusalError(Refusal.VISION)
        most = self.behaviour.most_pictures
        if len(urls) > most:
            raise RefusalError(
                Refusal.REQUEST, f"At most {most} image(s) may be provided in one prompt."
            )
        return [_opened(url) for url in urls]

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        queue = self.behaviour.queue
        if queue is not None and self.counters.in_flight > self.behaviour.slots + queue:
            raise RefusalError(Refusal.QUEUE)
        while self._working >= self.behaviour.slots:
            self._freed.clear()
            with suppress(
                TimeoutError
            ):  # a plain write to ``slots`` wakes nobody, so look again now and then
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
        chance, strength = _draws(self.behaviour.seed, shown.frame_number, tag)
        errs = chance < self.error_rate(shown, is_there)
        sureness = 0.55 + 0.2 * strength if errs else 0.9 + 0.09 * strength
        return sureness if is_there != errs else 1 - sureness

    def error_rate(self, shown: glyphs.Shown, is_there: bool) -> float:
        """How probably it is wrong about a tag that this picture shows, or does not show."""
        return self.behaviour.miss_rate if is_there else self.behaviour.false_alarm_rate

    def _count(
        self, shown: list[glyphs.Shown], images: list[Image.Image], answer_tokens: int, fault: Fault
    ) -> None:
        counters = self.counters
        if fault is Fault.NONE:
            counters.answered += 1
        else:
            counters.failed[fault] += 1
        counters.image_tokens += sum(map(_image_tokens, images))
        counters.answer_tokens += answer_tokens
        counters.frame_numbers += [
            one.frame_number for one in shown if one.frame_number is not None
        ]

    def _completion(
        self, body: dict[str, Any], tokens: list[answers.Token], prompt_tokens: int, *, cut: bool
    ) -> web.Response:
        manners = self._manners
        written = manners.write(tokens, body, self.behaviour)
        logprobs = None
        if body.get("logprobs") and self.behaviour.offers_logprobs:
            logprobs = manners.logprobs(written.stream, body.get("top_logprobs") or 0)
        message = {"content": written.content} | (
            {manners.thought_field: written.thought} if written.thought else {}
        )
        finish = "length" if cut else "stop"
        envelope = _envelope(
            str(body.get("model")), message, finish, logprobs, (prompt_tokens, len(written.stream))
        )
        return web.json_response(envelope, headers=manners.headers)


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError as error:
        raise RefusalError(Refusal.REQUEST, f"JSON decode error: {error}") from error
    if not isinstance(body, dict) or not body.get("messages"):
        raise RefusalError(Refusal.REQUEST, "Cannot apply chat template to an empty conversation.")
    return body


def _asked(body: dict[str, Any]) -> answers.Asked:
    try:
        return answers.asked(body)
    except answers.BadSchemaError as error:
        raise RefusalError(Refusal.SCHEMA, str(error)) from error


def _opened(url: str) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(base64.b64decode(url.partition("base64,")[2], validate=True)))
        image.load()
    except (UnidentifiedImageError, binascii.Error, OSError, SyntaxError) as error:
        raise RefusalError(Refusal.IMAGE, str(error)) from error
    return image


def _image_tokens(image: Image.Image) -> int:
    return round(image.width * image.height / 784)


def _draws(*what: object) -> tuple[float, float]:
    """Two numbers in [0, 1) that depend on ``what`` alone."""
    digest = hashlib.sha256(json.dumps(what).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64, int.from_bytes(digest[8:16], "big") / 2**64


def _envelope(
    model: str, message: dict[str, Any], finish: str, logprobs: Any, tokens: tuple[int, int]
) -> dict[str, Any]:
    message = {"role": "assistant", **message}
    return {
        "id": "chatcmpl-sandbox",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [
            {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": finish}
        ],
        "usage": {
            "prompt_tokens": tokens[0],
            "completion_tokens": tokens[1],
            "total_tokens": sum(tokens),
        },
    }


def _response(status: int, body: Any) -> web.Response:
    return (
        web.Response(text=body, status=status)
        if isinstance(body, str)
        else web.json_response(body, status=status)
    )


_WORDS = {
    Fault.BUSY: (429, "Too many requests, try again later."),
    Fault.UNAVAILABLE: (503, "Loading model"),
    Fault.SERVER_ERROR: (500, "EngineCore encountered an issue."),
}
