"""One endpoint: what it is asked, which fields it refuses, and what becomes of odd replies."""

import asyncio

import pytest

from tests.clients.helpers import (
    GOOD,
    KEY,
    TAGS,
    Scripted,
    client_of,
    client_on,
    completion,
    free_url,
    present,
    question,
)
from vlm_engine.errors import (
    EndpointError,
    ReplyError,
    RequestError,
    ServerError,
    TimedOutError,
    UnreachableError,
    WrongModelError,
)
from vlm_engine.testing import Behaviour, Fault, Profile
from vlm_engine.types import Form

DESCRIPTIONS = {
    "Foul": 'a player is fouled: the referee says "foul"',
    "Turnover": "the ball changes hands",
}


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("visible", [(), ("Foul",), ("Basketball point", "Turnover")])
async def test_the_picture_is_judged(form, visible):
    async with client_on(Behaviour()) as (client, _):
        answer = await client.ask(question(*visible, form=form))
        assert present(answer) == list(visible)
        assert (answer.model, answer.endpoint) == ("sandbox-vlm", "court")
        assert answer.prompt_tokens > 100 and answer.answer_tokens > 0


async def test_confidence_is_what_the_model_believes():
    async with client_on(Behaviour()) as (client, _):
        verdicts = (await client.ask(question("Foul", "Turnover", form=Form.VERDICTS))).verdicts
        listed = (await client.ask(question("Foul", "Turnover"))).verdicts
        named = (await client.ask(question("Foul", "Turnover", form=Form.NAMES))).verdicts
        for tag, verdict in verdicts.items():
            assert (verdict.probability > 0.85) == verdict.present
            assert listed[tag].probability == pytest.approx(verdict.probability, abs=1e-3)
            assert named[tag].probability == pytest.approx(verdict.probability, abs=1e-3)


@pytest.mark.parametrize("profile", [Profile.LLAMA_CPP, Profile.VLLM])
@pytest.mark.parametrize("visible", [(), ("Turnover",), ("Basketball point", "Foul")])
async def test_bare_names_are_as_sure_as_verdicts(profile, visible):
    async with client_on(Behaviour(profile=profile)) as (client, _):
        verdicts = (await client.ask(question(*visible, form=Form.VERDICTS))).verdicts
        named = (await client.ask(question(*visible, form=Form.NAMES))).verdicts
    for tag, verdict in verdicts.items():
        assert named[tag].present == verdict.present
        near = 5e-3  # tags that might have followed the last name share what is open
        assert named[tag].probability == pytest.approx(verdict.probability, abs=near)


async def test_unreadable_names_are_asked_for_as_a_list_with_schema():
    def script(body):
        return GOOD if "response_format" in body else completion("I see two players.")

    async with client_on(Scripted(script)) as (client, server):
        assert present(await client.ask(question(form=Form.NAMES))) == ["Foul"]
    names, listed = server.received
    assert "without JSON" in line_of(names) and "without JSON" not in line_of(listed)
    assert listed["response_format"]["type"] == "json_schema"


def line_of(body):
    return body["messages"][-1]["content"][-1]["text"]


@pytest.mark.parametrize("schema", [True, False])
@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("tags", [TAGS[1:2], TAGS[:-1]])
async def test_only_the_tags_of_the_question_are_judged(form, tags, schema):
    model = {"tag_list": TAGS}
    async with client_on(Behaviour(offers_schema=schema), **model) as (client, vlm):
        answer = await client.ask(question("Foul", TAGS[-1], form=form, tags=tags))
        requests = vlm.counters.requests
        again = await client.ask(question("Foul", TAGS[-1], form=form, tags=tags))
    assert present(answer) == present(again) == ["Foul"]
    assert set(answer.verdicts) == set(tags)
    assert vlm.counters.requests == requests + 1, "nothing had to be asked twice"


async def test_confidence_can_be_switched_off():
    async with client_on(Behaviour(), model_return_confidence=False) as (client, _):
        answer = await client.ask(question("Foul", form=Form.VERDICTS))
    assert all(verdict.probability is None for verdict in answer.verdicts.values())


