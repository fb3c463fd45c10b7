"""One endpoint: what it is asked, which fields it refuses, and what becomes of odd replies."""

import asyncio
import json
import logging
import socket

import pytest

from tests.clients.helpers import (
    FOUL,
    KEY,
    TAGS,
    Scripted,
    client_of,
    completion,
    listing,
    present,
    question,
)
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
from vlm_engine.testing import Behaviour, Fault, SandboxVLM
from vlm_engine.types import Form

DESCRIPTIONS = {
    "Foul": 'a player is fouled: the referee says "foul"',
    "Turnover": "the ball changes hands",
}


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("visible", [(), ("Foul",), ("Basketball point", "Turnover")])
async def test_the_picture_is_judged(form, visible):
    async with SandboxVLM() as vlm, client_of(vlm.url) as client:
        answer = await client.ask(question(*visible, form=form))
        assert present(answer) == list(visible)
        assert (answer.model, answer.endpoint) == ("sandbox-vlm", "court")
        assert answer.prompt_tokens > 100 and answer.answer_tokens > 0


async def test_confidence_is_what_the_model_believes():
    async with SandboxVLM() as vlm, client_of(vlm.url) as client:
        verdicts = (await client.ask(question("Foul", "Turnover", form=Form.VERDICTS))).verdicts
        listed = (await client.ask(question("Foul", "Turnover"))).verdicts
        for tag, verdict in verdicts.items():
            assert (verdict.probability > 0.85) == verdict.present
            assert listed[tag].probability == pytest.approx(verdict.probability, abs=1e-3)


async def test_confidence_can_be_switched_off():
    async with SandboxVLM() as vlm, client_of(vlm.url, model_return_confidence=False) as client:
        answer = await client.ask(question("Foul", form=Form.VERDICTS))
        assert all(verdict.probability is None for verdict in answer.verdicts.values())


