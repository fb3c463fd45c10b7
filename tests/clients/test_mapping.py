"""Responses of servers as errors."""

import email.utils
import json
import time
import urllib.parse
from types import SimpleNamespace

import aiohttp
import pytest

from tests.clients.helpers import said
from vlm_engine.clients.mapping import Target, from_exception, from_response, retry_after_s
from vlm_engine.clients.request import Feature, blamed_feature
from vlm_engine.clients.transport import Response
from vlm_engine.errors import (
    BusyError,
    EndpointError,
    NoVisionError,
    RequestError,
    ServerError,
    TimedOutError,
    UnreachableError,
    WrongKeyError,
    WrongModelError,
)

TARGET = Target("court", "http://127.0.0.1:9/v1", model="referee-7b", secret="sk-secret")


def error(status, body, **headers):
    text = body if isinstance(body, str) else json.dumps(body)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return from_response(
        Response(status, headers, text, None if isinstance(body, str) else body), TARGET
    )


# By the error and its words: the status and the message, or the whole body if it is no message.
MEANINGS = {
    (WrongKeyError, "api_key of this endpoint"): [
        (401, "Incorrect API key provided"),
        (403, "Incorrect API key provided"),
        (400, "No api key passed in."),
    ],
    (WrongModelError, "correct MODEL, or model_id"): [
        (404, "model 'referee-7b' not found, try pulling it first"),
        (404, "The model `referee-7b` does not exist."),
        (404, "models/referee-7b is not found for API version v1"),
        (404, said("No.", code="DeploymentNotFound")),
        (403, "Project does not have access to model referee-7b"),
        (400, {"error": "Invalid model identifier"}),
        (400, "No models loaded. Please load a model."),
    ],
    (NoVisionError, "cannot see pictures"): [
        (500, "image input is not supported - hint: you may need the mmproj"),
        (400, {"object": "error", "message": "referee-7b is not a multimodal model", "code": 400}),
        (400, "Model does not support images. Please use a model that does."),
        (400, "unknown variant `image_url`, expected `text`"),
        (404, "No endpoints found that support image input"),
        (200, "Vision add-on is not loaded, but images were provided"),
        (400, "messages[1].content must be a string"),
    ],
    (RequestError, "use smaller pictures"): [
        (400, "This model's maximum context length is 4096 tokens"),
        (400, "the request exceeds the available context: n_keep >= n_ctx"),
        (400, "Trying to keep the first 5000 tokens when context overflows"),
        (400, "exceed_context_size_error"),
        (400, said("No.", code="context_length_exceeded")),
    ],
    (RequestError, "cannot read the picture"): [(400, "image format webp is not supported")],
    (RequestError, "its filter refuses"): [
        (403, "Your chosen model requires moderation and your input was flagged"),
        (400, "The response was filtered due to the content management policy"),
        (400, said("No.", code="content_filter")),
    ],
    (RequestError, "refused the request"): [
        (400, "something else"),
        (403, "You are not allowed to request logprobs from this model"),
        (403, said("Request not allowed", type="forbidden")),
        (403, "Key sk-secret may not do this"),
        (404, "No endpoints found that can handle the requested parameters."),
        (404, "No endpoints found matching your data policy"),
        (422, {"detail": [{"loc": ["body", "x"], "msg": "bad"}]}),
    ],
    (BusyError, "it is busy"): [
        (429, "slow down"),
        (503, "Loading model"),
        (424, {"error": "Model is overloaded"}),
        (200, "rate limit reached"),
        (200, said("shortly", code=429)),
    ],
    (EndpointError, "no credit left"): [
        (429, "You exceeded your current quota, please check your plan and billing details."),
        (402, {}),
        (200, said("more", code=402)),
    ],
    (EndpointError, "correct base_url"): [
        (200, {"error": "Unexpected endpoint or method. (POST /chat/completions)"}),
        (404, {"detail": "Not Found"}),
        (404, "404 page not found"),
    ],
    (ServerError, "its model does not run"): [
        (400, "The model has crashed without additional information."),
        (400, {"error": "Model is unloaded."}),
        (400, {"error": 'Failed to load model "q". Operation canceled.'}),
        (400, "insufficient system resources"),
        (500, "error loading model: unable to allocate CUDA0 buffer"),
        (500, "could not load model: rpc error: code = Unknown"),
    ],
    (ServerError, "the server failed"): [
        (500, {"error": "an exception occurred"}),
        (500, "litellm.InternalServerError: OpenAIException - Connection error."),
    ],
}


@pytest.mark.parametrize(
    ("kind", "words", "status", "message"),
    [(*meaning, *reply) for meaning, replies in MEANINGS.items() for reply in replies],
)
def test_words_of_real_servers_have_their_meaning(kind, words, status, message):
    mapped = error(status, said(message) if isinstance(message, str) else message)
    assert type(mapped) is kind
    assert str(mapped).startswith("court: ") and words in str(mapped)
    if isinstance(message, str):
        assert message.replace("sk-secret", "[api_key]") in str(mapped)


