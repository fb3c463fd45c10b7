"""What real servers were seen to answer: beside a healthy endpoint no question is lost, alone each ends in its own message."""

import asyncio
import json
import logging
import time
import uuid

import pytest
from aiohttp import web

from tests.clients.pools import endpoint, pool_of, question, run, servers
from vlm_engine.errors import NoEndpointError, VLMEngineError
from vlm_engine.testing import Behaviour

KEY = "sk-the-leagues-own-secret"
QUESTIONS = 24


class Odd:
    """A server that answers every question in one way: ``status``, ``body`` (bytes, text, or JSON; None: an error with a number
    of its own each time) and ``headers``.

    ``good``: so many questions are answered well before. ``models``: its list of models.
    """

    def __init__(self, status, body, headers=None, *, good=0, models=None):
        self.reply, self.good = (status, body, headers or {}), good
        self.models = models or {"data": [{"id": "sandbox-vlm"}]}
        self.asked = 0

    async def __aenter__(self):
        self._runner = web.ServerRunner(web.Server(self._answer, access_log=None))
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
        return self

    async def __aexit__(self, *_):
        await self._runner.cleanup()

    async def _answer(self, request):
        if request.path == "/v1/models":
            return _response(200, self.models, {})
        if request.path != "/v1/chat/completions":
            return web.Response(status=404)
        await request.read()
        self.asked += 1
        if self.asked <= self.good:
            return _response(200, completion('{"tags": ["Foul"]}'), {})
        return _response(*self.reply)


def _response(status, body, headers):
    body = said(f"no (request {uuid.uuid4()})") if body is None else body
    body = body if isinstance(body, bytes | str) else json.dumps(body)
    data = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    return web.Response(
        status=status, body=data, headers={"Content-Type": "application/json", **headers}
    )


def completion(content, finish="stop", **more):
    message = {"content": content, **more.pop("message", {})}
    return {"choices": [{"finish_reason": finish, "message": message}], **more}


def said(message, **more):
    return {"error": {"message": message, **more}}


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
MODELS = {"data": [{"id": "sandbox-vlm", "architecture": {"input_modalities": ["text", "image"]}}]}

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
    "64 MB of brackets": ((200, "[" * (64 << 20)), "longer than any answer"),
    "64 MB of numbers": ((200, "[" + "1," * (32 << 20) + "1]"), "longer than any answer"),
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
    "number of the request": ((400, None), "HTTP 400"),
    "quota": (
        (429, said("You exceeded your current quota", type="insufficient_quota")),
        "no credit left",
    ),
}


@pytest.mark.parametrize("name", REFUSERS)
def test_what_one_refuses_another_answers_and_the_culprit_is_named_once(name, caplog):
    caplog.set_level(logging.INFO)
    reply, words = REFUSERS[name]

    async def main():
        async with (
            servers(Behaviour(latency_s=0.01)) as (good,),
            Odd(*reply) as odd,
            pool_of(endpoint(odd, "odd", weight=9, api_key=KEY), endpoint(good, "good")) as pool,
        ):
            answers = await asyncio.gather(
                *(pool.ask(question(number)) for number in range(QUESTIONS))
            )
            assert {answer.endpoint for answer in answers} == {"good"}
            assert pool.stats()["odd"].state != "working"
            assert sum(pool.stats()["odd"].failed.values()) < QUESTIONS / 2

    run(main)
    named = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(named) == 1 and "endpoint odd" in named[0] and words in named[0]


@pytest.mark.parametrize("name", REFUSERS)
def test_alone_it_ends_the_work_soon_with_its_own_words(name):
    reply, words = REFUSERS[name]

    async def asked(pool, number):
        try:
            await pool.ask(question(number))
        except NoEndpointError:
            raise
        except Exception as error:
            return error  # a question may fail; the work ends when no endpoint is left

    async def main():
        async with (
            Odd(*reply) as odd,
            pool_of(endpoint(odd, "odd", max_concurrent=2, api_key=KEY), patience_s=300) as pool,
        ):
            begun = time.monotonic()
            with pytest.raises(NoEndpointError) as caught:
                await asyncio.gather(*(asked(pool, number) for number in range(100)))
            assert words in str(caught.value)
            assert time.monotonic() - begun < 25  # ten on a machine that does nothing else
            assert odd.asked < 40

    run(main)


