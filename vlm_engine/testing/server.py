"""The server of the stand-in endpoint: it answers, refuses or fails as its ``Behaviour`` says."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import io
import json
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Self

from aiohttp import web
from PIL import Image, UnidentifiedImageError

from vlm_engine.testing import answers, glyphs, shapes
from vlm_engine.testing.behaviour import (
    HOST,
    Behaviour,
    Counters,
    Fault,
    Refusal,
    RefusalError,
    Sight,
)
from vlm_engine.testing.dialects import (
    DIALECTS,
    LETTERS_PER_TOKEN,
    ServerDialect,
    Usage,
    thought_of,
)
from vlm_engine.testing.sight import Draft, Eyes, instead_of_answer
from vlm_engine.testing.threads import on_loop

_NO_ANSWER: dict[Fault, tuple[int, str]] = {
    Fault.BUSY: (429, "Too many requests, try again later."),
    Fault.UNAVAILABLE: (503, "Loading model"),
    Fault.SERVER_ERROR: (500, "EngineCore encountered an issue."),
}


@dataclass(frozen=True, slots=True)
class _Prompt:
    """The contents of each picture, the tokens of all, and those of the whole prompt.

    ``cached_tokens``: those of text that the request before had, too.
    """

    contents: list[glyphs.Shown]
    picture_tokens: int
    tokens: int
    cached_tokens: int


class SandboxVLM:
    """An endpoint that needs no model. It listens while its ``async with`` block lasts.

    ``port`` 0 is one that the system chooses.
    """

    def __init__(self, behaviour: Behaviour | None = None, *, port: int = 0) -> None:
        self.behaviour = behaviour or Behaviour()
        self.counters = Counters()
        self.port = port
        self._faults_due = 0.0
        self._eyes = Eyes()
        self._text_before = ""
        self._working = 0
        self._freed = asyncio.Event()
        self._listener: socket.socket | None = None
        self._connecting: set[asyncio.Task[None]] = set()
        self._abandoned: set[asyncio.Task[web.Response]] = set()

    @property
    def url(self) -> str:
        """The base address, version segment included."""
        return f"http://{HOST}:{self.port}/v1"

    @property
    def _dialect(self) -> ServerDialect:
        return DIALECTS[self.behaviour.profile](self.behaviour)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        app.router.add_route("*", "/{path:.*}", self._page)
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True
        )
        await self._runner.setup()
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop()
        await asyncio.gather(*self._connecting)
        await self._runner.cleanup()
        for task in self._abandoned:
            task.cancel()
        await asyncio.gather(*self._abandoned, return_exceptions=True)

    def start(self) -> None:
        """Listen again after ``stop()``, on the same port. May be called from any thread."""
        on_loop(self._loop, self._listen)

    def stop(self) -> None:
        """Refuse connections from now on and break the open ones. May be called from any thread."""
        on_loop(self._loop, self._hang_up)

    # asyncio's own server may leave a connection open that arrives just when the server is closed.

    def _listen(self) -> None:
        if self._listener is None:
            self._listener = socket.create_server((HOST, self.port), backlog=1024)
            self._listener.setblocking(False)
            self.port = self._listener.getsockname()[1]
            self._loop.add_reader(self._listener, self._accept, self._listener)

    def _hang_up(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
            assert self._runner.server is not None
            for connection in self._runner.server.connections:
                connection.force_close()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):  # the client has gone again
            connection, _ = listener.accept()
            task = self._loop.create_task(self._connect(connection, listener))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _connect(self, connection: socket.socket, listener: socket.socket) -> None:
        assert self._runner.server is not None
        transport, _ = await self._loop.connect_accepted_socket(self._runner.server, connection)
        if listener is not self._listener:
            transport.abort()

    async def _models(self, request: web.Request) -> web.Response:
        try:
            self._check_key(request)
        except RefusalError as error:
            return _response(*self._dialect.refusal(error))
        return web.json_response(self._dialect.listing())

    async def _page(self, request: web.Request) -> web.Response:
        """Answer a request outside of the OpenAI protocol."""
        body = await request.json() if request.method == "POST" else None
        page = self._dialect.page(request.path, body if isinstance(body, dict) else {})
        return _response(*(self._dialect.not_found if page is None else (200, page)))

    async def _chat(self, request: web.Request) -> web.Response:
        if not self._dialect.finishes_abandoned:
            return await self._handle(request)
        await request.read()
        task = asyncio.create_task(self._handle(request))
        self._abandoned.add(task)
        task.add_done_callback(self._abandoned.discard)
        return await asyncio.shield(task)

    async def _handle(self, request: web.Request) -> web.Response:
        counters, fault = self.counters, Fault.NONE
        counters.requests += 1
        counters.in_flight += 1
        counters.in_flight_max = max(counters.in_flight_max, counters.in_flight)
        try:
            self._check_key(request)
            fault = self._next_fault()
            if fault in (Fault.NONE, Fault.TRUNCATED, Fault.BLANKS):
                return await self._answer(await _body(request), fault)
            return await self._fail(fault, request)
        except RefusalError as error:
            counters.failed[error.kind] += 1
            return _response(*self._dialect.refusal(error))
        except asyncio.CancelledError:
            counters.failed["abandoned" if fault is Fault.NONE else fault] += 1
            raise
        finally:
            counters.in_flight -= 1

    def _check_key(self, request: web.Request) -> None:
        self._dialect.check_key(request.headers.get("Authorization"))

    def _next_fault(self) -> Fault:
        behaviour = self.behaviour
        if behaviour.fault is Fault.NONE or behaviour.fault_requests == 0:
            return Fault.NONE
        if behaviour.fault_requests is not None:
            behaviour.fault_requests -= 1
        self._faults_due += behaviour.fault_share
        if self._faults_due < 1:
            return Fault.NONE
        self._faults_due -= 1
        return behaviour.fault

    async def _fail(self, fault: Fault, request: web.Request) -> web.Response:
        behaviour = self.behaviour
        if fault is Fault.DROP and request.transport is not None:
            request.transport.abort()
        if fault in (Fault.HANG, Fault.DROP):
            await asyncio.Event().wait()  # a connection that goes away cancels this handler
        self.counters.failed[fault] += 1
        if fault in _NO_ANSWER:
            status, message = _NO_ANSWER[fault]
            headers = {"Retry-After": f"{behaviour.retry_after_s:g}"} if status == 429 else None
            body = self._dialect.failed(status, message)
            return web.json_response(body, status=status, headers=headers)
        if fault is Fault.HTML:
            page = "<!doctype html><title>Welcome</title><h1>It works</h1>"
            return web.Response(text=page, content_type="text/html")
        if fault is Fault.ERROR_BODY:
            return web.json_response({"error": "model crashed while answering"})
        words = {"content": "k42H2 tru. the the %fal"}
        reply = _envelope(behaviour.models[0], words, "stop", None)
        return web.json_response(reply | self._dialect.reported(Usage(100, 12)))

    async def _answer(self, body: dict[str, Any], fault: Fault) -> web.Response:
        behaviour = self.behaviour
        self._dialect.check(body)
        request = answers.requested(body)
        prompt = self._prompt(body)
        contents = self._eyes.arrive(behaviour, prompt.contents, len(request.keys))
        draft = self._draft(body, request, contents, fault)
        async with self._slot():
            written = self._thoughts(body) + len(draft.tokens)
            seconds = behaviour.time_s(prompt.picture_tokens, written)
            others = await self._eyes.work(behaviour, contents, seconds)
        if others is not contents:
            draft = self._draft(body, request, others, fault)
        behaviour.loaded = True
        self._count(prompt, self._thoughts(body) + len(draft.tokens), fault)
        return self._completion(body, prompt, draft)

    def _prompt(self, body: dict[str, Any]) -> _Prompt:
        behaviour = self.behaviour
        images = self._images(body)
        picture_tokens = sum(behaviour.picture_tokens(*image.size) for image in images)
        tokens = picture_tokens + sum(map(len, answers.texts(body))) // LETTERS_PER_TOKEN
        if tokens > behaviour.context_tokens:
            if not self._dialect.drops_overflow:
                raise RefusalError(Refusal.LENGTH, str(tokens))
            return _Prompt([], 0, behaviour.context_tokens, 0)
        text, before = answers.text_before_pictures(body), self._text_before
        self._text_before = text
        cached = len(text) // LETTERS_PER_TOKEN if text == before else 0
        return _Prompt([_contents(image) for image in images], picture_tokens, tokens, cached)

    def _draft(
        self,
        body: dict[str, Any],
        request: answers.AnswerRequest,
        contents: Sequence[glyphs.Shown],
        fault: Fault,
    ) -> Draft:
        """Return the reply as far as the budget lets it go."""
        draft = instead_of_answer(self.behaviour, body)
        if draft is None:
            beliefs = [
                {tag: self.belief(tag, one) for tag in request.candidates} for one in contents
            ]
            draft = Draft(answers.write(request, *beliefs))
        if fault is Fault.BLANKS and body.get("response_format"):
            draft = Draft([answers.Token('{ "'), *[answers.Token("\n")] * 5000])
        kept = draft.tokens[: self._budget(body) - self._thoughts(body)]
        if fault is Fault.TRUNCATED:
            kept = kept[: len(draft.tokens) // 2]
        is_whole = len(kept) == len(draft.tokens)
        return draft if is_whole else replace(draft, tokens=kept, finish="length")

    def _budget(self, body: dict[str, Any]) -> int:
        """Return how many tokens the thoughts and the answer may have together."""
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        return int(limit or self.behaviour.context_tokens)

    def _thoughts(self, body: dict[str, Any]) -> int:
        return min(self._dialect.thought_tokens(body), self._budget(body))

    def _count(self, prompt: _Prompt, written: int, fault: Fault) -> None:
        counters = self.counters
        if fault is Fault.NONE:
            counters.answered += 1
        else:
            counters.failed[fault] += 1
        counters.image_tokens += prompt.picture_tokens
        counters.answer_tokens += written
        numbers = [one.frame_number for one in prompt.contents]
        counters.frame_numbers += [number for number in numbers if number is not None]

    def _images(self, body: dict[str, Any]) -> list[Image.Image]:
        pictures = [part for part in answers.parts(body) if part.get("type") == "image_url"]
        if pictures and not self.behaviour.vision:
            raise RefusalError(Refusal.VISION)
        most = self.behaviour.most_pictures
        if len(pictures) > most:
            message = f"At most {most} image(s) may be provided in one prompt."
            raise RefusalError(Refusal.REQUEST, message)
        if self.behaviour.sight is Sight.DROPPED:
            return []
        images = [_opened(part["image_url"]["url"]) for part in pictures]
        return [_reduced(image, self.behaviour.longest_side) for image in images]

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        queue = self.behaviour.queue
        if queue is not None and self.counters.in_flight > self.behaviour.slots + queue:
            raise RefusalError(Refusal.QUEUE)
        while self._working >= self.behaviour.slots:
            self._freed.clear()
            with suppress(TimeoutError):  # nothing announces a change of ``slots``
                await asyncio.wait_for(self._freed.wait(), 0.05)
        self._working += 1
        try:
            yield
        finally:
            self._working -= 1
            self._freed.set()

    def belief(self, tag: str, contents: glyphs.Shown) -> float:
        """Return the probability that the model gives a tag: clear when right, faint when wrong."""
        present = glyphs.code(tag) in contents.codes
        # Pictures without a number differ by what they show.
        content = (
            contents.frame_number
            if contents.frame_number is not None
            else sorted(contents.codes) or None
        )
        chance, strength = _draws(self.behaviour.seed, content, tag)
        wrong = chance < self.error_rate(contents, present)
        confidence = 0.55 + 0.2 * strength if wrong else 0.9 + 0.09 * strength
        return confidence if present != wrong else 1 - confidence

    def error_rate(self, contents: glyphs.Shown, is_there: bool) -> float:
        """Return the probability of a wrong verdict on a tag that is, or is not, in the picture."""
        return self.behaviour.miss_rate if is_there else self.behaviour.false_alarm_rate

    def _completion(self, body: dict[str, Any], prompt: _Prompt, draft: Draft) -> web.Response:
        behaviour, dialect, thoughts = self.behaviour, self._dialect, self._thoughts(body)
        form = {**body, "response_format": None} if draft.is_free else body
        answer = dialect.write(draft.tokens, form, thought_of(thoughts))
        logprobs = None
        if body.get("logprobs") and behaviour.offers_logprobs and draft.field == "content":
            logprobs = dialect.logprobs(answer.stream, body.get("top_logprobs") or 0)
        message = {"content": None, draft.field: answer.content}
        if answer.thought:
            message[dialect.thought_field] = answer.thought
        written = thoughts + len(answer.stream)
        usage = Usage(
            prompt.tokens,
            written,
            prompt.cached_tokens,
            behaviour.picture_token_s * prompt.picture_tokens,
            behaviour.answer_token_s * written,
        )
        model = behaviour.answers_as or str(body.get("model") or behaviour.models[0])
        reply = _envelope(model, message, draft.finish, logprobs) | dialect.reported(usage)
        return web.json_response(reply, headers=dialect.headers)


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError as error:
        raise RefusalError(Refusal.REQUEST, f"JSON decode error: {error}") from error
    if not isinstance(body, dict) or not body.get("messages"):
        raise RefusalError(Refusal.REQUEST, "Cannot apply chat template to an empty conversation.")
    return body


def _opened(url: str) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(base64.b64decode(url.partition("base64,")[2], validate=True)))
        image.load()
    except (UnidentifiedImageError, binascii.Error, OSError, SyntaxError) as error:
        raise RefusalError(Refusal.IMAGE, str(error)) from error
    return image


def _reduced(image: Image.Image, longest_side: int) -> Image.Image:
    if longest_side:
        image.thumbnail((longest_side, longest_side))
    return image


def _contents(image: Image.Image) -> glyphs.Shown:
    contents = glyphs.read(image)
    if contents.frame_number is not None:
        return contents
    return replace(contents, codes=frozenset(map(glyphs.code, shapes.read(image))))


def _draws(*what: object) -> tuple[float, float]:
    """Return two numbers in [0, 1) that depend on ``what`` alone."""
    digest = hashlib.sha256(json.dumps(what).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64, int.from_bytes(digest[8:16], "big") / 2**64


def _envelope(model: str, message: dict[str, Any], finish: str, logprobs: Any) -> dict[str, Any]:
    message = {"role": "assistant", **message}
    return {
        "id": "chatcmpl-sandbox",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [
            {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": finish}
        ],
    }


def _response(status: int, body: Any) -> web.Response:
    if isinstance(body, str):
        return web.Response(text=body, status=status)
    return web.json_response(body, status=status)
