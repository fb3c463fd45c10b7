"""Odd replies of real servers: a bad endpoint costs no answer and is named in its own words."""

import asyncio
import json
import logging
import time
import uuid

import pytest

from tests.clients.helpers import (
    FOUL,
    KEY,
    Scripted,
    ask_all,
    completion,
    endpoint,
    no_endpoint,
    numbered,
    pool_of,
    present,
    question,
    said,
    servers,
    warnings,
)
from vlm_engine.errors import NoEndpointError, VLMEngineError
from vlm_engine.testing import Behaviour

QUESTIONS = 24
GOOD = (200, completion(FOUL))
SEEING = {"id": "sandbox-vlm", "architecture": {"input_modalities": ["text", "image"]}}

CRASHED = said(
    "The model has crashed without additional information. (Exit code: 18446744072635812000)"
)
SORRY = completion("I'm sorry, but I can't help with identifying what happens in this image.")
THOUGHT = completion("", "length", message={"reasoning": "First I look at the court. " * 40})
BROKE_OFF = {
    "choices": [
        {"finish_reason": "error", "error": {"code": 502}, "message": {"content": '{"tags": []}'}}
    ]
}
PASSED_ON = said(
    "Provider returned error", metadata={"raw": '{"error": "Model does not support image input"}'}
)
# What the server says, and the words by which it is named.
REFUSERS = {
    "crashed": ((400, CRASHED), "its model does not run"),
    "unloaded": ((400, {"error": "Model is unloaded."}), "its model does not run"),
    "resources": ((400, said("insufficient system resources")), "its model does not run"),
    "something new": ((400, said("The flux capacitor wants 1.21 gigawatts")), "flux capacitor"),
    "something new as a 418": ((418, "I am a teapot"), "I am a teapot"),
    "text only": (
        (400, said("unknown variant `image_url`, expected `text`")),
        "cannot see pictures",
    ),
    "no vision there": (
        (404, said("No endpoints found that support image input")),
        "cannot see pictures",
    ),
    "no vision part": ((200, said("Vision add-on is not loaded")), "cannot see pictures"),
    "flagged": (
        (403, said("This model requires moderation and the input was flagged")),
        "its filter refuses",
    ),
    "bot wall": (
        (403, "<!doctype html><title>Just a moment...</title>", {"Content-Type": "text/html"}),
        "Just a moment",
    ),
    "context": ((400, said("n_keep 4096 >= n_ctx 2048")), "does not fit into its context"),
    "withheld": ((200, completion("", "content_filter")), "the service withheld the answer"),
    "withheld, null": (
        (200, completion(None, "content_filter")),
        "the service withheld the answer",
    ),
    "sorry": ((200, SORRY), "I'm sorry"),
    "only thoughts": ((200, THOUGHT), "only thought and gave no answer"),
    "empty": ((200, completion("")), "the reply is empty"),
    "other JSON": ((200, {"status": "ok"}), "no chat completion"),
    "a list": ((200, [1, 2, 3]), "the server failed"),
    "null": ((200, "null"), "its reply is no JSON"),
    "brackets": ((200, completion("[" * 1_000_000)), "longer than any answer"),
    "thoughts in thoughts": ((200, completion("<think>" * 30_000)), "longer than any answer"),
    "titles": ((500, "<html>" + "<title" * 60_000), "a web page"),
    "8 MB of brackets": ((200, "[" * (8 << 20)), "longer than any answer"),
    "8 MB of numbers": ((200, "[" + "1," * (4 << 20) + "1]"), "longer than any answer"),
    "does not load": (
        (500, said("error loading model: unable to allocate CUDA0 buffer")),
        "its model does not run",
    ),
    "no credit": ((402, said("Insufficient credits")), "no credit left"),
    "repeats the key": (
        (400, said(f"no: {KEY}")),
        'it refused the request: HTTP 400 "no: [api_key]"',
    ),
    "fails midway": ((200, BROKE_OFF), "the server failed while it answered"),
    "passes it on": ((400, PASSED_ON), "cannot see pictures"),
    "number of the request": (lambda _: (400, said(f"no (request {uuid.uuid4()})")), "HTTP 400"),
    "quota": (
        (429, said("You exceeded your current quota", type="insufficient_quota")),
        "no credit left",
    ),
}


