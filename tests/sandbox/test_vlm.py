import asyncio
import base64
import contextlib
import io
import json
import math
import threading

import aiohttp
import pytest
import requests

from sandbox.world import SPORT_TAGS
from vlm_engine.testing import MODEL, Behaviour, Fault, SandboxVLM, glyphs
from vlm_engine.testing.threads import ServerThread, running

PATIENCE_S = 10


def jpeg(tags, number=7, width=512, height=288):
    written = io.BytesIO()
    glyphs.picture(tags, width, height, number).save(written, "JPEG", quality=80)
    return written.getvalue()


def list_schema(tags=SPORT_TAGS, **more):
    return {
        "type": "object",
        "properties": {
            "tags": {"type": "array", "items": {"type": "string", "enum": [*tags]}, **more}
        },
    }


def verdict_schema(tags=SPORT_TAGS):
    return {
        "type": "object",
        "properties": {tag: {"type": "string", "enum": ["yes", "no"]} for tag in tags},
    }


def question(picture, schema=None, text="What does it show?", **more):
    image = {
        "type": "image_url",
        "image_url": {"url": f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"},
    }
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": [image, {"type": "text", "text": text}]}],
        **more,
    }
    if schema:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema},
        }
    return body


def ask(vlm, body, key=""):
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return requests.post(
        f"{vlm.url}/chat/completions", json=body, headers=headers, timeout=PATIENCE_S
    )


def said(response):
    assert response.status_code == 200, response.text
    choice = response.json()["choices"][0]
    assert choice["finish_reason"] == "stop"
    return choice["message"]["content"]


@pytest.fixture
def vlm():
    with running(SandboxVLM()) as server:
        yield server


def test_a_list_names_what_the_picture_shows_in_the_order_of_the_schema(vlm):
    assert json.loads(said(ask(vlm, question(jpeg(["Goal", "Foul"]), list_schema())))) == {
        "tags": ["Foul", "Goal"]
    }
    assert json.loads(said(ask(vlm, question(jpeg([]), list_schema())))) == {"tags": []}


def test_verdicts_judge_every_tag(vlm):
    answer = json.loads(said(ask(vlm, question(jpeg(["Turnover"]), verdict_schema()))))
    assert answer == {tag: "yes" if tag == "Turnover" else "no" for tag in SPORT_TAGS}


def test_boolean_verdicts_are_booleans(vlm):
    schema = {
        "type": "object",
        "properties": {tag: {"type": "boolean"} for tag in ("Foul", "Goal")},
    }
    assert json.loads(said(ask(vlm, question(jpeg(["Goal"]), schema)))) == {
        "Foul": False,
        "Goal": True,
    }


@pytest.mark.parametrize(
    "text",
    [
        "Which of these tags does the frame show? Basketball point, Foul, Break-away, Goal",
        "You check pictures, one by one.\n\nTags:\n- Basketball point\n- Foul\n- Goal\n\nName those you see.",
    ],
)
def test_without_a_schema_it_answers_in_words_from_the_names_in_the_text(vlm, text):
    assert (
        said(ask(vlm, question(jpeg(["Goal", "Basketball point"]), text=text)))
        == "Basketball point, Goal"
    )
    assert said(ask(vlm, question(jpeg(["Timeout"]), text=text))) == "none"


def test_words_that_ask_for_json_get_it_in_a_code_fence(vlm):
    text = 'Tags:\n- Foul\n- Goal\nAnswer in JSON: {"name": "yes", "other": "no"}'
    fence, answer, end = said(ask(vlm, question(jpeg(["Goal"]), text=text))).split("\n")
    assert (fence, json.loads(answer), end) == ("```json", {"Foul": "no", "Goal": "yes"}, "```")


def test_a_name_that_json_escapes_survives(vlm):
    tags = ['The "double"', "Coup franc – à 20 m", "Back\\slash"]
    assert json.loads(said(ask(vlm, question(jpeg(tags[:2]), list_schema(tags))))) == {
        "tags": tags[:2]
    }