def test_one_that_comes_and_goes_is_named_once_though_its_words_hold_a_number(caplog):
    async def main():
        async with Odd(400, None) as odd, pool_of(endpoint(odd, "odd")) as pool:
            for _ in range(2):
                odd.good = 0
                await asyncio.gather(
                    *(pool.ask(question(number)) for number in range(9)), return_exceptions=True
                )
                odd.good = odd.asked + 5
                await pool.ask(question(10))

    run(main)
    (warning,) = [
        record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING
    ]
    assert "endpoint odd does not work for now: it refused the request" in warning


@pytest.mark.parametrize(
    "body", [said("This input was flagged by moderation"), "Forbidden", said("Invalid API key")]
)
def test_after_good_answers_a_403_ends_nothing_for_good(body):
    async def main():
        async with Odd(403, body, good=10) as odd, pool_of(endpoint(odd, "odd")) as pool:
            await asyncio.gather(*(pool.ask(question(number)) for number in range(10)))
            failing = asyncio.ensure_future(pool.ask(question(11)))
            await asyncio.wait([failing], timeout=1.0)
            odd.good = 1_000
            await asyncio.gather(failing, return_exceptions=True)
            await asyncio.gather(*(pool.ask(question(number)) for number in range(10)))
            assert pool.stats()["odd"].state == "working"

    run(main)


@pytest.mark.parametrize(
    "body",
    [
        completion(
            '{"tags": ["Foul"]}', usage={"prompt_tokens": 2**64 - 1, "completion_tokens": -3}
        ),
        completion(
            '{"tags": ["Foul"]}', usage={"prompt_tokens": 1e300, "completion_tokens": "many"}
        ),
        completion('{"tags": ["Foul"]}', model="sandbox-vlm\ud800"),
        completion('\ufeff{"tags": ["Foul"]}'),
        "\ufeff" + json.dumps(completion('{"tags": ["Foul"]}')),
        json.dumps(completion('{"tags": ["Foul"]}')).encode("utf-16"),
    ],
)
@pytest.mark.parametrize("charset", ["", "; charset=undefined", "; charset=klingon"])
def test_an_answer_is_read_whatever_stands_beside_it(body, charset):
    async def main():
        kept = []

        async def keep(answer):
            kept.append((answer.prompt_tokens, answer.answer_tokens, answer.model.encode("utf-8")))

        async with (
            Odd(200, body, {"Content-Type": f"application/json{charset}"}) as odd,
            pool_of(endpoint(odd)) as pool,
        ):
            answer = await pool.ask(question(), keep)
            assert [tag for tag, verdict in answer.verdicts.items() if verdict.present] == ["Foul"]
            assert 0 <= kept[0][0] < 2**31 and 0 <= kept[0][1] < 2**31

    run(main)


def test_a_key_that_cannot_be_sent_costs_that_endpoint_alone(caplog):
    async def main():
        async with (
            servers(Behaviour(), Behaviour()) as (one, two),
            pool_of(
                endpoint(one, "odd", api_key="sk-first\nsk-second", weight=9), endpoint(two, "good")
            ) as pool,
        ):
            answers = await asyncio.gather(*(pool.ask(question(number)) for number in range(20)))
            assert {answer.endpoint for answer in answers} == {"good"}

    run(main)
    assert [record.getMessage() for record in caplog.records if "line break" in record.getMessage()]
    assert "sk-first" not in caplog.text


def test_an_error_nobody_foresaw_is_charged_to_its_endpoint(monkeypatch):
    from vlm_engine.clients import openai

    read = openai.reply.read

    def fragile(body, *rest):
        if body.get("model") == "odd":
            raise ZeroDivisionError("nobody thought of that")
        return read(body, *rest)

    monkeypatch.setattr(openai.reply, "read", fragile)

    async def main():
        async with (
            servers(Behaviour(latency_s=0.01)) as (good,),
            Odd(200, completion('{"tags": []}', model="odd")) as odd,
            pool_of(endpoint(odd, "odd", weight=9), endpoint(good, "good")) as pool,
        ):
            answers = await asyncio.gather(
                *(pool.ask(question(number)) for number in range(QUESTIONS))
            )
            assert {answer.endpoint for answer in answers} == {"good"}
            assert set(pool.stats()["odd"].failed) == {"ServerError"}

    run(main)


