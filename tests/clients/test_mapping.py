"""Responses of servers as errors."""

import email.utils
import json
import time
import urllib.parse
from types import SimpleNamespace

import aiohttp
import pytest

from vlm_engine.clients.mapping import (
    Target,
    from_exception,
    from_response,
    retry_after_s,
)
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


def said(message):
    return {"error": {"message": message, "type": "error", "code": None}}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, said("Incorrect API key provided"), WrongKeyError),
        (403, "Forbidden", WrongKeyError),
        (400, said("No api key passed in."), WrongKeyError),
        (404, said("model 'referee-7b' not found, try pulling it first"), WrongModelError),
        (400, {"error": "Invalid model identifier"}, WrongModelError),
        (400, said("No models loaded. Please load a model."), WrongModelError),
        (
            500,
            said("image input is not supported - hint: you may need the mmproj"),
            NoVisionError,
        ),
        (
            400,
            {"object": "error", "message": "referee-7b is not a multimodal model", "code": 400},
            NoVisionError,
        ),
        (400, said("Model does not support images. Please use a model that does."), NoVisionError),
        (400, said("image format webp is not supported"), RequestError),
        (400, said("This model's maximum context length is 4096 tokens"), RequestError),
        (413, "Request Entity Too Large", RequestError),
        (400, said("something else"), RequestError),
        (422, {"detail": [{"loc": ["body", "x"], "msg": "bad"}]}, RequestError),
        (429, said("slow down"), BusyError),
        (503, said("Loading model"), BusyError),
        (
            429,
            said("You exceeded your current quota, please check your plan and billing details."),
            EndpointError,
        ),
        (200, said("rate limit reached"), BusyError),
        (200, {"error": "model crashed while answering"}, ServerError),
        (200, {"error": "Unexpected endpoint or method. (POST /chat/completions)"}, EndpointError),
        (200, "not json at all", ServerError),
        (200, "<!doctype html><title>Welcome</title>", EndpointError),
        (404, "<html><title>404</title></html>", EndpointError),
        (404, {"detail": "Not Found"}, EndpointError),
        (302, "", EndpointError),
        (408, "", TimedOutError),
        (504, "<html>", TimedOutError),
        (502, "<html><title>Bad gateway</title></html>", ServerError),
        (500, "Internal Server Error", ServerError),
        (
            500,
            said("litellm.InternalServerError: OpenAIException - Connection error."),
            ServerError,
        ),
    ],
)
def test_status_and_words_decide_the_kind(status, body, kind):
    assert type(error(status, body)) is kind


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (
            400,
            said("The model has crashed without additional information."),
            ServerError,
            "its model does not run",
        ),
        (400, {"error": "Model is unloaded."}, ServerError, "its model does not run"),
        (
            400,
            {"error": 'Failed to load model "q". Operation canceled.'},
            ServerError,
            "its model does not run",
        ),
        (400, said("insufficient system resources"), ServerError, "its model does not run"),
        (
            400,
            said("unknown variant `image_url`, expected `text`"),
            NoVisionError,
            "cannot see pictures",
        ),
        (
            404,
            said("No endpoints found that support image input"),
            NoVisionError,
            "cannot see pictures",
        ),
        (
            200,
            said("Vision add-on is not loaded, but images were provided"),
            NoVisionError,
            "cannot see pictures",
        ),
        (
            403,
            said("You are not allowed to request logprobs from this model"),
            RequestError,
            "refused the request",
        ),
        (
            403,
            said("Your chosen model requires moderation and your input was flagged"),
            RequestError,
            "its filter refuses",
        ),
        (
            400,
            said("The response was filtered due to the content management policy"),
            RequestError,
            "its filter refuses",
        ),
        (
            403,
            "<!doctype html><title>Just a moment...</title>",
            EndpointError,
            "a web page: Just a moment...",
        ),
        (
            403,
            said("Project does not have access to model referee-7b"),
            WrongModelError,
            "correct MODEL",
        ),
        (403, said("Incorrect API key provided"), WrongKeyError, "api_key"),
        (
            400,
            said("the request exceeds the available context: n_keep >= n_ctx"),
            RequestError,
            "does not fit into its context",
        ),
        (
            400,
            said("Trying to keep the first 5000 tokens when context overflows"),
            RequestError,
            "does not fit into its context",
        ),
        (
            404,
            said("No endpoints found that can handle the requested parameters."),
            RequestError,
            "refused the request",
        ),
        (
            404,
            said("No endpoints found matching your data policy"),
            RequestError,
            "refused the request",
        ),
        (404, "404 page not found", EndpointError, "correct base_url"),
        (
            500,
            said("error loading model: unable to allocate CUDA0 buffer"),
            ServerError,
            "its model does not run",
        ),
        (
            500,
            said("could not load model: rpc error: code = Unknown"),
            ServerError,
            "its model does not run",
        ),
        (
            404,
            {"error": {"code": "DeploymentNotFound", "message": "No such thing here."}},
            WrongModelError,
            "correct MODEL",
        ),
        (
            400,
            {"error": {"code": "context_length_exceeded", "message": "Reduce it."}},
            RequestError,
            "not fit into its context",
        ),
        (
            400,
            {"error": {"code": "content_filter", "message": "No."}},
            RequestError,
            "its filter refuses",
        ),
        (
            404,
            said("models/referee-7b is not found for API version v1"),
            WrongModelError,
            "correct MODEL",
        ),
        (
            403,
            {"error": {"type": "forbidden", "message": "Request not allowed"}},
            RequestError,
            "refused the request",
        ),
        (200, {"error": {"code": 402, "message": "more"}}, EndpointError, "no credit left"),
        (200, {"error": {"code": 429, "message": "shortly"}}, BusyError, "it is busy"),
        (402, "", EndpointError, "no credit left"),
        (424, {"error": "Model is overloaded"}, BusyError, "it is busy"),
        (400, said("messages[1].content must be a string"), NoVisionError, "cannot see pictures"),
        (400, said("bad sk-secret"), RequestError, 'refused the request: HTTP 400 "bad [api_key]"'),
        (403, said("Key sk-secret may not do this"), RequestError, "refused the request"),
    ],
)
def test_words_of_real_servers_have_their_meaning(status, body, kind, words):
    mapped = error(status, body)
    assert type(mapped) is kind
    assert words in str(mapped)


