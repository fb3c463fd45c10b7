"""Odd replies of real servers: a bad endpoint costs no answer and is named in its own words."""

import asyncio
import json
import logging
import time
import uuid

import pytest

from tests.clients.helpers import (
    FOUL,
    GOOD,
    KEY,
    Scripted,
    ask_all,
    at,
    completion,
    no_endpoint,
    numbered,
    outcomes,
    pool_on,
    present,
    question,
    said,
    start,
    until,
    warnings,
)
from vlm_engine.clients import openai
from vlm_engine.errors import NoEndpointError, VLMEngineError
from vlm_engine.testing import Behaviour

QUESTIONS = 24
SEEING = {"id": "sandbox-vlm", "architecture": {"input_modalities": ["text", "image"]}}
SORRY = completion("I'm sorry, but I can't help with identifying what happens in this image.")
THOUGHT = completion("", "length", message={"reasoning": "First I look at the court. " * 40})
BROKE_OFF = {"choices": [{"error": {"code": 502}, "message": {"content": '{"tags": []}'}}]}
PASSED_ON = said(
    "Provider returned error", metadata={"raw": '{"error": "Model does not support image input"}'}
)
QUOTA = said("You exceeded your current quota", type="insufficient_quota")
BOT_WALL = "<!doctype html><title>Just a moment...</title>"


def beside_a_good_one(reply, **settings):
    """Return a pool of an odd endpoint, which is asked first, and a good one."""
    odd = at(Scripted(reply), "odd", weight=9, **settings)
    return pool_on(odd, at(Behaviour(latency_s=0.01), "good"))


# What the server says, and the words by which it is named. test_mapping has more of the former.
REFUSERS = {
    "wrong key": ((401, said("no")), "api_key"),
    "wrong model": ((404, said("This model does not exist")), "correct MODEL"),
    "crashed": ((400, said("The model has crashed.")), "its model does not run"),
    "something new": ((400, said("The flux capacitor wants 1.21 gigawatts")), "flux capacitor"),
    "something new as a 418": ((418, "I am a teapot"), "I am a teapot"),
    "no vision part": (said("Vision add-on is not loaded"), "cannot see pictures"),
    "flagged": ((403, said("The input was flagged by moderation")), "its filter refuses"),
    "bot wall": ((403, BOT_WALL, {"Content-Type": "text/html"}), "Just a moment"),
    "context": ((400, said("n_keep 4096 >= n_ctx 2048")), "does not fit into its context"),
    "withheld": (completion(None, "content_filter"), "the service withheld the answer"),
    "sorry": (SORRY, "I'm sorry"),
    "only thoughts": (THOUGHT, "only thought and gave no answer"),
    "empty": (completion(""), "the reply is empty"),
    "other JSON": ({"status": "ok"}, "no chat completion"),
    "a list": ([1, 2, 3], "the server failed"),
    "null": ("null", "its reply is no JSON"),
    "brackets": (completion("[" * 1_000_000), "longer than any answer"),
    "thoughts in thoughts": (completion("<think>" * 30_000), "longer than any answer"),
    "titles": ((500, "<html>" + "<title" * 60_000), "a web page"),
    "8 MB of brackets": ("[" * (8 << 20), "longer than any answer"),
    "repeats the key": ((400, said(f"no: {KEY}")), 'the request: HTTP 400 "no: [api_key]"'),
    "fails midway": (BROKE_OFF, "the server failed while it answered"),
    "passes it on": ((400, PASSED_ON), "cannot see pictures"),
    "number of the request": (lambda _: (400, said(f"no (request {uuid.uuid4()})")), "HTTP 400"),
    "quota": ((429, QUOTA), "no credit left"),
}


@pytest.mark.parametrize("name", REFUSERS)
async def test_one_bad_endpoint_costs_no_answer_and_is_named_once(name, caplog):
    caplog.set_level(logging.INFO)
    reply, words = REFUSERS[name]
    async with beside_a_good_one(reply, api_key=KEY) as (pool, *_):
        answers = await ask_all(pool, QUESTIONS)
        stats = pool.stats()["odd"]
    assert {answer.endpoint for answer in answers} == {"good"}
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
    odd = at(Scripted(reply), max_concurrent=2, api_key=KEY)
    async with pool_on(odd, patience_s=patience_s) as (pool, odd):
        begun = time.monotonic()
        with no_endpoint(words):
            await asyncio.gather(*(ask(pool, number) for number in range(100)))
    assert time.monotonic() - begun < 25  # ten on an idle machine
    assert len(odd.received) < 40


