"""One endpoint: what it is asked, what it is found not to take, and what becomes of odd replies."""

import asyncio
import io
import json
import logging
import socket
from contextlib import asynccontextmanager
from functools import cache

import pytest
from aiohttp import web

from vlm_engine.clients import OpenAIClient
from vlm_engine.config.models import EndpointConfig, ModelConfig
from vlm_engine.errors import (
    EndpointError,
    NoVisionError,
    ReplyError,
    RequestError,
    ServerError,
    TimedOutError,
    UnreachableError,
    WrongKeyError,
    WrongModelError,
)
from vlm_engine.testing import Behaviour, Fault, SandboxVLM, glyphs
from vlm_engine.types import Form, Question

TAGS = ("Basketball point", "Foul", "Break-away", "Turnover")
KEY = "sk-a-secret-of-the-league"


@cache
def jpeg(*tags):
    file = io.BytesIO()
    glyphs.picture(tags, 410, 280).save(file, "JPEG", quality=90)
    return file.getvalue()


def question(*shown, form=Form.LIST, picture=None):
    return Question(TAGS, form, picture or jpeg(*shown))


def present(answer):
    return [tag for tag, verdict in answer.verdicts.items() if verdict.present]


@asynccontextmanager
async def client_of(url, *, key="", **model):
    client = OpenAIClient(
        EndpointConfig(base_url=url, api_key=key, name="court"),
        ModelConfig(**{"model_id": "sandbox-vlm", **model}),
    )
    try:
        yield client
    finally:
        await client.aclose()


def completion(content, finish="stop"):
    return {"choices": [{"finish_reason": finish, "message": {"content": content}}]}


class Scripted:
    """A server that answers by ``script``: from the body of a request, a status and a body. Keeps what it was asked."""

    def __init__(self, script):
        self.script = script
        self.asked = []

    async def __aenter__(self):
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
        return self

    async def __aexit__(self, *_):
        await self._runner.cleanup()

    async def _chat(self, request):
        body = await request.json()
        self.asked.append(body)
        status, reply = self.script(body)
        if isinstance(reply, str):
            return web.Response(status=status, text=reply)
        return web.json_response(reply, status=status)

    async def _models(self, _):
        return web.json_response(
            {"data": [{"id": "text-embedding-3"}, {"id": "referee-7b"}, {"id": "other"}]}
        )


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("shown", [(), ("Foul",), ("Basketball point", "Turnover")])
def test_the_picture_is_judged(form, shown):
    async def main():
        async with SandboxVLM() as vlm, client_of(vlm.url) as client:
            answer = await client.ask(question(*shown, form=form))
            assert present(answer) == list(shown)
            assert (answer.model, answer.endpoint) == ("sandbox-vlm", "court")
            assert answer.prompt_tokens > 100 and answer.answer_tokens > 0

    asyncio.run(main())


def test_confidence_is_what_the_model_believes():
    async def main():
        async with SandboxVLM() as vlm, client_of(vlm.url) as client:
            verdicts = (await client.ask(question("Foul", "Turnover", form=Form.VERDICTS))).verdicts
            listed = (await client.ask(question("Foul", "Turnover"))).verdicts
            for tag, verdict in verdicts.items():
                assert (verdict.probability > 0.85) == verdict.present
                assert listed[tag].probability == pytest.approx(verdict.probability, abs=1e-3), (
                    "near misses are told, too"
                )

    asyncio.run(main())


def test_no_confidence_is_asked_for_where_none_is_wanted():
    async def main():
        async with SandboxVLM() as vlm, client_of(vlm.url, model_return_confidence=False) as client:
            answer = await client.ask(question("Foul", form=Form.VERDICTS))
            assert all(verdict.probability is None for verdict in answer.verdicts.values())

    asyncio.run(main())


def test_the_request_is_short_deterministic_and_without_thinking():
    async def main():
        async with (
            Scripted(lambda _: (200, completion('{"tags": []}'))) as server,
            client_of(server.url) as client,
        ):
            await client.ask(question())
            (asked,) = server.asked
            assert (asked["model"], asked["temperature"], asked["stream"]) == (
                "sandbox-vlm",
                0,
                False,
            )
            assert isinstance(asked["seed"], int)
            assert 64 <= asked["max_tokens"] <= 256
            assert (asked["logprobs"], asked["top_logprobs"]) == (True, 10)
            assert asked["reasoning_effort"] == "none"
            assert asked["chat_template_kwargs"] == {"enable_thinking": False}
            assert asked["response_format"]["json_schema"]["schema"]["properties"]["tags"][
                "maxItems"
            ] == len(TAGS)

    asyncio.run(main())


REFUSABLE = {
    "response_format": "'response_format.type' is not supported",
    "logprobs": "logprobs are not available for this model",
    "reasoning_effort": "Unrecognized argument: reasoning_effort",
    "chat_template_kwargs": "Extra inputs are not permitted: chat_template_kwargs",
    "seed": "seed: unknown parameter",
}


