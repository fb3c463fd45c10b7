"""The stand-in endpoint answers as a model would, and refuses as the recorded servers did."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import math
import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import requests

from sandbox.world import SPORT_TAGS
from vlm_engine.testing import MODEL, Behaviour, Fault, Profile, SandboxVLM, glyphs, running

PATIENCE_S = 10
RECORDINGS = Path(__file__).parents[1] / "data" / "recordings"
RECORDED = ["llamacpp", "vllm", "litellm"]
TAGS = ("Basketball point", "Foul", "Break-away", "Turnover")
WORDS = "Which of these tags does the frame show? Basketball point, Foul, Break-away, Goal"
BULLETS = "You check pictures.\n\nTags:\n- Basketball point\n- Foul\n- Goal\n\nName those you see."


def jpeg(*tags: str, number: int = 7, width: int = 512) -> bytes:
    written = io.BytesIO()
    picture = glyphs.picture(tags, width, width * 9 // 16, number)
    picture.save(written, "JPEG", quality=85)
    return written.getvalue()


def schema(inner: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": inner}}


def listed(tags: tuple[str, ...] = TAGS, **more: Any) -> dict[str, Any]:
    names = {"type": "array", "items": {"type": "string", "enum": [*tags]}, **more}
    return {"type": "object", "properties": {"tags": names}}


def judged(tags: tuple[str, ...] = TAGS, **verdict: Any) -> dict[str, Any]:
    return {"type": "object", "properties": dict.fromkeys(tags, verdict)}


YES_NO = judged(type="string", enum=["yes", "no"])


def question(
    image: bytes = b"", text: str = "What does it show?", encoded: str = "", **more: Any
) -> dict[str, Any]:
    encoded = encoded or base64.b64encode(image or jpeg("Foul")).decode()
    content = [
        {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{encoded}"}},
        {"type": "text", "text": text},
    ]
    messages = [{"role": "user", "content": content}]
    return {"model": MODEL, "messages": messages, "response_format": schema(listed()), **more}


def ask(vlm: SandboxVLM, body: dict[str, Any], timeout: float = PATIENCE_S) -> requests.Response:
    return requests.post(f"{vlm.url}/chat/completions", json=body, timeout=timeout)


def choice(vlm: SandboxVLM, **body: Any) -> dict[str, Any]:
    response = ask(vlm, question(**body))
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]


@pytest.fixture
def vlm() -> Iterator[SandboxVLM]:
    with running(SandboxVLM()) as server:
        yield server


@pytest.mark.parametrize(
    ("form", "tags", "answer"),
    [
        (listed(), ("Turnover", "Foul"), {"tags": ["Foul", "Turnover"]}),
        (listed(), (), {"tags": []}),
        (listed(('The "double"', "Back\\slash")), ("Back\\slash",), {"tags": ["Back\\slash"]}),
        (YES_NO, ("Turnover",), {tag: "yes" if tag == "Turnover" else "no" for tag in TAGS}),
        (judged(TAGS[:2], type="boolean"), ("Foul",), {"Basketball point": False, "Foul": True}),
    ],
)
def test_the_answer_tells_what_the_picture_shows(vlm, form, tags, answer):
    content = choice(vlm, image=jpeg(*tags), response_format=schema(form))["message"]["content"]
    assert json.loads(content) == answer


@pytest.mark.parametrize(
    ("text", "tags", "answer"),
    [
        (WORDS, ("Goal", "Basketball point"), "Basketball point, Goal"),
        (BULLETS, ("Goal", "Basketball point"), "Basketball point, Goal"),
        (WORDS, ("Timeout",), "none"),
        ("Tags:\n- Foul\n- Goal\nAnswer in JSON.", ("Goal",), '```json\n{"tags": ["Goal"]}\n```'),
    ],
)
def test_without_a_schema_it_answers_in_words(vlm, text, tags, answer):
    found = choice(vlm, image=jpeg(*tags), text=text, response_format=None)
    assert found["message"]["content"] == answer


def logprobs(vlm: SandboxVLM, **body: Any) -> tuple[str, list[dict[str, Any]]]:
    found = choice(vlm, logprobs=True, top_logprobs=5, **body)
    return found["message"]["content"], found["logprobs"]["content"]


def alternatives(entry: dict[str, Any]) -> dict[str, float]:
    return {other["token"]: math.exp(other["logprob"]) for other in entry["top_logprobs"]}


def test_logprobs_tell_how_sure_each_verdict_is(vlm):
    vlm.behaviour.miss_rate = 1.0
    _, entries = logprobs(vlm, response_format=schema(YES_NO))
    verdicts = [entry for entry in entries if entry["token"] in ("yes", "no")]
    sure = [math.exp(entry["logprob"]) for entry in verdicts]
    assert [0.5 < each < 0.8 for each in sure] == [tag == "Foul" for tag in TAGS]  # the missed one
    assert [sum(alternatives(entry).values()) for entry in verdicts] == pytest.approx([1] * 4)


def test_logprobs_of_a_list_offer_the_other_names(vlm):
    content, entries = logprobs(vlm, image=jpeg("Foul", "Turnover"))
    assert "".join(entry["token"] for entry in entries) == content
    (first,) = [entry for entry in entries if entry["token"] == "Foul"]
    assert {"Foul", "Turno"} <= alternatives(first).keys()
    assert alternatives(entries[-1]).keys() == {'", "', '"]}'}


def test_errors_come_at_their_rates_at_every_size(vlm):
    form = schema(listed(SPORT_TAGS))

    def found(number: int, width: int = 512) -> frozenset[str]:
        image = jpeg(*SPORT_TAGS[:4], number=number, width=width)
        return frozenset(
            json.loads(choice(vlm, image=image, response_format=form)["message"]["content"])["tags"]
        )

    vlm.behaviour.miss_rate, vlm.behaviour.false_alarm_rate = 0.3, 0.1
    answers = [found(number) for number in range(60)]
    there, absent = set(SPORT_TAGS[:4]), set(SPORT_TAGS[4:])
    assert 0.2 < sum(len(there - answer) for answer in answers) / 240 < 0.4
    assert 0.04 < sum(len(absent & answer) for answer in answers) / 240 < 0.16
    assert [found(number, width=320) for number in range(10)] == answers[:10]
    vlm.behaviour.seed = 1
    assert [found(number) for number in range(10)] != answers[:10]


def test_a_share_of_faults_is_evenly_spread(vlm):
    vlm.behaviour.fault, vlm.behaviour.fault_share = Fault.SERVER_ERROR, 0.25
    statuses = [ask(vlm, question()).status_code for _ in range(8)]
    assert statuses == [200, 200, 200, 500] * 2


async def test_requests_wait_for_a_free_slot():
    async def post(session: aiohttp.ClientSession, vlm: SandboxVLM) -> int:
        async with session.post(f"{vlm.url}/chat/completions", json=question()) as response:
            return response.status

    async with SandboxVLM(Behaviour(slots=0)) as vlm, aiohttp.ClientSession() as session:
        asking = [asyncio.create_task(post(session, vlm)) for _ in range(6)]
        while vlm.counters.in_flight < 6:  # counters announce nothing
            await asyncio.sleep(0.01)
        assert vlm.counters.answered == 0
        vlm.behaviour.slots = 2
        assert await asyncio.wait_for(asyncio.gather(*asking), PATIENCE_S) == [200] * 6


CASES: dict[str, dict[str, Any]] = {
    "wrong model": {"model": "nope"},
    "invalid schema": {"response_format": schema({"type": "nonsense"})},
    "uniqueItems": {"response_format": schema(listed(uniqueItems=True))},
    "json_object": {"response_format": {"type": "json_object"}},
    "corrupt jpeg": {"image": jpeg("Foul")[:2000]},
    "not base64": {"encoded": "@@@@"},
    "prompt too long": {"text": "Foul, Goal. " * 20000},
    "unknown field": {"foo": 1},
    "reasoning_effort none": {"reasoning_effort": "none"},
    "cut off by max_tokens": {"max_tokens": 5},
}


def recording(server: str) -> Any:
    return json.loads((RECORDINGS / f"{server}.json").read_text("utf-8"))


def beginning(answer: dict[str, Any]) -> str:
    """Return the first words of the error message, numbers aside."""
    return re.sub(r"\d+", "0", answer.get("error", {}).get("message", ""))[:20]


@pytest.mark.parametrize("server", RECORDED)
def test_it_answers_as_the_recorded_server_did(server):
    with running(SandboxVLM(Behaviour(profile=Profile(server)))) as vlm:
        for case, body in CASES.items():
            answer, recorded = ask(vlm, question(**body)), recording(server)[case]
            assert answer.status_code == recorded["status"], case
            assert beginning(answer.json()) == beginning(recorded["body"]), case
        models = requests.get(f"{vlm.url}/models", timeout=PATIENCE_S).json()
    recorded = recording(server)["models"]["body"]
    assert models.keys() == recorded.keys()
    assert models["data"][0].keys() <= recorded["data"][0].keys()
    assert models["data"][0]["owned_by"] == recorded["data"][0]["owned_by"]


def test_llama_cpp_reports_tokens_as_without_a_schema():
    with running(SandboxVLM(Behaviour(profile=Profile.LLAMA_CPP))) as vlm:
        content, entries = logprobs(vlm, response_format=schema(YES_NO))
    assert "".join(entry["token"] for entry in entries) == f"```json\n{content}\n```"
    assert any(entry["token"] not in alternatives(entry) for entry in entries)
    verdicts = [entry for entry in entries if entry["token"] in ("yes", "no")]
    assert ["The" in alternatives(entry) for entry in verdicts] == [True] * len(TAGS)


def test_vllm_reports_only_tokens_of_the_schema():
    with running(SandboxVLM(Behaviour(profile=Profile.VLLM))) as vlm:
        content, entries = logprobs(vlm, response_format=schema(YES_NO))
    assert "".join(entry["token"] for entry in entries) == f"{content}<|im_end|>"
    begun = [alternatives(entry) for entry in entries if entry["token"] in ("y", "n")]
    assert len(begun) == len(TAGS)
    for tokens in begun:
        assert tokens.keys() == {"y", "yes", "n", "no", "The"}
        assert (tokens["The"], sum(tokens.values())) == (0, pytest.approx(1))


@pytest.mark.parametrize(("profile", "finishes"), [("llamacpp", False), ("litellm", True)])
def test_only_a_proxy_finishes_abandoned_requests(profile, finishes):
    with running(SandboxVLM(Behaviour(profile=Profile(profile), latency_s=0.5))) as vlm:
        with pytest.raises(requests.ReadTimeout):
            ask(vlm, question(), timeout=0.2)
        deadline = time.monotonic() + PATIENCE_S
        while vlm.counters.in_flight and time.monotonic() < deadline:
            time.sleep(0.02)
        assert vlm.counters.failed["abandoned"] == (not finishes)
        assert vlm.counters.answered == finishes


@pytest.mark.parametrize("where", ["in", "out"])
def test_what_a_server_raises_reaches_the_caller(where):
    @contextlib.asynccontextmanager
    async def failing() -> AsyncIterator[str]:
        if where == "in":
            raise ValueError("on the way in")
        yield "entered"
        raise ValueError("on the way out")

    with pytest.raises(ValueError, match=f"on the way {where}"), running(failing()) as value:
        assert value == "entered"