async def test_the_request_is_short_deterministic_and_unthinking():
    async with Scripted((200, completion(FOUL))) as server, client_of(server.url) as client:
        await client.ask(question())
    (received,) = server.received
    assert (received["model"], received["temperature"], received["stream"]) == (
        "sandbox-vlm",
        0,
        False,
    )
    assert isinstance(received["seed"], int)
    assert 64 <= received["max_tokens"] <= 256
    assert (received["logprobs"], received["top_logprobs"]) == (True, 10)
    assert received["reasoning_effort"] == "none"
    assert received["chat_template_kwargs"] == {"enable_thinking": False}
    schema = received["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["tags"]["maxItems"] == len(TAGS)


REFUSABLE = {
    "response_format": "'response_format.type' is not supported",
    "logprobs": "logprobs are not available for this model",
    "reasoning_effort": "Unrecognized argument: reasoning_effort",
    "chat_template_kwargs": "Extra inputs are not permitted: chat_template_kwargs",
    "seed": "seed: unknown parameter",
}


@pytest.mark.parametrize("status", [400, 403, 404, 422, 500])
@pytest.mark.parametrize("field", REFUSABLE)
async def test_a_refused_field_is_left_out_from_then_on(field, status):
    def script(body):
        if field in body:
            return status, {"error": {"message": REFUSABLE[field]}}
        return 200, completion(FOUL)

    async with Scripted(script) as server, client_of(server.url) as client:
        for _ in range(2):
            assert present(await client.ask(question())) == ["Foul"]
    assert [field in received for received in server.received] == [True, False, False]
    assert "top_logprobs" not in server.received[-1] or field != "logprobs"


async def test_a_picky_server_gets_what_it_takes():
    def script(body):
        for field, complaint in REFUSABLE.items():
            if field in body:
                return 400, {"error": complaint}
        if body["messages"][0]["role"] == "system":
            return 400, {"error": "System role not supported"}
        return 200, completion("Foul")

    async with Scripted(script) as server, client_of(server.url) as client:
        for _ in range(2):
            assert present(await client.ask(question())) == ["Foul"]
    assert len(server.received) == len(REFUSABLE) + 3
    assert server.received[-1]["messages"][0]["content"][0]["text"].count("Break-away") == 1


@pytest.mark.parametrize(
    "message", ["unknown field", "logprobs response_format reasoning seed temperature system role"]
)
async def test_a_server_that_refuses_everything_teaches_nothing(message):
    async with (
        Scripted((400, {"error": message})) as server,
        client_of(server.url) as client,
    ):
        with pytest.raises(RequestError, match=message):
            await client.ask(question())
        assert 1 < len(server.received) <= 9
        server.script = (200, completion(FOUL))
        await client.ask(question())
        assert server.received[-1].keys() == server.received[0].keys()


async def test_without_schema_the_sandbox_is_asked_in_words():
    async with SandboxVLM(Behaviour(offers_schema=False)) as vlm, client_of(vlm.url) as client:
        for form in Form:
            assert present(await client.ask(question("Foul", form=form))) == ["Foul"]
        assert vlm.counters.failed == {"no schema": 1}


async def test_a_reply_that_is_cut_off_gets_a_larger_budget():
    truncated = Behaviour(fault=Fault.TRUNCATED, fault_requests=1)
    async with SandboxVLM(truncated) as vlm, client_of(vlm.url) as client:
        assert present(await client.ask(question("Foul", form=Form.VERDICTS))) == ["Foul"]
    cut_off = (200, completion('{"tags": ["F' + "o" * 99, "length"))
    async with Scripted(cut_off) as server, client_of(server.url) as client:
        with pytest.raises(ReplyError, match="court: the reply was cut off"):
            await client.ask(question())
    first, second = server.received
    assert second["max_tokens"] > first["max_tokens"]
    assert "response_format" in second


@pytest.mark.parametrize(
    ("content", "finish"),
    [("k42H2 tru. the the %fal", "stop"), ('{ "tags":' + "\n" * 99, "length"), ("", "stop")],
)
async def test_an_unreadable_reply_is_asked_again_without_schema(content, finish):
    def script(body):
        return 200, completion(content, finish) if "response_format" in body else completion("Foul")

    async with Scripted(script) as server, client_of(server.url) as client:
        assert present(await client.ask(question())) == ["Foul"]
        server.script = (200, completion(content, finish))
        with pytest.raises(ReplyError):
            await client.ask(question())
    schemas = ["response_format" in received for received in server.received]
    assert schemas == [True, False, True, False], "one bad reply does not disable the schema"


@pytest.mark.parametrize(
    ("behaviour", "kind", "words"),
    [
        ({"api_key": "another"}, WrongKeyError, "api_key"),
        (
            {"models": ("referee-7b", "whistle-2b")},
            WrongModelError,
            "offers referee-7b, whistle-2b",
        ),
        ({"vision": False}, NoVisionError, "cannot see pictures"),
        ({"fault": Fault.HTML}, EndpointError, "web page"),
        ({"fault": Fault.SERVER_ERROR}, ServerError, "EngineCore encountered an issue"),
        ({"fault": Fault.ERROR_BODY}, ServerError, "model crashed while answering"),
        ({"fault": Fault.DROP}, UnreachableError, "broke off"),
        ({"fault": Fault.GARBAGE}, ReplyError, "does not answer"),
        ({"fault": Fault.HANG}, TimedOutError, "no answer within"),
    ],
)
async def test_faults_become_errors_that_say_what_to_do(behaviour, kind, words):
    timeout = 0.2 if kind is TimedOutError else 60
    async with (
        SandboxVLM(Behaviour(**behaviour)) as vlm,
        client_of(vlm.url, key=KEY, request_timeout=timeout) as client,
    ):
        with pytest.raises(kind, match=words) as caught:
            await client.ask(question("Foul"))
        assert caught.value.endpoint == "court"


async def test_a_closed_port_is_named():
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    async with client_of(url) as client:
        with pytest.raises(UnreachableError, match=f"is the server running at {url}"):
            await client.ask(question())


async def test_without_a_configured_model_the_first_for_chat_is_asked():
    models = ("text-embedding-3", "referee-7b", "other")
    async with (
        Scripted((200, completion(FOUL)), models=models) as server,
        client_of(server.url, model_id="") as client,
    ):
        assert await client.model_name() == "referee-7b"
        await client.ask(question())
        assert server.received[0]["model"] == "referee-7b"
        assert await client.check() == models
        server.pages["/v1/models"] = listing("embed-1")
        async with client_of(server.url, model_id="") as other:
            with pytest.raises(WrongModelError, match="set MODEL"):
                await other.ask(question())


async def test_pictures_follow_no_redirect():
    moved = (307, "", {"Location": "http://192.0.2.1/v1/chat/completions"})
    async with Scripted(moved) as server, client_of(server.url) as client:
        with pytest.raises(EndpointError, match="base_url.*192.0.2.1"):
            await client.ask(question())


async def test_the_key_is_sent_and_shown_nowhere(caplog):
    caplog.set_level(logging.DEBUG)

    def script(body):
        if "seed" in body:
            return 400, {"error": {"message": f"seed is refused for key {KEY}"}}
        return 401, f"Incorrect API key provided: {KEY}."

    async with SandboxVLM(Behaviour(api_key=KEY)) as vlm, client_of(vlm.url, key=KEY) as client:
        assert present(await client.ask(question("Foul"))) == ["Foul"]
    async with Scripted(script) as server, client_of(server.url, key=KEY) as client:
        with pytest.raises(WrongKeyError) as caught:
            await client.ask(question())
    error = caught.value
    texts = [repr(client), str(client), str(error), repr(error), repr(error.__cause__)]
    assert caplog.records
    assert KEY not in "".join([*texts, caplog.text, json.dumps(server.received)])


async def test_a_closed_client_says_so():
    async with SandboxVLM() as vlm:
        async with client_of(vlm.url) as client:
            await client.check()
        with pytest.raises(RuntimeError, match="closed"):
            await client.ask(question())


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


@pytest.mark.parametrize("schema", [True, False])
@pytest.mark.parametrize(
    "words",
    [{}, {"system_prompt": "A match.\n{tags}\n\n{rules}", "user_prompt": "{question} {tag_count}"}],
    ids=["built-in", "templates"],
)
@pytest.mark.parametrize("form", Form)
async def test_described_tags_are_answered_by_their_names(form, schema, words):
    async with (
        SandboxVLM(Behaviour(offers_schema=schema)) as vlm,
        client_of(vlm.url, tag_list=TAGS, tag_descriptions=DESCRIPTIONS, **words) as client,
    ):
        answer = await client.ask(question("Foul", "Break-away", form=form))
    assert present(answer) == ["Foul", "Break-away"]
    assert all(verdict.probability is not None for verdict in answer.verdicts.values())


async def test_a_synonym_counts_as_its_tag_and_is_not_asked_for():
    synonyms = {"Foul": ["personal foul"]}
    async with (
        Scripted((200, completion('{"tags": ["Personal foul"]}'))) as server,
        client_of(server.url, tag_list=TAGS, synonyms=synonyms) as client,
    ):
        assert present(await client.ask(question("Foul"))) == ["Foul"]
    assert "ersonal foul" not in str(server.received)