@pytest.mark.parametrize("name", REFUSERS)
async def test_one_bad_endpoint_costs_no_answer_and_is_named_once(name, caplog):
    caplog.set_level(logging.INFO)
    reply, words = REFUSERS[name]
    async with (
        servers(Behaviour(latency_s=0.01)) as (good,),
        Scripted(reply) as odd,
        pool_of(endpoint(odd, "odd", weight=9, api_key=KEY), endpoint(good, "good")) as pool,
    ):
        answers = await ask_all(pool, QUESTIONS)
        assert {answer.endpoint for answer in answers} == {"good"}
        stats = pool.stats()["odd"]
    assert stats.state != "working"
    assert sum(stats.failed.values()) < QUESTIONS / 2
    (warning,) = warnings(caplog)
    assert "endpoint odd" in warning and words in warning


@pytest.mark.parametrize("name", REFUSERS)
async def test_a_bad_endpoint_alone_ends_the_work_in_its_own_words(name):
    reply, words = REFUSERS[name]

    async def ask(pool, number):
        try:
            await pool.ask(numbered(number))
        except NoEndpointError:
            raise
        except VLMEngineError as error:
            return error  # a question may fail; the work ends when no endpoint is left

    patience_s = 300 if name == "sorry" else 0.3  # without any answer, 3 s are the longest wait
    async with (
        Scripted(reply) as odd,
        pool_of(endpoint(odd, "odd", max_concurrent=2, api_key=KEY), patience_s=patience_s) as pool,
    ):
        begun = time.monotonic()
        with no_endpoint(words):
            await asyncio.gather(*(ask(pool, number) for number in range(100)))
        assert time.monotonic() - begun < 25  # ten on an idle machine
        assert len(odd.received) < 40


async def test_a_flapping_endpoint_is_named_once_despite_numbers(caplog):
    bad, _ = REFUSERS["number of the request"]
    async with Scripted(bad) as odd, pool_of(endpoint(odd, "odd")) as pool:
        for _ in range(2):
            odd.script = bad
            asking = (pool.ask(numbered(number)) for number in range(9))
            await asyncio.gather(*asking, return_exceptions=True)
            odd.script = GOOD
            await pool.ask(question())
    (warning,) = warnings(caplog)
    assert "endpoint odd does not work for now: it refused the request" in warning


@pytest.mark.parametrize(
    "body", [said("This input was flagged by moderation"), "Forbidden", said("Invalid API key")]
)
async def test_after_good_answers_a_403_ends_nothing_for_good(body):
    async with Scripted(GOOD) as odd, pool_of(endpoint(odd, "odd")) as pool:
        for script in (GOOD, (403, body)):
            odd.script = script
            asking = [asyncio.ensure_future(pool.ask(numbered(number))) for number in range(3)]
            await asyncio.wait(asking, timeout=1.0)
        odd.script = GOOD
        await asyncio.gather(*asking, return_exceptions=True)
        await pool.ask(question())
        assert pool.stats()["odd"].state == "working"


@pytest.mark.parametrize(
    "body",
    [
        completion(FOUL, usage={"prompt_tokens": 2**64 - 1, "completion_tokens": -3}),
        completion(FOUL, usage={"prompt_tokens": 1e300, "completion_tokens": "many"}),
        completion(FOUL, model="sandbox-vlm\ud800"),
        completion("\ufeff" + FOUL),
        "\ufeff" + json.dumps(completion(FOUL)),
        json.dumps(completion(FOUL)).encode("utf-16"),
    ],
)
@pytest.mark.parametrize("charset", ["", "; charset=undefined", "; charset=klingon"])
async def test_an_answer_is_read_whatever_stands_beside_it(body, charset):
    kept = []

    async def keep(answer):
        kept.append((answer.prompt_tokens, answer.answer_tokens))
        answer.model.encode("utf-8")

    reply = (200, body, {"Content-Type": f"application/json{charset}"})
    async with Scripted(reply) as odd, pool_of(endpoint(odd)) as pool:
        assert present(await pool.ask(question(), keep)) == ["Foul"]
    assert all(0 <= tokens < 2**31 for tokens in kept[0])