@pytest.mark.parametrize(
    ("body", "headers", "wait_s"),
    [
        (
            said("You exceeded your current quota, please check your plan. Please retry in 20.04s"),
            {},
            20.04,
        ),
        (
            {
                "error": {
                    "message": "quota",
                    "details": [{"@type": "RetryInfo", "retryDelay": "33s"}],
                }
            },
            {},
            33,
        ),
        (said("Rate limit reached for gpt. Please try again in 6m0s."), {}, 360),
        (said("Too many requests, try again in 120ms"), {}, 0.5),
        (said("Too many requests, wait 9000 milliseconds"), {}, 9),
        (said("Rate limited, retry after 2 minutes and 5 seconds"), {}, 125),
        (said("slow down"), {"retry_after": "600"}, 600),
        (said("You can retry 3 more times. Please wait 7s"), {}, 7),
    ],
)
def test_a_pause_that_the_server_names_is_kept(body, headers, wait_s):
    mapped = error(429, body, **headers)
    assert isinstance(mapped, BusyError)
    assert mapped.retry_after_s == pytest.approx(wait_s)


def test_a_key_shows_in_no_form_of_it():
    key = 'sk/a+b c=\u00e9"x'
    target = Target("court", "http://127.0.0.1:9/v1", secret=key)
    forms = [
        key,
        urllib.parse.quote(key, safe=""),
        urllib.parse.quote_plus(key),
        json.dumps(key)[1:-1],
    ]
    for form in (*forms, urllib.parse.quote(key, safe="").lower()):
        text = str(from_response(Response(401, {}, f"wrong: {form}!"), target))
        assert form not in text and "[api_key]" in text, form


def test_a_message_names_the_endpoint_and_the_remedy():
    text = str(error(404, said("The model `referee-7b` does not exist.")))
    assert text.startswith("court: ")
    assert "The model `referee-7b` does not exist." in text
    assert "MODEL" in text and "model_id" in text
    assert "api_key" in str(error(401, said("no")))
    assert "base_url" in str(error(404, "<html>"))
    assert "smaller pictures" in str(error(400, said("exceed_context_size_error")))


def test_what_is_quoted_is_short_printable_and_without_the_key():
    text = str(error(401, said("Incorrect key sk-secret\x1b[31m\n\n" + "x" * 5000)))
    assert "sk-secret" not in text
    assert text.isprintable()
    assert len(text) < 500


def test_a_web_page_has_its_title_a_redirect_its_target():
    assert 'a web page: Welcome home"' in str(
        error(200, "<html><title>Welcome\n home</title>" + "x" * 9999, content_type="text/html")
    )
    assert "https://elsewhere/v1" in str(error(301, "", location="https://elsewhere/v1"))


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
def test_how_long_to_wait(headers, expected):
    assert retry_after_s(Response(429, headers, "")) == expected


def test_how_long_to_wait_may_be_a_date():
    date = email.utils.formatdate(time.time() + 60, usegmt=True)
    assert 50 < retry_after_s(Response(429, {"retry-after": date}, "")) <= 60
    assert error(429, said("later"), retry_after=date).retry_after_s > 50


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
        ("Extra inputs are not permitted", Feature.TEMPLATE),
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
        order.append(feature)
    assert order == [
        Feature.TEMPLATE,
        Feature.REASONING,
        Feature.SEED,
        Feature.LOGPROBS,
        Feature.SCHEMA,
    ]
