"""Several frames in one question: to servers of all kinds, and back as verdicts on each."""

import logging
from dataclasses import replace

import pytest

from tests.clients.helpers import GOOD, TAGS, Scripted, client_on, completion, jpeg
from vlm_engine.clients.request import Feature
from vlm_engine.errors import BusyError, NoVisionError, ReplyError, RequestError, ServerError
from vlm_engine.testing import Behaviour, Fault, Profile
from vlm_engine.types import Form, Frame, Question, ServerTimings

SHOWN = (("Foul",), (), ("Turnover", "Basketball point"), ("Break-away",))
FOUND = [["Foul"], [], ["Basketball point", "Turnover"], ["Break-away"]]
NONE_SHOWN = ((), (), ())


def question(*visible, tags=TAGS):
    frames = [
        Frame(60.0 + number, 410, 280, jpeg(tags, number)) for number, tags in enumerate(visible)
    ]
    first, *more = frames
    return Question(tags, Form.LIST, first.jpeg, time_s=first.time_s, more=tuple(more))


def present(answer):
    return [
        [tag for tag, verdict in verdicts.items() if verdict.present] if verdicts else None
        for verdicts in answer.by_picture
    ]


@pytest.mark.parametrize("profile", Profile)
@pytest.mark.parametrize("schema", [True, False])
async def test_one_request_gives_every_picture_its_own_verdicts(profile, schema):
    behaviour = Behaviour(profile=profile, offers_schema=schema)
    async with client_on(behaviour) as (client, vlm):
        answer = await client.ask(question(*SHOWN))
        counters = vlm.counters
    assert present(answer) == FOUND
    assert (answer.calls, counters.answered) == (1, 1)
    assert counters.frame_numbers == [0, 1, 2, 3]
    assert answer.prompt_tokens > counters.image_tokens > 0
    for verdict in (each for verdicts in answer.by_picture for each in verdicts.values()):
        if profile is Profile.LM_STUDIO:
            assert verdict.probability is None
        else:
            assert abs(verdict.probability - (not verdict.present)) > 0.85


async def test_pictures_are_numbered_and_timed_after_a_fixed_text():
    async with client_on(Scripted(completion('{"1": [], "2": [], "3": []}'))) as (
        client,
        server,
    ):
        await client.ask(question((), ()))
        await client.ask(question((), (), ()))
        two, three = server.received
    assert two["messages"][0] == three["messages"][0]
    parts = three["messages"][1]["content"]
    assert [part["type"] for part in parts] == ["text", "image_url"] * 3 + ["text"]
    *numbers, line = [part["text"] for part in parts if part["type"] == "text"]
    assert numbers == [
        "Picture 1, at 0:01:00.0:",
        "Picture 2, at 0:01:01.0:",
        "Picture 3, at 0:01:02.0:",
    ]
    assert line.startswith("Which tags does each of these 3 pictures show? Answer in JSON")
    schema = three["response_format"]["json_schema"]["schema"]
    assert schema["required"] == ["1", "2", "3"]
    assert schema["properties"]["3"]["items"]["enum"] == list(TAGS)
    assert three["max_tokens"] >= two["max_tokens"]


@pytest.mark.parametrize("profile", [Profile.PLAIN, Profile.VLLM, Profile.OLLAMA])
async def test_a_server_for_one_picture_is_asked_one_by_one_for_good(profile, caplog):
    caplog.set_level(logging.INFO)

    async with client_on(Behaviour(profile=profile, most_pictures=1)) as (client, vlm):
        first = await client.ask(question(*SHOWN))
        received = vlm.counters.requests
        second = await client.ask(question(*SHOWN))
        again = vlm.counters.requests - received
    assert present(first) == present(second) == FOUND
    assert (first.calls, received, again) == (4, 5, 4)
    assert "court: it does not take several pictures; asking without from now on" in caplog.messages


@pytest.mark.parametrize("is_told", [True, False])
async def test_one_by_one_the_cached_tokens_and_times_are_added_up(is_told):
    timings = {
        "cache_n": 90,
        "prompt_n": 40,
        "prompt_ms": 250,
        "predicted_n": 7,
        "predicted_ms": 125,
    }
    told = {"timings": timings} if is_told else {}

    def script(body):
        if str(body).count("image_url") > 2:
            return 400, {"error": "multiple images are not supported"}
        return {**GOOD, **told}

    async with client_on(Scripted(script)) as (client, _):
        answer = await client.ask(question(*SHOWN[:3]))
    assert answer.cached_tokens == (270 if is_told else None)
    assert answer.timings == (ServerTimings(0.75, 120, 0.375, 21) if is_told else None)


@pytest.mark.parametrize(
    "profile", [Profile.LLAMA_CPP, Profile.OLLAMA], ids=["refuses", "cuts off silently"]
)
async def test_pictures_too_many_for_the_context_are_asked_singly(profile):
    async with client_on(Behaviour(profile=profile, context_tokens=700)) as (client, _):
        answer = await client.ask(question(*SHOWN * 2))
    assert present(answer) == FOUND * 2