def test_an_answer_that_cannot_be_kept_is_asked_of_another():
    async def main():
        async def keep(answer):
            if answer.endpoint == "odd":
                raise OverflowError("too large")

        async with (
            servers(Behaviour(), Behaviour()) as (one, two),
            pool_of(endpoint(one, "odd", weight=9), endpoint(two, "good")) as pool,
        ):
            answers = await asyncio.gather(
                *(pool.ask(question(number), keep) for number in range(QUESTIONS))
            )
            assert {answer.endpoint for answer in answers} == {"good"}

    run(main)


def test_another_model_that_answers_is_named_once_and_its_answers_are_its_own(caplog):
    async def main():
        reply = completion('{"tags": ["Foul"]}', model="gemma-3-4b")
        async with (
            Odd(200, reply) as odd,
            pool_of(endpoint(odd, "odd"), model_id="qwen3-vl-8b") as pool,
        ):
            answers = await asyncio.gather(*(pool.ask(question(number)) for number in range(5)))
            assert {(answer.model, answer.by_another_model) for answer in answers} == {
                ("gemma-3-4b", True)
            }
            assert await pool.model_name() == "gemma-3-4b"

    run(main)
    (warning,) = [
        record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING
    ]
    assert "'gemma-3-4b' answers, and not 'qwen3-vl-8b'" in warning


@pytest.mark.parametrize(
    ("asked", "answered", "listed"),
    [
        ("tiny.gguf", "t2/tiny.gguf", ()),
        ("gpt-4o", "gpt-4o-2024-08-06", ()),
        ("openai/gpt-4o", "gpt-4o", ()),
        ("qwen3-vl", "qwen3-vl:latest", ()),
        ("vision-alias", "gpt-4o", ("vision-alias",)),
        ("qwen3-vl-8b-instruct", "Qwen3-VL-8B-Instruct-UD-IQ2_XXS.gguf", ()),
        (
            "mistral-small-latest",
            "mistral-small-2503",
            ("mistral-small-latest", "mistral-small-2503"),
        ),
        ("qwen/qwen3-vl:free", "qwen/qwen3-vl", ()),
    ],
)
def test_another_name_of_the_same_model_is_no_other_model(asked, answered, listed, caplog):
    async def main():
        models = {"data": [{"id": name} for name in listed or (asked,)]}
        reply = completion('{"tags": ["Foul"]}', model=answered)
        async with (
            Odd(200, reply, models=models) as odd,
            pool_of(endpoint(odd), model_id=asked) as pool,
        ):
            assert not (await pool.ask(question())).by_another_model
            assert await pool.model_name() == asked

    run(main)
    assert not caplog.records


@pytest.mark.parametrize(
    ("asked", "answered", "listed"),
    [
        ("gpt-4o", "gpt-4o-mini", ()),
        ("gpt-4o", "gpt-4o-mini", ("gpt-4o", "gpt-4o-mini")),
        ("qwen2", "qwen2.5", ("another",)),
        ("gemma-3", "gemma-3-27b", ("another",)),
    ],
)
def test_a_name_that_begins_as_another_is_another_model(asked, answered, listed):
    listing = {"data": [{"id": name} for name in listed or ("another",)]}

    async def main():
        odd = Odd(200, completion('{"tags": ["Foul"]}', model=answered), models=listing)
        async with odd, pool_of(endpoint(odd), model_id=asked) as pool:
            answer = await pool.ask(question())
            assert (answer.model, answer.by_another_model) == (answered, True)

    run(main)


def test_the_first_answer_after_those_of_another_model_is_kept_as_its_own():
    async def main():
        kept = []

        async def keep(answer):
            kept.append(
                (answer.model, answer.model if answer.by_another_model else await pool.model_name())
            )

        odd = Odd(200, completion('{"tags": ["Foul"]}', model="qwen3-vl-8b"), good=0)
        async with odd, pool_of(endpoint(odd), model_id="qwen3-vl-8b") as pool:
            odd.reply = (200, completion('{"tags": ["Foul"]}', model="gemma-3-4b"), {})
            await pool.ask(question(1), keep)
            odd.reply = (200, completion('{"tags": ["Foul"]}', model="qwen3-vl-8b"), {})
            await pool.ask(question(2), keep)
        assert kept == [("gemma-3-4b", "gemma-3-4b"), ("qwen3-vl-8b", "qwen3-vl-8b")]

    run(main)