async def test_a_flapping_endpoint_is_named_once_despite_numbers(caplog):
    bad, _ = REFUSERS["number of the request"]
    async with pool_on(at(Scripted(bad), "odd")) as (pool, odd):
        for _ in range(2):
            odd.script = bad
            await outcomes(pool, 9)
            odd.script = GOOD
            await pool.ask(question())
    (warning,) = warnings(caplog)
    assert "endpoint odd does not work for now: it refused the request" in warning


@pytest.mark.parametrize("body", ["Forbidden", said("Invalid API key")])
async def test_after_good_answers_a_403_ends_nothing_for_good(body):
    async with pool_on(Scripted(GOOD)) as (pool, odd):
        await pool.ask(question())
        odd.script = (403, body)
        asking = start(pool, 3)
        await until(lambda: pool.stats()["court"].state != "working")
        odd.script = GOOD
        await asyncio.gather(*asking)
        assert pool.stats()["court"].state == "working"


PLAIN = json.dumps(GOOD)


@pytest.mark.parametrize(
    ("body", "charset"),
    [
        (completion(FOUL, usage={"prompt_tokens": 2**64 - 1, "completion_tokens": -3}), ""),
        (completion(FOUL, usage={"prompt_tokens": 1e300, "completion_tokens": "many"}), ""),
        (completion(FOUL, model="sandbox-vlm\ud800"), "; charset=undefined"),
        (completion("\ufeff" + FOUL), ""),
        ("\ufeff" + PLAIN, ""),
        ("\ufeff" + PLAIN, "; charset=klingon"),
        (PLAIN.encode("utf-16"), ""),
        (PLAIN.encode("utf-16"), "; charset=undefined"),
    ],
)
async def test_an_answer_is_read_whatever_stands_beside_it(body, charset):
    kept = []

    async def keep(answer):
        kept.extend((answer.prompt_tokens, answer.answer_tokens))
        answer.model.encode("utf-8")

    reply = (200, body, {"Content-Type": f"application/json{charset}"})
    async with pool_on(Scripted(reply)) as (pool, _):
        assert present(await pool.ask(question(), keep)) == ["Foul"]
    assert all(0 <= tokens < 2**31 for tokens in kept)


async def test_a_key_that_cannot_be_sent_costs_only_its_endpoint(caplog):
    async with beside_a_good_one(GOOD, api_key="sk-first\nsk-second") as (pool, *_):
        assert {answer.endpoint for answer in await ask_all(pool, 20)} == {"good"}
    assert "line break" in caplog.text
    assert "sk-first" not in caplog.text


async def test_an_unforeseen_error_counts_against_its_endpoint(monkeypatch):
    read = openai.reply.read

    def fragile(body, *rest):
        if body.get("model") == "odd":
            raise ZeroDivisionError("nobody thought of that")
        return read(body, *rest)

    monkeypatch.setattr(openai.reply, "read", fragile)
    async with beside_a_good_one(completion(FOUL, model="odd")) as (pool, *_):
        assert {answer.endpoint for answer in await ask_all(pool, QUESTIONS)} == {"good"}
        assert set(pool.stats()["odd"].failed) == {"ServerError"}


async def test_an_answer_that_cannot_be_kept_is_asked_elsewhere():
    async def keep(answer):
        if answer.endpoint == "odd":
            raise OverflowError("too large")

    async with beside_a_good_one(GOOD) as (pool, *_):
        answers = await ask_all(pool, QUESTIONS, keep=keep)
        assert {answer.endpoint for answer in answers} == {"good"}
        assert set(pool.stats()["odd"].failed) == {"ServerError"}


async def test_another_model_that_answers_is_named_once_and_its_own(caplog):
    reply = completion(FOUL, model="gemma-3-4b")
    async with pool_on(Scripted(reply), model_id="qwen3-vl-8b") as (pool, _):
        for _ in range(5):
            answer = await pool.ask(question())
            assert (answer.model, answer.by_another_model) == ("gemma-3-4b", True)
        assert await pool.model_name() == "gemma-3-4b"
    (warning,) = warnings(caplog)
    assert "'gemma-3-4b' answers, and not 'qwen3-vl-8b'" in warning


SAME = [
    ("tiny.gguf", "t2/tiny.gguf"),
    ("gpt-4o", "gpt-4o-2024-08-06"),
    ("openai/gpt-4o", "gpt-4o"),
    ("qwen3-vl", "qwen3-vl:latest"),
    ("vision-alias", "gpt-4o"),
    ("qwen3-vl-8b-instruct", "Qwen3-VL-8B-Instruct-UD-IQ2_XXS.gguf"),
    ("qwen/qwen3-vl:free", "qwen/qwen3-vl"),
]
OTHERS = [("gpt-4o", "gpt-4o-mini"), ("qwen2", "qwen2.5"), ("gemma-3", "gemma-3-27b")]