async def test_a_key_that_cannot_be_sent_costs_only_its_endpoint(caplog):
    async with (
        servers(Behaviour(), Behaviour()) as (one, two),
        pool_of(
            endpoint(one, "odd", api_key="sk-first\nsk-second", weight=9), endpoint(two, "good")
        ) as pool,
    ):
        assert {answer.endpoint for answer in await ask_all(pool, 20)} == {"good"}
    assert "line break" in caplog.text
    assert "sk-first" not in caplog.text


async def test_an_unforeseen_error_counts_against_its_endpoint(monkeypatch):
    from vlm_engine.clients import openai

    read = openai.reply.read

    def fragile(body, *rest):
        if body.get("model") == "odd":
            raise ZeroDivisionError("nobody thought of that")
        return read(body, *rest)

    monkeypatch.setattr(openai.reply, "read", fragile)
    async with (
        servers(Behaviour(latency_s=0.01)) as (good,),
        Scripted((200, completion(FOUL, model="odd"))) as odd,
        pool_of(endpoint(odd, "odd", weight=9), endpoint(good, "good")) as pool,
    ):
        assert {answer.endpoint for answer in await ask_all(pool, QUESTIONS)} == {"good"}
        assert set(pool.stats()["odd"].failed) == {"ServerError"}


async def test_an_answer_that_cannot_be_kept_is_asked_elsewhere():
    async def keep(answer):
        if answer.endpoint == "odd":
            raise OverflowError("too large")

    async with (
        servers(Behaviour(), Behaviour()) as (one, two),
        pool_of(endpoint(one, "odd", weight=9), endpoint(two, "good")) as pool,
    ):
        answers = await ask_all(pool, QUESTIONS, keep=keep)
        assert {answer.endpoint for answer in answers} == {"good"}


async def test_another_model_that_answers_is_named_once_and_its_own(caplog):
    reply = (200, completion(FOUL, model="gemma-3-4b"))
    async with Scripted(reply) as odd, pool_of(endpoint(odd), model_id="qwen3-vl-8b") as pool:
        for _ in range(5):
            answer = await pool.ask(question())
            assert (answer.model, answer.by_another_model) == ("gemma-3-4b", True)
        assert await pool.model_name() == "gemma-3-4b"
    (warning,) = warnings(caplog)
    assert "'gemma-3-4b' answers, and not 'qwen3-vl-8b'" in warning


@pytest.mark.parametrize(
    ("requested", "answered", "listed", "is_another"),
    [
        ("tiny.gguf", "t2/tiny.gguf", None, False),
        ("gpt-4o", "gpt-4o-2024-08-06", None, False),
        ("openai/gpt-4o", "gpt-4o", None, False),
        ("qwen3-vl", "qwen3-vl:latest", None, False),
        ("vision-alias", "gpt-4o", None, False),
        ("qwen3-vl-8b-instruct", "Qwen3-VL-8B-Instruct-UD-IQ2_XXS.gguf", None, False),
        ("m-small-latest", "m-small-2503", ("m-small-latest", "m-small-2503"), False),
        ("qwen/qwen3-vl:free", "qwen/qwen3-vl", None, False),
        ("gpt-4o", "gpt-4o-mini", ("another",), True),
        ("gpt-4o", "gpt-4o-mini", ("gpt-4o", "gpt-4o-mini"), True),
        ("qwen2", "qwen2.5", ("another",), True),
        ("gemma-3", "gemma-3-27b", ("another",), True),
    ],
)
async def test_names_show_whether_another_model_answers(
    requested, answered, listed, is_another, caplog
):
    odd = Scripted((200, completion(FOUL, model=answered)), models=listed or (requested,))
    async with odd, pool_of(endpoint(odd), model_id=requested) as pool:
        answer = await pool.ask(question())
        assert (answer.model, answer.by_another_model) == (answered, is_another)
        assert await pool.model_name() == (answered if is_another else requested)
    assert len(caplog.records) == is_another