def test_a_picture_without_glyphs_shows_nothing(vlm):
    written = io.BytesIO()
    glyphs.picture(SPORT_TAGS).rotate(180).save(written, "JPEG")
    assert json.loads(said(ask(vlm, question(written.getvalue(), list_schema())))) == {"tags": []}


def tokens_of(response):
    choice = response.json()["choices"][0]
    entries = choice["logprobs"]["content"]
    assert "".join(entry["token"] for entry in entries) == choice["message"]["content"]
    return entries


def test_logprobs_tell_how_sure_each_verdict_is(vlm):
    vlm.behaviour.miss_rate = 1.0
    entries = tokens_of(
        ask(vlm, question(jpeg(["Goal"]), verdict_schema(), logprobs=True, top_logprobs=5))
    )
    verdicts = [entry for entry in entries if entry["token"] in ("yes", "no")]
    sure = [math.exp(entry["logprob"]) for entry in verdicts]
    assert len(sure) == len(SPORT_TAGS)
    assert min(sure[:-1]) > 0.85
    assert 0.5 < sure[-1] < 0.8  # the Goal it missed
    for entry in verdicts:
        assert sum(math.exp(other["logprob"]) for other in entry["top_logprobs"]) == pytest.approx(
            1
        )


def test_logprobs_of_a_list_offer_what_else_might_have_stood_there(vlm):
    entries = tokens_of(
        ask(vlm, question(jpeg(["Foul", "Goal"]), list_schema(), logprobs=True, top_logprobs=5))
    )
    [first] = [entry for entry in entries if entry["token"] == "Foul"]
    assert {"Foul", "Goal"} < {other["token"] for other in first["top_logprobs"]}
    assert {other["token"] for other in entries[-1]["top_logprobs"]} == {'", "', '"]}'}
    assert all(
        entry["logprob"] == max(other["logprob"] for other in entry["top_logprobs"])
        for entry in entries
    )


def test_logprobs_are_left_out_where_they_are_not_wished_for_or_not_offered(vlm):
    picture = jpeg(["Foul"])
    assert ask(vlm, question(picture, list_schema())).json()["choices"][0]["logprobs"] is None
    vlm.behaviour.offers_logprobs = False
    assert (
        ask(vlm, question(picture, list_schema(), logprobs=True)).json()["choices"][0]["logprobs"]
        is None
    )


def heard(vlm, number, width=512):
    body = question(jpeg(SPORT_TAGS[:4], number, width, width * 9 // 16), list_schema())
    return frozenset(json.loads(said(ask(vlm, body)))["tags"])


def test_errors_come_at_their_rates_and_do_not_depend_on_the_size_of_the_picture(vlm):
    vlm.behaviour.miss_rate, vlm.behaviour.false_alarm_rate = 0.3, 0.1
    answers = [heard(vlm, number) for number in range(60)]
    there, absent = set(SPORT_TAGS[:4]), set(SPORT_TAGS[4:])
    assert 0.2 < sum(len(there - answer) for answer in answers) / 240 < 0.4
    assert 0.04 < sum(len(absent & answer) for answer in answers) / 240 < 0.16
    assert [heard(vlm, number, width=320) for number in range(10)] == answers[:10]
    vlm.behaviour.seed = 1
    assert [heard(vlm, number) for number in range(10)] != answers[:10]


def test_a_budget_of_tokens_cuts_the_answer_off(vlm):
    choice = ask(vlm, question(jpeg(["Foul"]), list_schema(), max_tokens=3)).json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ('{"tags":', "length")


@pytest.mark.parametrize(
    ("behaviour", "change", "status", "message"),
    [
        (
            Behaviour(),
            {"model": "nope"},
            404,
            "The model `nope` does not exist. Valid aliases: sandbox-vlm.",
        ),
        (Behaviour(offers_schema=False), {}, 400, "response_format is not supported"),
        (Behaviour(vision=False), {}, 500, "image input is not supported"),
        (Behaviour(api_key="k-right"), {}, 401, "Incorrect API key provided."),
        (Behaviour(), {"logprobs": True, "top_logprobs": 30}, 400, "greater than max allowed: 20"),
        (Behaviour(), {"messages": []}, 400, "empty conversation"),
        (
            Behaviour(),
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"schema": {"type": "nonsense"}},
                }
            },
            400,
            "Grammar",
        ),
        (
            Behaviour(),
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"schema": list_schema(uniqueItems=True)},
                }
            },
            400,
            "uniqueItems",
        ),
    ],
)
def test_what_real_servers_refuse_is_refused(behaviour, change, status, message):
    with running(SandboxVLM(behaviour)) as vlm:
        response = ask(vlm, {**question(jpeg(["Foul"]), list_schema()), **change}, key="k-wrong")
    assert response.status_code == status
    assert message in response.json()["error"]["message"]
    assert "k-" not in response.text
    assert vlm.counters.answered == 0
    assert vlm.counters.failed.total() == 1


