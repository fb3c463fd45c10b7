"""Recorded replies of real servers, read by the client."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from aiohttp import web

from vlm_engine.clients import OpenAIClient
from vlm_engine.clients.mapping import Target, from_response
from vlm_engine.clients.request import Feature, blamed_feature
from vlm_engine.clients.transport import Response
from vlm_engine.config.models import EndpointConfig, ModelConfig
from vlm_engine.errors import (
    ClientError,
    ReplyError,
    RequestError,
    ServerError,
    WrongKeyError,
    WrongModelError,
)
from vlm_engine.reply import read
from vlm_engine.types import Form, Question

FOLDER = Path(__file__).parent.parent / "data" / "recordings"
RECORDINGS = {
    path.stem: json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))
}
TAGS = ("Basketball point", "Foul", "Break-away", "Turnover")
LIST, VERDICTS = Question(TAGS, Form.LIST, b""), Question(TAGS, Form.VERDICTS, b"")

# What each case must come to: the tags present, or the error and a part of its message.
BREAK = ["Break-away"]
COMMON = {
    "list": BREAK,
    "list with logprobs": BREAK,
    "verdicts with logprobs": ["Basketball point", "Turnover"],
    "no schema": (ReplyError, "cut off"),
    "json_object": (ServerError, "peg-native format"),
    "uniqueItems": BREAK,
    "invalid schema": (RequestError, "unrecognized type nonsense"),
    "cut off by max_tokens": (ReplyError, "cut off"),
    "cut off json_object": (ReplyError, "cut off"),
    "wrong model": BREAK,
    "top_logprobs 30": (ReplyError, "cut off"),
    "unknown field": BREAK,
    "reasoning_effort none": BREAK,
    "thinking off": BREAK,
    "webp": BREAK,
    "png": BREAK,
    "corrupt jpeg": (RequestError, "cannot read the picture"),
    "not base64": (RequestError, "cannot read the picture"),
    "one pixel": [],
    "prompt too long": (RequestError, "smaller pictures or fewer tags"),
    "two images": [],
    "n 2": BREAK,
    "bad json body": (RequestError, "parse error"),
    "empty messages": (ReplyError, "does not answer"),
    "wrong key": BREAK,
}
CUT_OFF = (ReplyError, "cut off")
EXPECTED = {
    "llamacpp": COMMON,
    "litellm": COMMON
    | {
        "wrong model": (WrongModelError, "MODEL.*Invalid model name passed in model=nope"),
        "wrong key": (WrongKeyError, "api_key of this endpoint.*No connected db"),
        "bad json body": (RequestError, "Invalid JSON payload"),
    },
    "vllm": COMMON
    | dict.fromkeys(
        [
            "list",
            "list with logprobs",
            "unknown field",
            "reasoning_effort none",
            "thinking off",
            "webp",
            "one pixel",
        ],
        CUT_OFF,
    )
    | {
        "verdicts with logprobs": [],
        "json_object": (ReplyError, "does not answer"),
        "uniqueItems": (RequestError, "Unimplemented keys"),
        "invalid schema": (RequestError, "Invalid type: nonsense"),
        "cut off json_object": (ReplyError, "does not answer"),
        "wrong model": (WrongModelError, "it offers tiny.*The model `nope` does not exist"),
        "top_logprobs 30": (RequestError, "greater than max allowed: 20"),
        "png": [],
        "two images": CUT_OFF,
        "n 2": (RequestError, "greedy sampling"),
        "bad json body": (RequestError, "JSON decode error"),
        "empty messages": (RequestError, "Provide at least one message"),
        "wrong key": CUT_OFF,
    },
}
CASES = [
    (server, case)
    for server, recorded in RECORDINGS.items()
    for case in recorded
    if case != "models"
]


def response(server, case):
    recorded = RECORDINGS[server][case]
    body = recorded["body"]
    text = body if isinstance(body, str) else json.dumps(body)
    return Response(
        recorded["status"],
        {"content-type": recorded["content_type"]},
        text,
        None if isinstance(body, str) else body,
    )


def outcome(server, case):
    """Return the verdicts in the recorded response, or raise its error."""
    got = response(server, case)
    if got.is_error:
        target = Target(
            "recorded", "http://127.0.0.1:1/v1", model="nope", secret="sk-secret", offered=("tiny",)
        )
        raise from_response(got, target)
    return read(got.body, asked_about(case)).verdicts


def asked_about(case):
    return VERDICTS if "verdicts" in case else LIST


def replayed(server, case):
    """Return the client's answer or error over HTTP, and the requests that it sent."""
    received = []

    async def answer(request):
        got = response(server, "models" if request.method == "GET" else case)
        if request.path not in ("/v1/models", "/v1/chat/completions"):
            return web.Response(status=404)
        if request.method == "POST":
            received.append(await request.json())
        content_type = got.headers["content-type"]
        return web.Response(
            status=got.status, text=got.text, headers={"content-type": content_type}
        )

    async def main():
        runner = web.ServerRunner(web.Server(answer, access_log=None))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        endpoint = EndpointConfig(
            base_url=f"http://127.0.0.1:{runner.addresses[0][1]}/v1",
            api_key="sk-secret",
            name="recorded",
        )
        client = OpenAIClient(endpoint, ModelConfig(model_id="nope"))
        try:
            return await client.ask(asked_about(case))
        finally:
            await client.aclose()
            await runner.cleanup()

    try:
        return asyncio.run(main()), received
    except ClientError as error:
        return error, received


