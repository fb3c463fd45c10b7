"""Several frames in one question: to servers of all kinds, and back as verdicts on each."""

import asyncio
import io
import logging
from functools import cache

import pytest

from tests.clients.test_openai import Scripted, client_of, completion
from vlm_engine.clients.request import Feature
from vlm_engine.errors import BusyError, NoVisionError, ReplyError, RequestError, ServerError
from vlm_engine.testing import Behaviour, Fault, Profile, SandboxVLM, glyphs
from vlm_engine.types import Form, Frame, Question

TAGS = ("Basketball point", "Foul", "Break-away", "Turnover")
SHOWN = (("Foul",), (), ("Turnover", "Basketball point"), ("Break-away",))
FOUND = [["Foul"], [], ["Basketball point", "Turnover"], ["Break-away"]]


@cache
def jpeg(tags, number):
    file = io.BytesIO()
    glyphs.picture(tags, 410, 280, number).save(file, "JPEG", quality=90)
    return file.getvalue()


def question(*shown, tags=TAGS):
    frames = [Frame(60.0 + number, 410, 280, jpeg(own, number)) for number, own in enumerate(shown)]
    return Question(
        tags, Form.LIST, frames[0].jpeg, time_s=frames[0].time_s, more=tuple(frames[1:])
    )


def present(answer):
    return [
        [tag for tag, verdict in own.items() if verdict.present] if own else None
        for own in answer.by_picture
    ]


def play(main):
    return asyncio.run(asyncio.wait_for(main(), 30))


@pytest.mark.parametrize("profile", Profile)
@pytest.mark.parametrize("schema", [True, False])
def test_every_picture_gets_its_own_verdicts_from_one_request(profile, schema):
    async def main():
        behaviour = Behaviour(profile=profile, offers_schema=schema)
        async with SandboxVLM(behaviour) as vlm, client_of(vlm.url) as client:
            answer = await client.ask(question(*SHOWN))
            return answer, vlm.counters

    answer, counters = play(main)
    assert present(answer) == FOUND
    assert (answer.calls, counters.answered) == (1, 1)
    assert counters.frame_numbers == [0, 1, 2, 3]
    assert answer.prompt_tokens > counters.image_tokens > 0
    told = [verdict.probability for own in answer.by_picture for verdict in own.values()]
    if profile is Profile.LM_STUDIO:
        assert set(told) == {None}
    else:
        for own in answer.by_picture:
            assert all(
                (verdict.probability if verdict.present else 1 - verdict.probability) > 0.85
                for verdict in own.values()
            )


def test_pictures_are_numbered_and_timed_and_the_text_before_them_does_not_depend_on_their_number():
    async def main():
        async with (
            Scripted(lambda body: (200, completion('{"1": [], "2": [], "3": []}'))) as server,
            client_of(server.url) as client,
        ):
            await client.ask(question((), ()))
            await client.ask(question((), (), ()))
            return server.asked

    two, three = play(main)
    assert two["messages"][0] == three["messages"][0]
    parts = three["messages"][1]["content"]
    assert [part["type"] for part in parts] == ["text", "image_url"] * 3 + ["text"]
    assert [part["text"] for part in parts if part["type"] == "text"] == [
        "Picture 1, at 0:01:00.0:",
        "Picture 2, at 0:01:01.0:",
        "Picture 3, at 0:01:02.0:",
        "Which of the tags does each of these 3 pictures show?",
    ]
    schema = three["response_format"]["json_schema"]["schema"]
    assert schema["required"] == ["1", "2", "3"]
    assert schema["properties"]["3"]["items"]["enum"] == list(TAGS)
    assert three["max_tokens"] >= two["max_tokens"]


@pytest.mark.parametrize("profile", [Profile.PLAIN, Profile.VLLM, Profile.OLLAMA])
def test_a_server_that_takes_one_picture_only_is_asked_one_by_one_and_not_tried_again(
    profile, caplog
):
    caplog.set_level(logging.INFO)

    async def main():
        async with (
            SandboxVLM(Behaviour(profile=profile, most_pictures=1)) as vlm,
            client_of(vlm.url) as client,
        ):
            first = await client.ask(question(*SHOWN))
            asked = vlm.counters.requests
            second = await client.ask(question(*SHOWN))
            return first, second, asked, vlm.counters.requests - asked

    first, second, asked, again = play(main)
    assert present(first) == present(second) == FOUND
    assert (first.calls, asked, again) == (4, 5, 4)
    assert "court: it does not take several pictures; asking without from now on" in caplog.messages


@pytest.mark.parametrize(
    "profile", [Profile.LLAMA_CPP, Profile.OLLAMA], ids=["refuses", "drops in silence"]
)
def test_where_they_do_not_fit_into_the_context_together_they_are_asked_one_by_one(profile):
    async def main():
        async with (
            SandboxVLM(Behaviour(profile=profile, context_tokens=700)) as vlm,
            client_of(vlm.url) as client,
        ):
            return await client.ask(question(*SHOWN * 2))

    assert present(play(main)) == FOUND * 2


