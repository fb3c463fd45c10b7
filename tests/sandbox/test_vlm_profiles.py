"""The sandbox has the ways of the servers that it plays, as far as those were recorded."""

import base64
import io
import json
import math
import re
import time
from pathlib import Path

import pytest
import requests

from vlm_engine.testing import MODEL, Behaviour, Profile, SandboxVLM, glyphs
from vlm_engine.testing.threads import running

PATIENCE_S = 10
ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "data" / "recordings"
TAGS = ("Basketball point", "Foul", "Break-away", "Turnover")
PLAYED = [profile for profile in Profile if profile is not Profile.PLAIN]
LIST = {
    "type": "object",
    "properties": {"tags": {"type": "array", "items": {"type": "string", "enum": [*TAGS]}}},
}
VERDICTS = {
    "type": "object",
    "properties": {tag: {"type": "string", "enum": ["yes", "no"]} for tag in TAGS},
}


def schema(inner):
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": inner}}


def picture(*shown):
    written = io.BytesIO()
    glyphs.picture(shown, 512, 288, 7).save(written, "JPEG", quality=85)
    return written.getvalue()


def body(image=None, text="What does it show?", encoded="", **more):
    encoded = encoded or base64.b64encode(image or picture("Foul")).decode()
    content = [
        {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{encoded}"}},
        {"type": "text", "text": text},
    ]
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": content}],
        "response_format": schema(LIST),
        **more,
    }


def ask(vlm, asked, **headers):
    return requests.post(
        f"{vlm.url}/chat/completions", json=asked, headers=headers, timeout=PATIENCE_S
    )


CASES = {
    "wrong model": {"model": "nope"},
    "invalid schema": {"response_format": schema({"type": "nonsense"})},
    "uniqueItems": {"response_format": schema({**LIST, "uniqueItems": True})},
    "json_object": {"response_format": {"type": "json_object"}},
    "corrupt jpeg": {"image": picture("Foul")[:2000]},
    "not base64": {"encoded": "@@@@"},
    "prompt too long": {"text": "Foul, Goal. " * 20000},
    "unknown field": {"foo": 1},
    "reasoning_effort none": {"reasoning_effort": "none"},
    "cut off by max_tokens": {"max_tokens": 5},
}


def start(answer):
    """The first words of a message, numbers aside; "" for an answer."""
    told = answer.get("error", {})
    return re.sub(r"\d+", "0", told.get("message", ""))[:20]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("server", ["llamacpp", "vllm", "litellm"])
def test_it_answers_and_refuses_as_the_recorded_server_did(server, case):
    recorded = json.loads((FOLDER / f"{server}.json").read_text("utf-8"))[case]
    with running(SandboxVLM(Behaviour(profile=Profile(server)))) as vlm:
        answer = ask(vlm, body(**CASES[case]))
    assert answer.status_code == recorded["status"]
    assert start(answer.json()) == start(recorded["body"])
    if "choices" in recorded["body"]:
        (played,), (real,) = answer.json()["choices"], recorded["body"]["choices"]
        assert played["finish_reason"] == real["finish_reason"] or "list" not in case


@pytest.mark.parametrize("server", ["llamacpp", "vllm", "litellm"])
def test_it_lists_its_models_as_the_recorded_server_did(server):
    recorded = json.loads((FOLDER / f"{server}.json").read_text("utf-8"))["models"]["body"]
    with running(SandboxVLM(Behaviour(profile=Profile(server)))) as vlm:
        listed = requests.get(f"{vlm.url}/models", timeout=PATIENCE_S).json()
    assert listed.keys() == recorded.keys()
    assert listed["data"][0].keys() <= recorded["data"][0].keys()
    assert listed["data"][0]["owned_by"] == recorded["data"][0]["owned_by"]


@pytest.mark.parametrize("profile", PLAYED)
def test_only_known_pages_are_there(profile):
    with running(SandboxVLM(Behaviour(profile=profile))) as vlm:
        root = vlm.url.removesuffix("/v1")
        lacking = requests.get(f"{root}/whatever", timeout=PATIENCE_S)
    assert lacking.status_code == 404 or "error" in lacking.json()