def test_every_recorded_case_is_expected():
    assert {server: set(cases) - {"models"} for server, cases in RECORDINGS.items()} == {
        server: set(cases) for server, cases in EXPECTED.items()
    }


@pytest.mark.parametrize(("server", "case"), CASES)
def test_a_real_answer_comes_to_the_right_end(server, case):
    expected = EXPECTED[server][case]
    if isinstance(expected, list):
        assert [
            tag for tag, verdict in outcome(server, case).items() if verdict.present
        ] == expected
        return
    kind, words = expected
    with pytest.raises(kind, match=f"(?s){words}") as caught:
        outcome(server, case)
    assert type(caught.value) is kind
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(("server", "case"), CASES)
def test_the_client_comes_to_the_same_end(server, case):
    expected = EXPECTED[server][case]
    came_to, received = replayed(server, case)
    if isinstance(expected, list):
        assert [tag for tag, verdict in came_to.verdicts.items() if verdict.present] == expected
        usage = response(server, case).body["usage"]
        assert (came_to.prompt_tokens, came_to.answer_tokens) == (
            usage["prompt_tokens"],
            usage["completion_tokens"],
        )
        assert (came_to.endpoint, len(received)) == ("recorded", 1)
        return
    kind, words = expected
    assert type(came_to) is kind
    assert str(came_to).startswith("recorded: ")
    assert re.search(f"(?s){words}", str(came_to))
    assert len(received) <= 2, "once, and once more in another way"


def test_masked_probabilities_are_shared_among_all_tokens():
    sure = outcome("vllm", "verdicts with logprobs")
    y, yes, n, no = (2.718281828**logprob for logprob in (-1.4514, -1.6125, -1.1859, -1.3354))
    assert sure["Basketball point"].probability == pytest.approx(
        (y + yes) / (y + yes + n + no), abs=0.01
    )
    assert all(0.4 < verdict.probability < 0.5 for verdict in sure.values())


@pytest.mark.parametrize("server", ["llamacpp", "litellm"])
@pytest.mark.parametrize("case", ["verdicts with logprobs", "list with logprobs"])
def test_no_probability_if_no_listed_token_is_an_answer(server, case):
    # These servers list what a random model wanted to write: anything but an answer.
    assert RECORDINGS[server][case]["body"]["choices"][0]["logprobs"]["content"]
    assert all(verdict.probability is None for verdict in outcome(server, case).values())


@pytest.mark.parametrize("server", RECORDINGS)
def test_no_probability_without_a_token_stream(server):
    assert all(verdict.probability is None for verdict in outcome(server, "png").values())


def test_complaints_are_put_down_to_the_field_they_are_about():
    everything = frozenset(Feature)
    blames = {
        (server, case): blamed_feature(got.status, got.text, everything)
        for server, case in CASES
        if (got := response(server, case)).is_error
    }
    for server in ("llamacpp", "litellm"):
        assert blames[server, "json_object"] is Feature.SCHEMA
    for server in RECORDINGS:
        assert blames[server, "invalid schema"] is Feature.SCHEMA
        assert blames[server, "corrupt jpeg"] is None
        assert blames[server, "prompt too long"] is None
    assert blames["vllm", "uniqueItems"] is Feature.SCHEMA
    assert blames["vllm", "top_logprobs 30"] is Feature.LOGPROBS