async def test_the_request_is_short_deterministic_and_unthinking():
    async with client_on(Scripted(GOOD)) as (client, server):
        await client.ask(question())
    (received,) = server.received
    expected = {
        "model": "sandbox-vlm",
        "temperature": 0,
        "stream": False,
        "logprobs": True,
        "top_logprobs": 10,
        "reasoning_effort": "none",
        "chat_template_kwargs": {"enable_thinking": False},
    }
    assert received | expected == received
    assert isinstance(received["seed"], int) and 64 <= received["max_tokens"] <= 256
    schema = received["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["tags"]["maxItems"] == len(TAGS)


REFUSABLE = {
    "response_format": "'response_format.type' is not supported",
    "logprobs": "logprobs are not available for this model",
    "reasoning_effort": "Unrecognized argument: reasoning_effort",
    "chat_template_kwargs": "Extra inputs are not permitted: chat_template_kwargs",
    "seed": "seed: unknown parameter",
}


@pytest.mark.parametrize(
    ("field", "status"), list(zip(REFUSABLE, (400, 403, 404, 422, 500), strict=True))
)
async def test_a_refused_field_is_left_out_from_then_on(field, status):
    def script(body):
        if field in body:
            return status, {"error": {"message": REFUSABLE[field]}}
        return GOOD

    async with client_on(Scripted(script)) as (client, server):
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
        return completion("Foul")

    async with client_on(Scripted(script)) as (client, server):
        for _ in range(2):
            assert present(await client.ask(question())) == ["Foul"]
    assert len(server.received) == len(REFUSABLE) + 3
    assert server.received[-1]["messages"][0]["content"][0]["text"].count("Break-away") == 1


@pytest.mark.parametrize(
    "message", ["unknown field", "logprobs response_format reasoning seed temperature system role"]
)
async def test_a_server_that_refuses_everything_teaches_nothing(message):
    async with client_on(Scripted((400, {"error": message}))) as (client, server):
        with pytest.raises(RequestError, match=message):
            await client.ask(question())
        assert 1 < len(server.received) <= 9
        server.script = GOOD
        await client.ask(question())
        assert server.received[-1].keys() == server.received[0].keys()


async def test_a_reply_that_is_cut_off_gets_a_larger_budget():
    cut_off = completion('{"tags": ["F' + "o" * 99, "length")
    async with client_on(Scripted(cut_off)) as (client, server):
        with pytest.raises(ReplyError, match="court: the reply was cut off"):
            await client.ask(question())
    first, second = server.received
    assert second["max_tokens"] > first["max_tokens"] and "response_format" in second


@pytest.mark.parametrize(
    ("content", "finish"),
    [("k42H2 tru. the the %fal", "stop"), ('{ "tags":' + "\n" * 99, "length"), ("", "stop")],
)
async def test_an_unreadable_reply_is_asked_again_without_schema(content, finish):
    def script(body):
        return completion(content, finish) if "response_format" in body else completion("Foul")

    async with client_on(Scripted(script)) as (client, server):
        assert present(await client.ask(question())) == ["Foul"]
        server.script = completion(content, finish)
        with pytest.raises(ReplyError):
            await client.ask(question())
    schemas = ["response_format" in received for received in server.received]
    assert schemas == [True, False, True, False], "one bad reply does not disable the schema"


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (Fault.HTML, EndpointError, "web page"),
        (Fault.ERROR_BODY, ServerError, "model crashed while answering"),
        (Fault.DROP, UnreachableError, "broke off"),
        (Fault.GARBAGE, ReplyError, "does not answer"),
        (Fault.HANG, TimedOutError, "no answer within"),
    ],
)
async def test_faults_become_errors_that_say_what_to_do(fault, kind, words):
    timeout = 0.2 if fault is Fault.HANG else 60
    async with client_on(Behaviour(fault=fault), request_timeout=timeout) as (client, _):
        with pytest.raises(kind, match=words) as caught:
            await client.ask(question("Foul"))
    assert caught.value.endpoint == "court"


async def test_a_closed_port_is_named():
    url = free_url()
    async with client_of(url) as client:
        with pytest.raises(UnreachableError, match=f"is the server running at {url}"):
            await client.ask(question())


async def test_without_a_configured_model_the_first_for_chat_is_asked():
    models = ("text-embedding-3", "referee-7b", "other")
    async with client_on(Scripted(GOOD, models=models), model_id="") as (client, server):
        assert await client.model_name() == "referee-7b"
        await client.ask(question())
        assert server.received[0]["model"] == "referee-7b"
        assert await client.check() == models


@pytest.mark.parametrize("models", [(), ("embed-1",)])
async def test_without_a_model_for_chat_the_setting_is_named(models):
    async with client_on(Scripted(models=models), model_id="") as (client, _):
        with pytest.raises(WrongModelError, match="set MODEL"):
            await client.ask(question())


async def test_pictures_follow_no_redirect():
    moved = Scripted((307, "", {"Location": "http://192.0.2.1/v1/chat/completions"}))
    async with client_on(moved) as (client, _):
        with pytest.raises(EndpointError, match="base_url.*192.0.2.1"):
            await client.ask(question())


async def test_the_key_is_sent_and_not_shown():
    async with client_on(Behaviour(api_key=KEY), key=KEY) as (client, _):
        assert present(await client.ask(question("Foul"))) == ["Foul"]
        assert KEY not in repr(client)


async def test_a_closed_client_says_so():
    async with client_on(Behaviour()) as (client, _):
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

    async with client_on(Behaviour()) as (client, _):
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
    async with client_on(
        Behaviour(offers_schema=schema), tag_list=TAGS, tag_descriptions=DESCRIPTIONS, **words
    ) as (client, _):
        answer = await client.ask(question("Foul", "Break-away", form=form))
    assert present(answer) == ["Foul", "Break-away"]
    assert all(verdict.probability is not None for verdict in answer.verdicts.values())


async def test_a_synonym_counts_as_its_tag_and_is_not_asked_for():
    synonyms = {"Foul": ["personal foul"]}
    async with client_on(
        Scripted(completion('{"tags": ["Personal foul"]}')), tag_list=TAGS, synonyms=synonyms
    ) as (client, server):
        assert present(await client.ask(question("Foul"))) == ["Foul"]
    assert "ersonal foul" not in str(server.received)