async def test_the_right_models_first_answer_is_kept_as_its_own():
    kept = []

    async def keep(answer):
        kept.append(answer.model if answer.by_another_model else await pool.model_name())

    odd = Scripted()
    async with odd, pool_of(endpoint(odd), model_id="qwen3-vl-8b") as pool:
        for model in ("gemma-3-4b", "qwen3-vl-8b"):
            odd.script = (200, completion(FOUL, model=model))
            await pool.ask(question(), keep)
    assert kept == ["gemma-3-4b", "qwen3-vl-8b"]


def leaking(place, text):
    """Return a reply that holds ``text`` at ``place``, and a list of models."""
    if place == "content":
        return (200, completion(text)), (SEEING,)
    if place == "refusal":
        return (200, completion(None, message={"refusal": text})), (SEEING,)
    if place == "name":
        names = json.dumps({KEY: 1})[:-1] + f', "{KEY}": 2}}'
        return (200, completion(names)), (SEEING,)
    if place == "model":
        return (200, completion(FOUL, model=text)), (SEEING,)
    if place == "list":
        return GOOD, (text,)
    if place == "message":
        return (400, said("y" * 100 + text)), (SEEING,)
    return (302, "", {"Location": f"/{text}"}), (SEEING,)


@pytest.mark.parametrize("before", [150, 174, 198])
@pytest.mark.parametrize(
    "place", ["content", "refusal", "model", "message", "name", "location", "list"]
)
async def test_no_part_of_a_key_is_shown(place, before, caplog):
    caplog.set_level(logging.DEBUG)
    reply, models = leaking(place, "x" * before + KEY + " and more")
    model = "" if place == "list" else "sandbox-vlm"
    odd = Scripted(reply, models=models)
    async with odd, pool_of(endpoint(odd, api_key=KEY), patience_s=0.2, model_id=model) as pool:
        try:
            text = f"{await pool.ask(question())} {await pool.model_name()}"
        except VLMEngineError as error:
            text = f"{error} {getattr(error, 'raw', '')}"
    assert KEY[:5] not in text + caplog.text


async def test_endpoints_that_chose_different_models_are_named(caplog):
    one, two = (Behaviour(models=(name,), latency_s=0.02) for name in ("one-7b", "two-7b"))
    async with (
        servers(one, two) as vlms,
        pool_of(*(endpoint(vlm) for vlm in vlms), model_id="") as pool,
    ):
        answers = await ask_all(pool, 20)
    requested = {answer.model for answer in answers if not answer.by_another_model}
    assert len(requested) == 1 and {answer.model for answer in answers} == {"one-7b", "two-7b"}
    (warning,) = warnings(caplog)
    assert "the endpoints have different ones" in warning and "Set MODEL" in warning


async def test_a_pause_that_a_server_asks_for_is_kept_and_logged(caplog):
    caplog.set_level(logging.INFO)
    async with (
        servers(Behaviour()) as (good,),
        Scripted((429, said("Please retry in 60s"))) as odd,
        pool_of(endpoint(odd, "odd", weight=9), endpoint(good, "good")) as pool,
    ):
        await ask_all(pool, QUESTIONS)
        assert len(odd.received) == 1
    (message,) = [message for message in caplog.messages if "is left alone for" in message]
    assert "endpoint odd is left alone for 60 s" in message and "Please retry in 60s" in message


async def test_a_pause_beyond_patience_ends_the_work_at_once():
    odd = Scripted((429, said("slow down"), {"Retry-After": "600"}))
    async with odd, pool_of(endpoint(odd), patience_s=300) as pool:
        with no_endpoint("asks to wait 600 s"):
            await pool.ask(question())
        assert len(odd.received) == 1


async def test_a_seeing_model_that_refuses_pictures_lacks_context():
    odd = Scripted((400, said("model does not support images")), models=(SEEING,))
    async with odd, pool_of(endpoint(odd, "odd")) as pool:
        with no_endpoint("load the model with a larger context"):
            await pool.ask(question())