@pytest.mark.parametrize(
    ("status", "text", "kind", "words"),
    [
        (403, "Forbidden", WrongKeyError, "api_key"),
        (413, "Request Entity Too Large", RequestError, "smaller pictures"),
        (200, "not json at all", ServerError, "no JSON"),
        (200, "<!doctype html><title>Wel\n come</title>" + "x" * 9999, EndpointError, "Wel come"),
        (403, "<!doctype html><title>Just a moment...</title>", EndpointError, "a web page: Just"),
        (404, "<html><title>404</title></html>", EndpointError, "base_url"),
        (302, "", EndpointError, "base_url"),
        (408, "", TimedOutError, "gave up waiting"),
        (504, "<html>", TimedOutError, "gave up waiting"),
        (502, "<html><title>Bad gateway</title></html>", ServerError, "Bad gateway"),
        (500, "Internal Server Error", ServerError, "Internal Server Error"),
    ],
)
def test_a_reply_that_is_no_json_has_its_meaning(status, text, kind, words):
    mapped = error(status, text)
    assert type(mapped) is kind
    assert words in str(mapped)


def test_a_redirect_is_named_with_its_target():
    assert "https://elsewhere/v1" in str(error(301, "", location="https://elsewhere/v1"))


@pytest.mark.parametrize(
    ("message", "wait_s"),
    [
        ("You exceeded your current quota, check your plan. Please retry in 20.04s", 20.04),
        ("Rate limit reached for gpt. Please try again in 6m0s.", 360),
        ("Too many requests, try again in 120ms", 0.5),
        ("Too many requests, wait 9000 milliseconds", 9),
        ("Rate limited, retry after 2 minutes and 5 seconds", 125),
        ("You can retry 3 more times. Please wait 7s", 7),
    ],
)
def test_a_pause_in_words_is_kept(message, wait_s):
    mapped = error(429, said(message))
    assert isinstance(mapped, BusyError)
    assert mapped.retry_after_s == pytest.approx(wait_s)


def test_a_pause_among_the_details_is_kept():
    details = [{"@type": "RetryInfo", "retryDelay": "33s"}]
    assert error(429, said("quota", details=details)).retry_after_s == 33


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0"}, 0.5),
        ({"retry-after": "86400"}, 86400.0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"}, 0.5),
    ],
)
def test_a_pause_in_a_header_is_kept(headers, expected):
    assert retry_after_s(Response(429, headers, "")) == expected


def test_a_pause_may_be_a_date():
    date = email.utils.formatdate(time.time() + 60, usegmt=True)
    assert 50 < error(429, said("later"), retry_after=date).retry_after_s <= 60


def test_a_key_shows_in_no_form_of_it():
    key = 'sk/a+b c=\u00e9"x'
    target = Target("court", "http://127.0.0.1:9/v1", secret=key)
    percent = urllib.parse.quote(key, safe="")
    plus = urllib.parse.quote_plus(key)
    for form in (key, percent, percent.lower(), plus, json.dumps(key)[1:-1]):
        text = str(from_response(Response(401, {}, f"wrong: {form}!"), target))
        assert form not in text and "[api_key]" in text, form


def test_what_is_quoted_is_short_printable_and_without_the_key():
    text = str(error(401, said("Incorrect key sk-secret\x1b[31m\n\n" + "x" * 5000)))
    assert "sk-secret" not in text
    assert text.isprintable()
    assert len(text) < 500


def test_a_request_without_a_response_is_unreachable_or_too_late():
    late = from_exception(TimeoutError(), TARGET, 20)
    assert type(late) is TimedOutError
    assert "20 s" in str(late)
    request = SimpleNamespace(real_url="http://h")
    odd = aiohttp.ClientResponseError(
        request, (), status=400, message="Got more than 9 bytes when reading: b'sk-sec...'"
    )
    mapped = str(from_exception(odd, TARGET, 20))
    assert "no proper HTTP" in mapped and "sk-sec" not in mapped
    for cause in (
        aiohttp.ServerDisconnectedError(),
        aiohttp.ConnectionTimeoutError(),
        ConnectionResetError("sk-secret"),
    ):
        gone = from_exception(cause, TARGET, 20)
        assert type(gone) is UnreachableError
        assert TARGET.url in str(gone)
        assert "sk-secret" not in str(gone)


@pytest.mark.parametrize(
    ("complaint", "feature"),
    [
        ("Unrecognized request argument supplied: chat_template_kwargs", Feature.TEMPLATE),
        ("Unsupported parameter: 'logprobs' is not supported with this model.", Feature.LOGPROBS),
        ("'response_format.type' must be 'json_schema' or 'text'", Feature.SCHEMA),
        ("reasoning_effort: unknown value none", Feature.REASONING),
        ('"referee" does not support thinking', Feature.REASONING),
        ("seed is not allowed", Feature.SEED),
        ("System role not supported", Feature.SYSTEM),
        ("Conversation roles must alternate user/assistant", Feature.SYSTEM),
        (
            "Unsupported parameter: 'max_tokens' is not supported. Use max_completion_tokens",
            Feature.MAX_TOKENS,
        ),
        ("temperature does not support 0 with this model", Feature.TEMPERATURE),
        ("your picture is ugly", None),
    ],
)
def test_a_complaint_is_about_a_feature(complaint, feature):
    assert blamed_feature(400, complaint, frozenset(Feature)) is feature
    assert blamed_feature(429, complaint, frozenset(Feature)) is None


def test_a_feature_that_was_not_sent_is_not_to_blame():
    assert blamed_feature(400, "seed is not allowed", frozenset(Feature) - {Feature.SEED}) is None


def test_vague_complaints_drop_one_feature_after_the_other():
    carried, order = set(Feature), []
    while (feature := blamed_feature(400, "unknown field", carried)) is not None:
        carried.remove(feature)
        order.append(feature.name)
    assert order == ["TEMPLATE", "REASONING", "SEED", "LOGPROBS", "SCHEMA"]