@pytest.mark.parametrize(
    "words",
    ["multiple images are not supported", "Only one image per message is supported by this model"],
)
def test_a_server_that_cannot_see_several_is_not_taken_for_blind(words):
    def script(body):
        images = [part for part in body["messages"][-1]["content"] if part["type"] == "image_url"]
        return (
            (400, {"error": words}) if len(images) > 1 else (200, completion('{"tags": ["Foul"]}'))
        )

    async def main():
        async with Scripted(script) as server, client_of(server.url) as client:
            return await client.ask(question((), ()))

    assert present(play(main)) == [["Foul"], ["Foul"]]


def test_a_blind_server_is_still_told_as_one():
    async def main():
        async with (
            Scripted(lambda _: (500, {"error": "image input is not supported"})) as server,
            client_of(server.url) as client,
        ):
            with pytest.raises(NoVisionError):
                await client.ask(question((), ()))
            return len(server.asked)

    assert play(main) == 1


def replies(*contents):
    """A script that answers so, one after the other; (content, finish reason) for one that was cut off."""
    left = list(contents)

    def script(_):
        content = left.pop(0)
        return (
            content
            if isinstance(content[0], int)
            else (200, completion(*([content] if isinstance(content, str) else content)))
        )

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
def test_what_a_reply_leaves_open_is_asked_once_more_and_what_it_said_is_kept(
    contents, found, requests
):
    async def main():
        async with Scripted(replies(*contents)) as server, client_of(server.url) as client:
            return await client.ask(question((), (), ())), len(server.asked)

    answer, asked = play(main)
    assert present(answer) == found
    assert asked == requests


def test_a_reply_that_says_nothing_twice_is_unreadable():
    async def main():
        async with Scripted(replies("Well.", "Well.")) as server, client_of(server.url) as client:
            with pytest.raises(ReplyError):
                await client.ask(question((), ()))
            return len(server.asked)

    assert play(main) == 2


def test_what_was_answered_one_by_one_before_a_failure_is_kept():
    async def main():
        script = replies('{"tags": ["Foul"]}', (429, {"error": "slow down"}))
        async with Scripted(script) as server, client_of(server.url) as client:
            client._drop_features({Feature.SEVERAL})
            return await client.ask(question((), (), ()))

    assert present(play(main)) == [["Foul"], None, None]


@pytest.mark.parametrize(
    ("first", "error"),
    [((429, {"error": "slow down"}), BusyError), ((500, {"error": "out of memory"}), ServerError)],
)
def test_a_failure_before_anything_was_answered_is_told(first, error):
    async def main():
        for give_up in (set(), {Feature.SEVERAL}):
            async with Scripted(replies(first)) as server, client_of(server.url) as client:
                client._drop_features(give_up)
                with pytest.raises(error):
                    await client.ask(question((), ()))

    play(main)


def test_a_picture_that_cannot_be_read_spoils_the_whole_question_and_one_by_one_only_itself():
    async def main():
        async with SandboxVLM() as vlm, client_of(vlm.url) as client:
            spoilt = question(("Foul",), (), ("Turnover",))
            spoilt = Question(
                TAGS, Form.LIST, spoilt.jpeg, more=(Frame(1.0, 8, 8, b"no picture"), spoilt.more[1])
            )
            with pytest.raises(RequestError, match="cannot read the picture"):
                await client.ask(spoilt)
            client._drop_features({Feature.SEVERAL})
            return await client.ask(spoilt)

    assert present(play(main)) == [["Foul"], None, ["Turnover"]]


@pytest.mark.parametrize("fault", [Fault.TRUNCATED, Fault.BLANKS, Fault.GARBAGE])
def test_faults_of_replies_cost_one_more_request(fault):
    async def main():
        async with (
            SandboxVLM(Behaviour(fault=fault, fault_requests=1)) as vlm,
            client_of(vlm.url) as client,
        ):
            return await client.ask(question(*SHOWN)), vlm.counters.requests

    answer, requests = play(main)
    assert present(answer) == FOUND
    assert requests == 2


def test_tokens_and_calls_of_all_requests_are_told():
    async def main():
        async with (
            SandboxVLM(Behaviour(fault=Fault.TRUNCATED, fault_requests=1)) as vlm,
            client_of(vlm.url) as client,
        ):
            return await client.ask(question(*SHOWN)), vlm.counters.answer_tokens

    answer, written = play(main)
    assert answer.calls == 2
    assert answer.answer_tokens == written


def test_an_answer_about_several_pictures_holds_the_words_of_one_model():
    async def main():
        whole, rest = '{"1": ["Foul"], "3": []}', '{"1": [], "2": []}'
        replies = iter(
            [completion(whole) | {"model": "one-7b"}, completion(rest) | {"model": "two-7b"}]
        )
        async with (
            Scripted(lambda _: (200, next(replies))) as server,
            client_of(server.url) as client,
        ):
            return await client.ask(question(*SHOWN))

    answer = play(main)
    assert answer.model == "one-7b"
    assert present(answer) == [["Foul"], None, [], None]