@pytest.mark.parametrize(
    "words",
    ["multiple images are not supported", "Only one image per message is supported by this model"],
)
async def test_a_server_for_one_picture_does_not_count_as_blind(words):
    def script(body):
        several = str(body["messages"][-1]).count("'image_url'") > 2
        return (400, {"error": words}) if several else GOOD

    async with client_on(Scripted(script)) as (client, _):
        answer = await client.ask(question((), ()))
    assert present(answer) == [["Foul"], ["Foul"]]


async def test_a_blind_server_still_counts_as_blind():
    async with client_on(Scripted((500, {"error": "image input is not supported"}))) as (
        client,
        server,
    ):
        with pytest.raises(NoVisionError):
            await client.ask(question((), ()))
    assert len(server.received) == 1


def replies(*contents):
    """Return a script of these contents, (content, finish reason) or (status, body) in turn."""
    left = iter(contents)

    def script(_):
        content = next(left)
        if isinstance(content, str):
            return completion(content)
        return content if isinstance(content[0], int) else completion(*content)

    return script


@pytest.mark.parametrize(
    ("contents", "found", "requests"),
    [
        (['{"1": ["Foul"], "3": []}', '{"tags": ["Turnover"]}'], [["Foul"], ["Turnover"], []], 2),
        (
            [('{"1": ["Foul"], "2": [], "3": ["Tur', "length"), '{"tags": ["Turnover"]}'],
            [["Foul"], [], ["Turnover"]],
            2,
        ),
        (['{"3": []}', '{"1": ["Foul"], "2": ["Turnover"]}'], [["Foul"], ["Turnover"], []], 2),
        (['{"3": []}', '{"2": ["Turnover"]}'], [None, ["Turnover"], []], 2),
        (['{"1": ["Foul"]}', "Well."], [["Foul"], None, None], 2),
        (['{"1": ["Foul"]}', (500, {"error": "out of memory"})], [["Foul"], None, None], 2),
        (["Well.", '{"1": ["Foul"], "2": [], "3": []}'], [["Foul"], [], []], 2),
        (["Well.", '{"1": ["Foul"]}', '{"1": [], "2": []}'], [["Foul"], [], []], 3),
    ],
)
async def test_only_what_a_reply_leaves_open_is_asked_again(contents, found, requests):
    async with client_on(Scripted(replies(*contents))) as (client, server):
        assert present(await client.ask(question(*NONE_SHOWN))) == found
    assert len(server.received) == requests


async def test_a_reply_that_says_nothing_twice_is_unreadable():
    async with client_on(Scripted(replies("Well.", "Well."))) as (client, server):
        with pytest.raises(ReplyError):
            await client.ask(question((), ()))
    assert len(server.received) == 2


async def test_answers_before_a_failure_are_kept():
    script = replies('{"tags": ["Foul"]}', (429, {"error": "slow down"}))
    async with client_on(Scripted(script)) as (client, _):
        client._drop_features({Feature.SEVERAL})
        answer = await client.ask(question((), (), ()))
    assert present(answer) == [["Foul"], None, None]


@pytest.mark.parametrize("dropped", [set(), {Feature.SEVERAL}])
@pytest.mark.parametrize(("status", "error"), [(429, BusyError), (500, ServerError)])
async def test_a_failure_before_the_first_answer_is_raised(status, error, dropped):
    async with client_on(Scripted((status, {"error": "out of memory"}))) as (client, _):
        client._drop_features(dropped)
        with pytest.raises(error):
            await client.ask(question((), ()))


async def test_an_unreadable_picture_asked_singly_spoils_only_itself():
    async with client_on(Behaviour()) as (client, _):
        good = question(("Foul",), (), ("Turnover",))
        spoilt = replace(good, more=(replace(good.more[0], jpeg=b"no picture"), good.more[1]))
        with pytest.raises(RequestError, match="cannot read the picture"):
            await client.ask(spoilt)
        client._drop_features({Feature.SEVERAL})
        answer = await client.ask(spoilt)
    assert present(answer) == [["Foul"], None, ["Turnover"]]


async def test_a_reply_that_is_cut_off_counts_as_one_more_call():
    behaviour = Behaviour(fault=Fault.TRUNCATED, fault_requests=1)
    async with client_on(behaviour) as (client, vlm):
        answer = await client.ask(question(*SHOWN))
    assert present(answer) == FOUND
    assert (answer.calls, answer.answer_tokens) == (2, vlm.counters.answer_tokens)


async def test_an_answer_about_several_pictures_has_one_model():
    whole, rest = '{"1": ["Foul"], "3": []}', '{"1": [], "2": []}'
    script = replies(
        (200, completion(whole, model="one-7b")), (200, completion(rest, model="two-7b"))
    )
    async with client_on(Scripted(script)) as (client, _):
        answer = await client.ask(question(*SHOWN))
    assert answer.model == "one-7b"
    assert present(answer) == [["Foul"], None, [], None]
