"""Recorded replies of real servers, read by the client."""

import json
from pathlib import Path

import pytest

from tests.clients.helpers import TAGS, Scripted, client_on, present
from vlm_engine.clients.request import Feature, blamed_feature
from vlm_engine.clients.transport import Response
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


def verdicts(server, case):
    return read(response(server, case).body, question(case)).verdicts


def question(case):
    return Question(TAGS, Form.VERDICTS if "verdicts" in case else Form.LIST, b"")


@pytest.mark.parametrize(("server", "case"), CASES)
async def test_a_recorded_reply_becomes_the_right_answer(server, case):
    expected, got = EXPECTED[server][case], response(server, case)
    reply = (got.status, got.text, {"Content-Type": got.headers["content-type"]})
    pages = {"/v1/models": RECORDINGS[server]["models"]["body"]}
    async with client_on(Scripted(reply, pages), key="sk-secret", model_id="nope") as (
        client,
        recorded,
    ):
        if isinstance(expected, list):
            answer = await client.ask(question(case))
            assert present(answer) == expected
            usage = got.body["usage"]
            tokens = (usage["prompt_tokens"], usage["completion_tokens"])
            assert (answer.prompt_tokens, answer.answer_tokens) == tokens
            details = usage.get("prompt_tokens_details") or {}
            assert answer.cached_tokens == details.get("cached_tokens")
            assert (answer.timings is None) == ("timings" not in got.body)
            assert len(recorded.received) == 1
            return
        kind, words = expected
        with pytest.raises(ClientError, match=f"(?s)^court: .*{words}") as caught:
            await client.ask(question(case))
        assert type(caught.value) is kind
        assert len(str(caught.value)) < 600
        assert len(recorded.received) <= 2, "once, and once more in another way"


def test_masked_probabilities_are_shared_among_all_tokens():
    sure = verdicts("vllm", "verdicts with logprobs")
    y, yes, n, no = (2.718281828**logprob for logprob in (-1.4514, -1.6125, -1.1859, -1.3354))
    assert sure["Basketball point"].probability == pytest.approx(
        (y + yes) / (y + yes + n + no), abs=0.01
    )
    assert all(0.4 < verdict.probability < 0.5 for verdict in sure.values())


@pytest.mark.parametrize(
    ("server", "case"),
    [
        ("llamacpp", "verdicts with logprobs"),  # lists what a random model wanted to write
        ("litellm", "list with logprobs"),
        ("vllm", "png"),  # without a token stream
    ],
)
def test_no_probability_if_no_listed_token_is_an_answer(server, case):
    assert all(verdict.probability is None for verdict in verdicts(server, case).values())


@pytest.mark.parametrize(
    ("server", "case", "feature"),
    [
        ("llamacpp", "json_object", Feature.SCHEMA),
        ("litellm", "json_object", Feature.SCHEMA),
        ("vllm", "uniqueItems", Feature.SCHEMA),
        ("vllm", "top_logprobs 30", Feature.LOGPROBS),
        *((server, "invalid schema", Feature.SCHEMA) for server in RECORDINGS),
        *((server, "corrupt jpeg", None) for server in RECORDINGS),
        *((server, "prompt too long", None) for server in RECORDINGS),
    ],
)
def test_complaints_are_put_down_to_the_field_they_are_about(server, case, feature):
    got = response(server, case)
    assert blamed_feature(got.status, got.text, frozenset(Feature)) is feature