@pytest.mark.parametrize(
    ("field", "status"), list(zip(REFUSABLE, [400, 422, 500, 400, 422], strict=True))
)
def test_a_field_that_is_refused_is_left_out_from_then_on(field, status):
    def script(body):
        return (
            (status, {"error": {"message": REFUSABLE[field]}})
            if field in body
            else (200, completion('{"tags": ["Foul"]}'))
        )

    async def main():
        async with Scripted(script) as server, client_of(server.url) as client:
            assert present(await client.ask(question())) == ["Foul"]
            assert present(await client.ask(question())) == ["Foul"]
            assert [field in asked for asked in server.asked] == [True, False, False]
            assert "top_logprobs" not in server.asked[-1] or field != "logprobs"

    asyncio.run(main())


def test_a_picky_server_gets_what_it_takes():
    def script(body):
        for field, complaint in REFUSABLE.items():
            if field in body:
                return 400, {"error": complaint}
        if body["messages"][0]["role"] == "system":
            return 400, {"error": "System role not supported"}
        return 200, completion("Foul")

    async def main():
        async with Scripted(script) as server, client_of(server.url) as client:
            assert present(await client.ask(question())) == ["Foul"]
            assert present(await client.ask(question())) == ["Foul"]
            assert len(server.asked) == len(REFUSABLE) + 3
            assert server.asked[-1]["messages"][0]["content"][0]["text"].count("Break-away") == 1

    asyncio.run(main())


@pytest.mark.parametrize(
    "message", ["unknown field", "logprobs response_format reasoning seed temperature system role"]
)
def test_a_server_that_is_never_content_is_not_asked_for_ever_and_teaches_nothing(message):
    async def main():
        async with (
            Scripted(lambda _: (400, {"error": message})) as server,
            client_of(server.url) as client,
        ):
            with pytest.raises(RequestError, match=message):
                await client.ask(question())
            asked = len(server.asked)
            assert 1 < asked <= 9
            server.script = lambda _: (200, completion('{"tags": []}'))
            await client.ask(question())
            assert server.asked[-1].keys() == server.asked[0].keys()

    asyncio.run(main())


def test_the_sandbox_without_schema_is_asked_in_words():
    async def main():
        async with SandboxVLM(Behaviour(offers_schema=False)) as vlm, client_of(vlm.url) as client:
            for form in Form:
                assert present(await client.ask(question("Foul", form=form))) == ["Foul"]
            assert vlm.counters.failed == {"no schema": 1}

    asyncio.run(main())


def test_a_reply_that_is_cut_off_is_asked_for_once_more_with_more_room():
    async def main():
        async with (
            SandboxVLM(Behaviour(fault=Fault.TRUNCATED, fault_requests=1)) as vlm,
            client_of(vlm.url) as client,
        ):
            assert present(await client.ask(question("Foul", form=Form.VERDICTS))) == ["Foul"]
        async with (
            Scripted(lambda _: (200, completion('{"tags": ["F' + "o" * 99, "length"))) as server,
            client_of(server.url) as client,
        ):
            with pytest.raises(ReplyError, match="court: the reply was cut off"):
                await client.ask(question())
            first, second = server.asked
            assert second["max_tokens"] > first["max_tokens"]
            assert "response_format" in second

    asyncio.run(main())


@pytest.mark.parametrize(
    ("content", "finish"),
    [("k42H2 tru. the the %fal", "stop"), ('{ "tags":' + "\n" * 99, "length"), ("", "stop")],
)
def test_an_unreadable_reply_is_asked_for_once_more_without_schema(content, finish):
    def script(body):
        return 200, completion(content, finish) if "response_format" in body else completion("Foul")

    async def main():
        async with Scripted(script) as server, client_of(server.url) as client:
            assert present(await client.ask(question())) == ["Foul"]
            assert ["response_format" in asked for asked in server.asked] == [True, False]
            server.script = lambda _: (200, completion(content, finish))
            with pytest.raises(ReplyError):
                await client.ask(question())
            assert "response_format" in server.asked[2], (
                "one bad reply is no reason to give the schema up"
            )
            assert len(server.asked) == 4

    asyncio.run(main())


@pytest.mark.parametrize(
    ("behaviour", "kind", "words"),
    [
        ({"api_key": "another"}, WrongKeyError, "api_key"),
        (
            {"models": ("referee-7b", "whistle-2b")},
            WrongModelError,
            "it offers referee-7b, whistle-2b",
        ),
        ({"vision": False}, NoVisionError, "cannot see pictures"),
        ({"fault": Fault.HTML}, EndpointError, "web page"),
        ({"fault": Fault.SERVER_ERROR}, ServerError, "EngineCore encountered an issue"),
        ({"fault": Fault.ERROR_BODY}, ServerError, "model crashed while answering"),
        ({"fault": Fault.DROP}, UnreachableError, "broke off"),
        ({"fault": Fault.GARBAGE}, ReplyError, "does not answer"),
    ],
)
def test_faults_become_errors_that_say_what_to_do(behaviour, kind, words):
    async def main():
        async with SandboxVLM(Behaviour(**behaviour)) as vlm, client_of(vlm.url, key=KEY) as client:
            with pytest.raises(kind, match=words) as caught:
                await client.ask(question("Foul"))
            assert caught.value.endpoint == "court"

    asyncio.run(main())


