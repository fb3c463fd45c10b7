"""What real servers answered, read by the code that will meet them: a contract over every recorded case."""

import json
from pathlib import Path

import pytest

from vlm_engine.clients.features import Feature, blamed
from vlm_engine.clients.mapping import Response, Target, from_response
from vlm_engine.errors import ReplyError, RequestError, ServerError, WrongKeyError, WrongModelError
from vlm_engine.reply import read
from vlm_engine.types import Form, Question

FOLDER = Path(__file__).parent.parent / "data" / "recordings"
RECORDINGS = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))}
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
        ["list", "list with logprobs", "unknown field", "reasoning_effort none", "thinking off", "webp", "one pixel"], CUT_OFF
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
CASES = [(server, case) for server, recorded in RECORDINGS.items() for case in recorded if case != "models"]


def response(server, case):
    recorded = RECORDINGS[server][case]
    body = recorded["body"]
    text = body if isinstance(body, str) else json.dumps(body)
    return Response(recorded["status"], {"content-type": recorded["content_type"]}, text, None if isinstance(body, str) else body)


def outcome(server, case):
    """The verdicts that the client would find in the recorded response; raises what it would raise."""
    got = response(server, case)
    if got.is_error:
        target = Target("recorded", "http://127.0.0.1:1/v1", model="nope", secret="sk-secret", offered=("tiny",))
        raise from_response(got, target)
    return read(got.body, VERDICTS if "verdicts" in case else LIST).verdicts


def test_every_recorded_case_is_expected():
    assert {server: set(cases) - {"models"} for server, cases in RECORDINGS.items()} == {
        server: set(cases) for server, cases in EXPECTED.items()
    }


@pytest.mark.parametrize(("server", "case"), CASES)
def test_a_real_answer_comes_to_the_right_end(server, case):
    expected = EXPECTED[server][case]
    if isinstance(expected, list):
        assert [tag for tag, verdict in outcome(server, case).items() if verdict.present] == expected
        return
    kind, words = expected
    with pytest.raises(kind, match=f"(?s){words}") as caught:
        outcome(server, case)
    assert type(caught.value) is kind
    assert len(str(caught.value)) < 600


def test_masked_probabilities_are_shared_out_among_all_beginnings():
    sure = outcome("vllm", "verdicts with logprobs")
    y, yes, n, no = (2.718281828**logprob for logprob in (-1.4514, -1.6125, -1.1859, -1.3354))
    assert sure["Basketball point"].probability == pytest.approx((y + yes) / (y + yes + n + no), abs=0.01)
    assert all(0.4 < verdict.probability < 0.5 for verdict in sure.values())


@pytest.mark.parametrize("server", ["llamacpp", "litellm"])
def test_where_neither_yes_nor_no_is_listed_nothing_is_known(server):
    # These servers list what the model wanted to write, which in a random model is something else altogether.
    assert all(verdict.probability is None for verdict in outcome(server, "verdicts with logprobs").values())


@pytest.mark.parametrize("server", RECORDINGS)
def test_no_probability_without_a_token_stream(server):
    assert all(verdict.probability is None for verdict in outcome(server, "png").values())


def test_complaints_are_put_down_to_the_field_they_are_about():
    everything = frozenset(Feature)
    blames = {
        (server, case): blamed(got.status, got.text, everything)
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