@pytest.mark.parametrize("before", range(150, 200, 12))
@pytest.mark.parametrize(
    "place", ["content", "refusal", "model", "message", "name", "location", "list"]
)
def test_a_key_does_not_show_in_part_either(place, before, caplog):
    caplog.set_level(logging.DEBUG)
    text, seen = "x" * before + KEY + " and more", []
    status, headers, listing = 200, {}, MODELS
    body = completion('{"tags": ["Foul"]}')
    if place == "content":
        body = completion(text)
    elif place == "refusal":
        body = completion(None, message={"refusal": text})
    elif place == "name":
        body = completion(json.dumps({KEY: 1})[:-1] + f', "{KEY}": 2}}')
    elif place == "model":
        body["model"] = text
    elif place == "list":
        listing = {"data": [{"id": text}]}
    elif place == "message":
        status, body = 400, said("y" * 100 + text)
    else:
        status, body, headers = 302, "", {"Location": f"/{text}"}

    async def main():
        model = "" if place == "list" else "sandbox-vlm"
        odd = Odd(status, body, headers, models=listing)
        async with odd, pool_of(endpoint(odd, api_key=KEY), patience_s=0.2, model_id=model) as pool:
            try:
                answer = await pool.ask(question())
            except VLMEngineError as error:
                seen.append(f"{error} {getattr(error, 'raw', '')}")
            else:
                seen.append(f"{answer} {await pool.model_name()}")

    run(main)
    assert KEY[:5] not in f"{seen} {caplog.text}"


def test_endpoints_with_different_models_and_none_set_are_named(caplog):
    async def main():
        one, two = (
            Behaviour(models=("one-7b",), latency_s=0.02),
            Behaviour(models=("two-7b",), latency_s=0.02),
        )
        async with (
            servers(one, two) as vlms,
            pool_of(*(endpoint(vlm) for vlm in vlms), model_id="") as pool,
        ):
            answers = await asyncio.gather(*(pool.ask(question(number)) for number in range(20)))
            mine = {answer.model for answer in answers if not answer.by_another_model}
            assert len(mine) == 1 and {answer.model for answer in answers} == {"one-7b", "two-7b"}

    run(main)
    (warning,) = [
        record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING
    ]
    assert "the endpoints have different ones" in warning and "Set MODEL" in warning


def test_a_wait_that_is_asked_for_is_kept_and_shown(caplog):
    caplog.set_level(logging.INFO)

    async def main():
        busy = (429, said("Please retry in 60s"))
        async with (
            servers(Behaviour()) as (good,),
            Odd(*busy) as odd,
            pool_of(endpoint(odd, "odd", weight=9), endpoint(good, "good")) as pool,
        ):
            await asyncio.gather(*(pool.ask(question(number)) for number in range(QUESTIONS)))
            assert odd.asked == 1

    run(main)
    (told,) = [message for message in caplog.messages if "is left alone for" in message]
    assert "endpoint odd is left alone for 60 s" in told and "Please retry in 60s" in told


def test_a_wait_beyond_all_patience_ends_the_work_at_once():
    async def main():
        async with (
            Odd(429, said("slow down"), {"Retry-After": "600"}) as odd,
            pool_of(endpoint(odd), patience_s=300) as pool,
        ):
            with pytest.raises(NoEndpointError) as caught:
                await pool.ask(question())
            assert "asks to wait 600 s" in str(caught.value)
            assert odd.asked == 1

    run(main)


def test_a_model_that_sees_by_its_list_and_refuses_pictures_lacks_context():
    async def main():
        odd = Odd(400, said("model does not support images"), models=MODELS)
        async with odd, pool_of(endpoint(odd, "odd")) as pool:
            with pytest.raises(NoEndpointError) as caught:
                await pool.ask(question())
            assert "load the model with a larger context" in str(caught.value)

    run(main)


@pytest.mark.parametrize("status", [400, 403, 404, 422])
@pytest.mark.parametrize(
    ("words", "field"),
    [
        ("You are not allowed to request logprobs from this model", "logprobs"),
        ("chat_template is not supported for Mistral tokenizers", "chat_template_kwargs"),
    ],
)
def test_a_field_that_is_refused_is_left_out_whatever_the_status(status, words, field):
    async def main():
        app = web.Application()
        bodies = []

        async def chat(request):
            bodies.append(await request.json())
            if field in bodies[-1]:
                return web.json_response(said(words), status=status)
            return web.json_response(completion('{"tags": ["Foul"]}'))

        app.router.add_post("/v1/chat/completions", chat)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        async with pool_of({"base_url": url}) as pool:
            await asyncio.gather(*(pool.ask(question(number)) for number in range(4)))
        await runner.cleanup()
        assert sum(field in body for body in bodies) <= 2

    run(main)