def test_a_picture_that_nobody_can_read_is_the_requests_fault():
    async def main():
        async with SandboxVLM() as vlm, client_of(vlm.url) as client:
            with pytest.raises(RequestError, match="cannot read the picture"):
                await client.ask(question(picture=b"no picture"))

    asyncio.run(main())


def test_silence_ends():
    async def main():
        async with (
            SandboxVLM(Behaviour(fault=Fault.HANG)) as vlm,
            client_of(vlm.url, request_timeout=0.2) as client,
        ):
            with pytest.raises(TimedOutError):
                await client.ask(question())

    asyncio.run(main())


def test_a_closed_port_is_named():
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as free:
            url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        async with client_of(url) as client:
            with pytest.raises(UnreachableError, match=f"is the server running at {url}"):
                await client.ask(question())

    asyncio.run(main())


def test_without_a_model_name_the_server_is_asked_once_and_embeddings_are_passed_over():
    async def main():
        async with (
            Scripted(lambda _: (200, completion('{"tags": []}'))) as server,
            client_of(server.url, model_id="") as client,
        ):
            assert await client.model_name() == "referee-7b"
            await client.ask(question())
            assert server.asked[0]["model"] == "referee-7b"
            assert await client.check() == ("text-embedding-3", "referee-7b", "other")
        async with (
            SandboxVLM(Behaviour(models=("embed-1",))) as vlm,
            client_of(vlm.url, model_id="") as client,
        ):
            with pytest.raises(WrongModelError, match="set MODEL"):
                await client.ask(question())

    asyncio.run(main())


def test_pictures_follow_no_redirect():
    async def moved(_):
        raise web.HTTPTemporaryRedirect("http://192.0.2.1/v1/chat/completions")

    async def main():
        app = web.Application()
        app.router.add_post("/v1/chat/completions", moved)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with client_of(f"http://127.0.0.1:{runner.addresses[0][1]}") as client:
            with pytest.raises(EndpointError, match="base_url.*192.0.2.1"):
                await client.ask(question())
        await runner.cleanup()

    asyncio.run(main())


def test_a_proxy_of_the_environment_is_used_but_never_for_this_machine(monkeypatch):
    seen = []

    async def proxy(request):
        seen.append((request.raw_path, request.headers.get("Proxy-Authorization") is not None))
        return web.json_response({"data": [{"id": "referee-7b"}]})

    async def main():
        runner = web.ServerRunner(web.Server(proxy, access_log=None))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        monkeypatch.setenv("http_proxy", f"http://coach:pass@127.0.0.1:{runner.addresses[0][1]}")
        monkeypatch.setenv("no_proxy", "")
        async with client_of("http://vlm.invalid/v1") as client:
            assert await client.check() == ("referee-7b",)
        async with SandboxVLM() as vlm, client_of(vlm.url) as client:
            assert await client.check() == ("sandbox-vlm",)
        await runner.cleanup()

    asyncio.run(main())
    assert seen == [("http://vlm.invalid/v1/models", True)]


def test_the_key_is_sent_and_shown_nowhere(caplog):
    caplog.set_level(logging.DEBUG)

    def script(body):
        if "seed" in body:
            return 400, {"error": {"message": f"seed is refused for key {KEY}"}}
        return 401, f"Incorrect API key provided: {KEY}."

    async def main():
        async with SandboxVLM(Behaviour(api_key=KEY)) as vlm, client_of(vlm.url, key=KEY) as client:
            assert present(await client.ask(question("Foul"))) == ["Foul"]
        async with Scripted(script) as server, client_of(server.url, key=KEY) as client:
            with pytest.raises(WrongKeyError) as caught:
                await client.ask(question())
            assert json.dumps(server.asked).count(KEY) == 0
            return [
                repr(client),
                str(client),
                str(caught.value),
                repr(caught.value),
                repr(caught.value.__cause__),
            ]

    shown = asyncio.run(main())
    assert caplog.records
    assert KEY not in "".join([*shown, caplog.text])


def test_a_closed_client_says_so():
    async def main():
        async with SandboxVLM() as vlm:
            async with client_of(vlm.url) as client:
                await client.check()
            with pytest.raises(RuntimeError, match="closed"):
                await client.ask(question())

    asyncio.run(main())


async def test_one_endpoint_keeps_answers_as_a_pool_does():
    kept = []

    async def keep(answer):
        await asyncio.sleep(0)
        kept.append(answer)

    async def fail(_):
        raise OverflowError("too large")

    async with SandboxVLM() as vlm, client_of(vlm.url) as client:
        assert await client.ask(question("Foul"), keep) is kept[0]
        with pytest.raises(ServerError, match="court: its reply cannot be used: OverflowError"):
            await client.ask(question("Foul"), fail)