@pytest.mark.parametrize(
    "picture", [b"", b"no picture", jpeg(["Foul"])[:2000]], ids=["nothing", "text", "half a JPEG"]
)
def test_an_image_that_cannot_be_decoded_is_refused(vlm, picture):
    response = ask(vlm, question(picture, list_schema()))
    assert response.status_code == 400
    assert "Failed to load image" in response.json()["error"]["message"]


def test_the_right_key_is_let_in():
    with running(SandboxVLM(Behaviour(api_key="k-right"))) as vlm:
        assert said(ask(vlm, question(jpeg([]), list_schema()), key="k-right"))
        assert requests.get(f"{vlm.url}/models", timeout=PATIENCE_S).status_code == 401


def test_models_are_listed_with_what_they_can_see(vlm):
    def listed():
        return requests.get(f"{vlm.url}/models", timeout=PATIENCE_S).json()["data"]

    assert [(model["id"], model["architecture"]["input_modalities"]) for model in listed()] == [
        (MODEL, ["text", "image"])
    ]
    vlm.behaviour.models, vlm.behaviour.vision = ("a", "b"), False
    assert [(model["id"], model["architecture"]["input_modalities"]) for model in listed()] == [
        ("a", ["text"]),
        ("b", ["text"]),
    ]


@pytest.mark.parametrize(
    ("fault", "status", "start"),
    [
        (Fault.BUSY, 429, '{"error": {"message": "Too many requests'),
        (Fault.UNAVAILABLE, 503, '{"error": {"message": "Loading model'),
        (Fault.SERVER_ERROR, 500, '{"error": {"message": "EngineCore'),
        (Fault.ERROR_BODY, 200, '{"error": "model crashed'),
        (Fault.HTML, 200, "<!doctype html>"),
        (Fault.GARBAGE, 200, '{"id": "chatcmpl-sandbox"'),
    ],
)
def test_faults_that_answer(vlm, fault, status, start):
    vlm.behaviour.fault = fault
    response = ask(vlm, question(jpeg(["Foul"]), list_schema()))
    assert (response.status_code, response.text[: len(start)]) == (status, start)
    assert (vlm.counters.answered, dict(vlm.counters.failed)) == (0, {fault: 1})


def test_busy_says_when_to_come_back(vlm):
    vlm.behaviour.fault, vlm.behaviour.retry_after_s = Fault.BUSY, 3
    assert ask(vlm, question(jpeg([]))).headers["Retry-After"] == "3"


def test_a_truncated_answer_says_so(vlm):
    vlm.behaviour.fault = Fault.TRUNCATED
    choice = ask(vlm, question(jpeg(["Foul"]), verdict_schema())).json()["choices"][0]
    assert choice["finish_reason"] == "length"
    with pytest.raises(ValueError, match="Expecting|Unterminated"):
        json.loads(choice["message"]["content"])


def test_a_dropped_connection_is_dropped(vlm):
    vlm.behaviour.fault = Fault.DROP
    with pytest.raises(requests.ConnectionError):
        ask(vlm, question(jpeg([])))


def test_hanging_lasts_until_the_caller_leaves(vlm):
    vlm.behaviour.fault = Fault.HANG
    with pytest.raises(requests.ReadTimeout):
        requests.post(f"{vlm.url}/chat/completions", json=question(jpeg([])), timeout=0.2)
    vlm.behaviour.fault = Fault.NONE
    assert said(ask(vlm, question(jpeg([]), list_schema())))


