"""Questions, clients, pools, and servers for them: the sandbox's, and ones that follow a script."""

import asyncio
import io
import json
import logging
import socket
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import cache
from typing import NamedTuple

import pytest
from aiohttp import web

from vlm_engine.clients import EndpointPool, OpenAIClient
from vlm_engine.config.models import EndpointConfig, ModelConfig
from vlm_engine.errors import NoEndpointError
from vlm_engine.testing import Behaviour, SandboxVLM, glyphs
from vlm_engine.types import Form, Question

TAGS = ("Basketball point", "Foul", "Break-away", "Turnover")
KEY = "sk-the-leagues-own-secret"
LIMIT_S = 30.0
FOUL = '{"tags": ["Foul"]}'


@cache
def jpeg(tags, number=0, width=410, height=280):
    file = io.BytesIO()
    glyphs.picture(tags, width, height, number).save(file, "JPEG", quality=90)
    return file.getvalue()


def question(*visible, number=0, form=Form.LIST, picture=None, tags=TAGS, model=""):
    return Question(tags, form, picture or jpeg(visible, number), model)


def numbered(number, model=""):
    """Return a question whose picture shows one tag, and its number to the server."""
    return question(TAGS[number % 4], number=number, model=model)


def free_url():
    """Return the URL of a server that is not there."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


def present(answer):
    return [tag for tag, verdict in answer.verdicts.items() if verdict.present]


@asynccontextmanager
async def client_of(url, *, key="", endpoint=None, **model):
    config = EndpointConfig(base_url=url, api_key=key, name="court", **(endpoint or {}))
    client = OpenAIClient(config, ModelConfig(**{"model_id": "sandbox-vlm", **model}))
    try:
        async with asyncio.timeout(LIMIT_S):
            yield client
    finally:
        await client.aclose()


@asynccontextmanager
async def client_on(server, **settings):
    """Start a server, or the sandbox's with this behaviour; yield a client of it, and it."""
    server = SandboxVLM(server) if isinstance(server, Behaviour) else server
    async with server, client_of(server.url, **settings) as client:
        yield client, server


class At(NamedTuple):
    """An endpoint of a pool: a server to start, a behaviour of the sandbox's, or a URL."""

    server: object
    settings: dict


def at(server, name="court", **settings):
    return At(server, {"name": name, **settings})


@asynccontextmanager
async def pool_on(*endpoints, patience_s=20.0, limit_s=LIMIT_S, **model):
    """Start the endpoints' servers; yield a pool of them, and the servers."""
    async with AsyncExitStack() as stack:
        started, configs = [], []
        for each in (each if isinstance(each, At) else at(each) for each in endpoints):
            url = server = each.server
            if not isinstance(server, str):
                server = SandboxVLM(server) if isinstance(server, Behaviour) else server
                url = (await stack.enter_async_context(server)).url
                started.append(server)
            configs.append({"base_url": url, "max_concurrent": 4, **each.settings})
        settings = {"model_id": "sandbox-vlm", "endpoint_patience": patience_s, **model}
        pool = EndpointPool.from_config(ModelConfig(multiplexer_endpoints=configs, **settings))
        try:
            async with asyncio.timeout(limit_s):
                yield pool, *started
        finally:
            await pool.aclose()


async def ask_all(pool, count, **options):
    """Ask ``count`` questions at once, check that each got its own answer, and return these."""
    answers = await asyncio.gather(
        *(pool.ask(numbered(number), **options) for number in range(count))
    )
    for number, answer in enumerate(answers):
        assert present(answer) == [TAGS[number % 4]]
    return answers


def start(pool, count, model=""):
    """Ask ``count`` questions at once; return the tasks."""
    return [asyncio.ensure_future(pool.ask(numbered(number, model))) for number in range(count)]


async def outcomes(pool, count, model=""):
    return await asyncio.gather(*start(pool, count, model), return_exceptions=True)


async def until(holds):
    while not holds():
        await asyncio.sleep(0.002)


@contextmanager
def no_endpoint(*words):
    """Expect a ``NoEndpointError`` with these words."""
    with pytest.raises(NoEndpointError) as caught:
        yield
    assert all(each in str(caught.value) for each in words), caught.value


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def completion(content, finish="stop", **more):
    message = {"content": content, **more.pop("message", {})}
    return {"choices": [{"finish_reason": finish, "message": message}], **more}


GOOD = completion(FOUL)


def said(message, **more):
    return {"error": {"message": message, **more}}


def listing(*models):
    """Return a list of models, from names or from parts of their entries."""
    entries = [{"id": model} if isinstance(model, str) else model for model in models]
    return {
        "object": "list",
        "data": [{"id": "m", "object": "model", **entry} for entry in entries],
    }


class Scripted:
    """A server that follows a script. Context manager.

    ``script``: the reply to a question, as a body, (status, body) or (status, body, headers), or a
    function from a request's JSON to that. A body is bytes, text, or JSON. ``pages``: replies by
    path. ``received``: the questions so far; ``paths``, ``headers``: of all requests.
    """

    def __init__(self, script=None, pages=None, *, models=("sandbox-vlm",), tls=None):
        self.script, self.tls = script, tls
        self.pages = {"/v1/models": listing(*models)} if pages is None else pages
        self.received, self.paths, self.headers = [], [], []

    async def __aenter__(self):
        self._runner = web.ServerRunner(web.Server(self._answer, access_log=None))
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self.tls).start()
        self.port = self._runner.addresses[0][1]
        self.url = f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/v1"
        return self

    async def __aexit__(self, *_):
        await self._runner.cleanup()

    async def _answer(self, request):
        self.paths.append(request.path)
        self.headers.append(request.headers)
        if request.path == "/v1/chat/completions" and self.script is not None:
            self.received.append(json.loads(await request.read()))
            script = self.script
            return _response(script(self.received[-1]) if callable(script) else script)
        if request.path not in self.pages:
            return _response((404, {"detail": "Not Found"}))
        return _response(self.pages[request.path])


def _response(reply):
    status, body, *more = reply if isinstance(reply, tuple) else (200, reply)
    body = body if isinstance(body, bytes | str) else json.dumps(body)
    data = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    headers = {"Content-Type": "application/json", **(more[0] if more else {})}
    return web.Response(status=status, body=data, headers=headers)