@pytest.mark.parametrize(
    ("requested", "answered", "listed", "is_another"),
    [
        *((requested, answered, (requested,), False) for requested, answered in SAME),
        *((requested, answered, ("another",), True) for requested, answered in OTHERS),
        ("m-small-latest", "m-small-2503", ("m-small-latest", "m-small-2503"), False),
        ("gpt-4o", "gpt-4o-mini", ("gpt-4o", "gpt-4o-mini"), True),
    ],
)
async def test_names_show_whether_another_model_answers(
    requested, answered, listed, is_another, caplog
):
    odd = Scripted(completion(FOUL, model=answered), models=listed)
    async with pool_on(odd, model_id=requested) as (pool, _):
        answer = await pool.ask(question())
        assert (answer.model, answer.by_another_model) == (answered, is_another)
        assert await pool.model_name() == (answered if is_another else requested)
    assert len(caplog.records) == is_another


async def test_the_right_models_first_answer_is_kept_as_its_own():
    kept = []

    async def keep(answer):
        kept.append(answer.model if answer.by_another_model else await pool.model_name())

    async with pool_on(Scripted(), model_id="qwen3-vl-8b") as (pool, odd):
        for model in ("gemma-3-4b", "qwen3-vl-8b"):
            odd.script = completion(FOUL, model=model)
            await pool.ask(question(), keep)
    assert kept == ["gemma-3-4b", "qwen3-vl-8b"]


TWICE = json.dumps({KEY: 1})[:-1] + f', "{KEY}": 2}}'
# By the place where a server repeats a key: its reply, and its model.
LEAKING = {
    "content": lambda text: (completion(text), SEEING),
    "refusal": lambda text: (completion(None, message={"refusal": text}), SEEING),
    "name": lambda _: (completion(TWICE), SEEING),
    "model": lambda text: (completion(FOUL, model=text), SEEING),
    "list": lambda text: (GOOD, text),
    "message": lambda text: ((400, said("y" * 100 + text)), SEEING),
    "location": lambda text: ((302, "", {"Location": f"/{text}"}), SEEING),
}


@pytest.mark.parametrize("before", [150, 174, 198])
@pytest.mark.parametrize("place", LEAKING)
async def test_no_part_of_a_key_is_shown(place, before, caplog):
    caplog.set_level(logging.DEBUG)
    reply, model = LEAKING[place]("x" * before + KEY + " and more")
    odd = at(Scripted(reply, models=(model,)), api_key=KEY)
    model_id = "" if place == "list" else "sandbox-vlm"
    async with pool_on(odd, patience_s=0.2, model_id=model_id) as (pool, _):
        try:
            text = f"{await pool.ask(question())} {await pool.model_name()}"
        except VLMEngineError as error:
            text = f"{error!r} {error} {error.__cause__!r} {getattr(error, 'raw', '')}"
        text += f"{pool!r} {pool.stats()}"
    assert KEY[:5] not in text + caplog.text


async def test_endpoints_that_chose_different_models_are_named(caplog):
    names = ("one-7b", "two-7b")
    vlms = (Behaviour(models=(name,), latency_s=0.02) for name in names)
    async with pool_on(*vlms, model_id="") as (pool, *_):
        answers = await ask_all(pool, 20)
    requested = {answer.model for answer in answers if not answer.by_another_model}
    assert len(requested) == 1 and {answer.model for answer in answers} == {*names}
    (warning,) = warnings(caplog)
    assert "the endpoints have different ones" in warning and "Set MODEL" in warning


async def test_a_pause_that_a_server_asks_for_is_kept_and_logged(caplog):
    caplog.set_level(logging.INFO)
    async with beside_a_good_one((429, said("Please retry in 60s"))) as (pool, odd, _):
        await ask_all(pool, QUESTIONS)
    assert len(odd.received) == 1
    (message,) = [message for message in caplog.messages if "is left alone for" in message]
    assert "endpoint odd is left alone for 60 s" in message and "Please retry in 60s" in message


async def test_a_pause_beyond_patience_ends_the_work_at_once():
    odd = Scripted((429, said("slow down"), {"Retry-After": "600"}))
    async with pool_on(odd, patience_s=300) as (pool, _):
        with no_endpoint("asks to wait 600 s"):
            await pool.ask(question())
    assert len(odd.received) == 1


async def test_a_seeing_model_that_refuses_pictures_lacks_context():
    odd = Scripted((400, said("model does not support images")), models=(SEEING,))
    async with pool_on(odd, patience_s=0.2) as (pool, _):
        with no_endpoint("load the model with a larger context"):
            await pool.ask(question())