def stream(answer):
    return answer.json()["choices"][0]["logprobs"]["content"]


def test_the_unmasked_stream_has_a_fence_that_the_content_has_not():
    with running(SandboxVLM(Behaviour(profile=Profile.LLAMA_CPP))) as vlm:
        answer = ask(vlm, body(response_format=schema(VERDICTS), logprobs=True, top_logprobs=5))
    said = answer.json()["choices"][0]["message"]["content"]
    assert "".join(entry["token"] for entry in stream(answer)) == f"```json\n{said}\n```"
    assert any(
        entry["token"] not in {other["token"] for other in entry["top_logprobs"]}
        for entry in stream(answer)
    )
    verdicts = [entry for entry in stream(answer) if entry["token"] in ("yes", "no")]
    assert len(verdicts) == len(TAGS)
    assert all("The" in {other["token"] for other in entry["top_logprobs"]} for entry in verdicts)


def test_the_masked_stream_begins_a_verdict_in_several_ways_and_has_an_end_marker():
    with running(SandboxVLM(Behaviour(profile=Profile.VLLM))) as vlm:
        answer = ask(vlm, body(response_format=schema(VERDICTS), logprobs=True, top_logprobs=5))
    said = answer.json()["choices"][0]["message"]["content"]
    assert "".join(entry["token"] for entry in stream(answer)) == f"{said}<|im_end|>"
    begun = [entry for entry in stream(answer) if entry["token"] in ("y", "n")]
    assert len(begun) == len(TAGS)
    for entry in begun:
        told = {other["token"]: other["logprob"] for other in entry["top_logprobs"]}
        assert {"y", "yes", "n", "no", "The"} == set(told)
        assert told["The"] == -9999
        assert sum(math.exp(told[word]) for word in ("y", "yes", "n", "no")) == pytest.approx(1)


def test_a_thinkers_answer_is_filed_with_its_thoughts():
    with running(SandboxVLM(Behaviour(profile=Profile.LM_STUDIO, thinks=True))) as vlm:
        message = ask(vlm, body()).json()["choices"][0]["message"]
        assert (message["content"], json.loads(message["reasoning_content"])) == (
            "",
            {"tags": ["Foul"]},
        )
        message = ask(vlm, body(reasoning_effort="none")).json()["choices"][0]["message"]
        assert json.loads(message["content"]) == {"tags": ["Foul"]}


def test_what_does_not_fit_is_dropped_in_silence():
    with running(SandboxVLM(Behaviour(profile=Profile.OLLAMA, context_tokens=150))) as vlm:
        answer = ask(vlm, body()).json()
    assert json.loads(answer["choices"][0]["message"]["content"]) == {"tags": []}
    assert answer["usage"]["prompt_tokens"] == 150


@pytest.mark.parametrize(
    ("profile", "words"),
    [(Profile.OLLAMA, "maximum pending requests exceeded"), (Profile.SGLANG, "queue is full")],
)
def test_a_full_queue_turns_away(profile, words):
    with running(SandboxVLM(Behaviour(profile=profile, slots=0, queue=0))) as vlm:
        answer = ask(vlm, body())
        assert (answer.status_code, vlm.counters.failed) == (503, {"queue full": 1})
        assert words in answer.text


def test_a_proxy_goes_on_with_what_its_client_has_given_up():
    for profile, abandoned in ((Profile.LLAMA_CPP, 1), (Profile.LITELLM, 0)):
        with running(SandboxVLM(Behaviour(profile=profile, latency_s=0.5))) as vlm:
            with pytest.raises(requests.ReadTimeout):
                requests.post(f"{vlm.url}/chat/completions", json=body(), timeout=0.2)
            deadline = time.monotonic() + PATIENCE_S
            while vlm.counters.in_flight and time.monotonic() < deadline:
                time.sleep(0.02)
            assert vlm.counters.failed["abandoned"] == abandoned
            assert vlm.counters.answered == 1 - abandoned