def test_a_fault_for_the_next_requests_passes(vlm):
    vlm.behaviour.fault, vlm.behaviour.fault_requests = Fault.UNAVAILABLE, 2
    assert [ask(vlm, question(jpeg([]))).status_code for _ in range(4)] == [503, 503, 200, 200]


def test_a_fault_for_a_share_of_the_requests_is_evenly_spread(vlm):
    vlm.behaviour.fault, vlm.behaviour.fault_share = Fault.SERVER_ERROR, 0.25
    assert [ask(vlm, question(jpeg([]))).status_code for _ in range(8)] == [200, 200, 200, 500] * 2


def test_stopping_refuses_and_starting_listens_on_the_same_port(vlm):
    with requests.Session() as kept_alive:
        assert kept_alive.get(f"{vlm.url}/models", timeout=PATIENCE_S).ok
        vlm.stop()
        vlm.stop()
        with pytest.raises(requests.ConnectionError):
            kept_alive.get(f"{vlm.url}/models", timeout=PATIENCE_S)
    vlm.start()
    vlm.start()
    assert requests.get(f"{vlm.url}/models", timeout=PATIENCE_S).ok


def test_counters_tell_what_was_served(vlm):
    for number in (3, 9):
        said(ask(vlm, question(jpeg(["Foul"], number), list_schema())))
    counters = vlm.counters
    assert (counters.requests, counters.answered, counters.in_flight) == (2, 2, 0)
    assert counters.frame_numbers == [3, 9]
    assert counters.image_tokens == 2 * round(512 * 288 / 784)
    assert counters.answer_tokens == 2 * len(['{"', "tags", '":', ' ["', "Foul", '"]}'])


async def post(session, vlm):
    async with session.post(
        f"{vlm.url}/chat/completions", json=question(jpeg([]), list_schema())
    ) as response:
        return response.status


def test_requests_beyond_the_slots_wait_until_there_are_more():
    async def main():
        async with SandboxVLM(Behaviour(slots=0)) as vlm, aiohttp.ClientSession() as session:
            asking = [asyncio.create_task(post(session, vlm)) for _ in range(6)]
            while vlm.counters.in_flight < 6:  # counters announce nothing
                await asyncio.sleep(0.01)
            waiting = vlm.counters.answered
            vlm.behaviour.slots = 2
            return waiting, await asyncio.gather(*asking), vlm.counters

    waiting, statuses, counters = asyncio.run(asyncio.wait_for(main(), PATIENCE_S))
    assert waiting == 0
    assert statuses == [200] * 6
    assert (counters.in_flight_max, counters.in_flight, counters.answered) == (6, 0, 6)


def test_a_hanging_request_does_not_keep_the_server_from_ending():
    async def main():
        async with (
            SandboxVLM(Behaviour(fault=Fault.HANG)) as vlm,
            aiohttp.ClientSession() as session,
        ):
            hanging = asyncio.create_task(post(session, vlm))
            while not vlm.counters.in_flight:  # counters announce nothing
                await asyncio.sleep(0.01)
            await vlm.__aexit__(None, None, None)
            with pytest.raises(aiohttp.ClientError):
                await hanging
            return vlm.counters

    counters = asyncio.run(asyncio.wait_for(main(), PATIENCE_S))
    assert (counters.in_flight, dict(counters.failed)) == (0, {"hang": 1})


def test_what_a_server_raises_on_its_way_in_or_out_is_raised_to_the_caller():
    @contextlib.asynccontextmanager
    async def failing(where):
        if where == "in":
            raise ValueError("on the way in")
        yield "entered"
        raise ValueError("on the way out")

    with pytest.raises(ValueError, match="on the way in"):
        ServerThread(failing("in")).start()
    thread = ServerThread(failing("out"))
    assert thread.start() == thread.value == "entered"
    with pytest.raises(ValueError, match="on the way out"):
        thread.stop()


def test_no_thread_is_left_behind():
    before = set(threading.enumerate())
    with running(SandboxVLM()):
        assert set(threading.enumerate()) > before
    assert set(threading.enumerate()) == before
