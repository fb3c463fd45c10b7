"""Each way to be unsound does what its name says, beside every server and several pictures."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import astuple
from typing import Any

import aiohttp
import pytest

from vlm_engine import reply
from vlm_engine.checkup.cards import CARD_TAGS, CARDS, card_model
from vlm_engine.clients.request import Bodies, Feature, RequestOptions
from vlm_engine.config.models import ModelConfig
from vlm_engine.errors import ReplyError
from vlm_engine.testing import MODEL, UNSOUND, Behaviour, Profile, SandboxVLM, Sight
from vlm_engine.testing.sight import REFUSAL
from vlm_engine.types import Form, Frame, Question, ServerTimings

PATIENCE_S = 30
BODIES = Bodies(card_model(ModelConfig(tag_list=["Foul"])))
STRICT = frozenset(Feature)
FREE = STRICT - {Feature.SCHEMA}
Reply = dict[str, Any]


def about(*numbers: int, width: int = 512, form: Form = Form.LIST) -> Question:
    """Return the question about these cards in one request."""
    first, *rest = (CARDS[number].question(form, width) for number in numbers)
    if not rest:
        return first
    height = width * 9 // 16
    more = tuple(Frame(float(n), width, height, one.jpeg) for n, one in enumerate(rest, 1))
    return Question(CARD_TAGS, form, first.jpeg, time_s=0.0, more=more, pixels=first.pixels)


class Asker:
    """Sends the product's own requests to a server, and returns its replies as they come."""

    def __init__(self, vlm: SandboxVLM, session: aiohttp.ClientSession) -> None:
        self.vlm, self._session = vlm, session

    async def ask(
        self, question: Question, features: frozenset[Feature] = STRICT, budget: int = 256
    ) -> Reply:
        data = BODIES.encoded(question, MODEL, RequestOptions(features, budget))
        headers = {"Content-Type": "application/json"}
        url = f"{self.vlm.url}/chat/completions"
        async with self._session.post(url, data=data, headers=headers) as response:
            assert response.status == 200, await response.text()
            found: Reply = await response.json()
            return found

    async def see(self, *numbers: int, **more: Any) -> list[set[str]]:
        """Return the tags that the server names for each of these cards, asked about at once."""
        question = about(*numbers, **more)
        return [*map(named, reply_to(await self.ask(question), question))]


def reply_to(body: Reply, question: Question) -> Sequence[reply.reading.Verdicts]:
    read = reply.read(body, question)
    return (read.verdicts, *read.more)


def named(verdicts: reply.reading.Verdicts) -> set[str]:
    return {tag for tag, verdict in verdicts.items() if verdict.present}


@asynccontextmanager
async def asker(**behaviour: Any) -> AsyncIterator[Asker]:
    timeout = aiohttp.ClientTimeout(PATIENCE_S)
    async with (
        SandboxVLM(Behaviour(**behaviour)) as vlm,
        aiohttp.ClientSession(timeout=timeout) as session,
    ):
        yield Asker(vlm, session)


def tags(*numbers: int) -> list[set[str]]:
    return [{*CARDS[number].tags} for number in numbers]


def content(body: Reply) -> Any:
    return body["choices"][0]["message"]["content"]


@pytest.mark.parametrize("profile", Profile)
async def test_a_sound_server_sees_every_card(profile):
    async with asker(profile=profile) as server:
        for form in (Form.LIST, Form.VERDICTS, Form.NAMES):
            seen = [await server.see(card.number, form=form) for card in CARDS]
            assert seen == [tags(card.number) for card in CARDS]
        assert await server.see(4, 0, 2) == tags(4, 0, 2)
        assert server.vlm.counters.frame_numbers == []


async def test_errors_about_cards_come_at_their_rates():
    missed, added = list[bool](), list[bool]()
    by_tag: dict[tuple[int, str], set[bool]] = {}
    async with asker(miss_rate=0.3, false_alarm_rate=0.1) as server:
        for seed, card in itertools.product(range(12), CARDS):
            server.vlm.behaviour.seed = seed
            (seen,) = await server.see(card.number, width=256)
            missed += [tag not in seen for tag in card.tags]
            added += [tag in seen for tag in {*CARD_TAGS} - card.tags]
            for tag in card.tags:
                by_tag.setdefault((seed, tag), set()).add(tag in seen)
    assert 0.2 < sum(missed) / len(missed) < 0.4
    assert 0.05 < sum(added) / len(added) < 0.15
    assert {True, False} in by_tag.values(), "a tag missed on one card is missed on all of them"


@pytest.mark.parametrize("always", [(), ("Red circle", "Grey moon")])
@pytest.mark.parametrize("kind", ["blind", "dropped"])
async def test_answers_of_the_blind_do_not_depend_on_pictures(kind, always):
    async with asker(**UNSOUND[kind], always_sees=always) as server:
        seen = [await server.see(card.number) for card in CARDS]
        assert seen == [[{*always}]] * len(CARDS)
        assert await server.see(0, 1, 2) == [{*always}] * 3


@pytest.mark.parametrize(("kind", "grows"), [("blind", True), ("dropped", False)])
async def test_tokens_grow_only_with_pictures_that_are_read(kind, grows):
    async with asker(**UNSOUND[kind]) as server:
        small, large = [
            (await server.ask(about(0, width=width)))["usage"]["prompt_tokens"]
            for width in (512, 1024)
        ]
    assert (large > small + 300) == grows
    assert (large == small) != grows


async def test_a_stale_server_answers_about_the_request_before():
    async with asker(**UNSOUND["stale"]) as server:
        seen = [await server.see(number) for number in (3, 0, 4)]
        assert seen == [[set()], *map(tags, (3, 0))]
        assert await server.see(1, 2) == [*tags(4), set()]
        assert await server.see(5, 6, 7) == [*tags(1, 2), set()]


async def begun_at_once(server: Asker, *questions: Question) -> list[list[set[str]]]:
    """Return what is seen by requests that wait until all of them are there."""
    slots, server.vlm.behaviour.slots = server.vlm.behaviour.slots, 0
    asking = [asyncio.create_task(server.ask(question)) for question in questions]
    while server.vlm.counters.in_flight < len(questions):  # counters announce nothing
        await asyncio.sleep(0.005)
    server.vlm.behaviour.slots = slots
    replies = await asyncio.gather(*asking)
    pairs = zip(replies, questions, strict=True)
    return [[*map(named, reply_to(body, question))] for body, question in pairs]


@pytest.mark.parametrize("slots", [2, 4, 16])
async def test_a_swapping_server_mixes_up_what_it_does_at_once(slots):
    async with asker(**UNSOUND["swapping"], slots=slots, latency_s=0.3) as server:
        cards = CARDS[:slots]
        seen = await begun_at_once(server, *(about(card.number) for card in cards))
        answered = [frozenset(found) for (found,) in seen]
        assert not [card for card, found in zip(cards, answered, strict=True) if found == card.tags]
        assert {*answered} == {card.tags for card in cards}


async def test_a_swapping_server_is_right_about_one_at_a_time():
    async with asker(**UNSOUND["swapping"]) as server:
        assert [await server.see(number) for number in (0, 1)] == [*map(tags, (0, 1))]
        assert await server.see(2, 3) == tags(2, 3)
        server.vlm.behaviour.slots = 1
        seen = await begun_at_once(server, about(0), about(1), about(2))
        assert seen == [*map(tags, range(3))]


async def test_requests_that_are_sent_at_once_are_swapped():
    right, swapped = [*map(tags, (0, 1))], [*map(tags, (1, 0))]
    async with asker(**UNSOUND["swapping"]) as server:
        for _ in range(5):
            seen = await asyncio.gather(server.see(0), server.see(1))
            if seen == swapped:
                break
            assert seen == right  # the second one was late
    assert seen == swapped


async def test_about_several_pictures_answers_are_swapped_whole():
    async with asker(**UNSOUND["swapping"], latency_s=0.3) as server:
        first, second = await begun_at_once(server, about(0), about(1, 2))
    assert first == tags(1)
    assert second == [*tags(0), set()]


async def test_reduced_pictures_cost_what_small_ones_do():
    async with asker(**UNSOUND["shrinking"]) as server:
        small, wide, wider = [
            (await server.ask(about(0, width=width)))["usage"]["prompt_tokens"]
            for width in (256, 512, 2048)
        ]
        assert small + 100 < wide == wider
        assert await server.see(1, width=2048) == tags(1)


async def test_small_pictures_cost_the_least_number_of_tokens():
    async with asker(**UNSOUND["enlarging"]) as server:
        small, usual, large = [
            (await server.ask(about(0, width=width)))["usage"]["prompt_tokens"]
            for width in (256, 512, 2048)
        ]
    assert small == usual > 1024
    assert large > 2500


THINKING = [profile for profile in Profile if profile is not Profile.LM_STUDIO]


@pytest.mark.parametrize("profile", THINKING)
async def test_short_thoughts_are_followed_by_the_answer(profile):
    async with asker(profile=profile) as server:
        without = (await server.ask(about(0)))["usage"]["completion_tokens"]
        server.vlm.behaviour.thought_tokens = 120
        body = await server.ask(about(0))
    message = body["choices"][0]["message"]
    assert [*map(named, reply_to(body, about(0)))] == tags(0)
    assert len(message.get("reasoning_content") or message["reasoning"]) == 480
    assert body["usage"]["completion_tokens"] == without + 120


@pytest.mark.parametrize("profile", Profile)
async def test_endless_thoughts_use_up_every_budget(profile):
    async with asker(**UNSOUND["overthinking"], profile=profile) as server:
        for budget in (64, 1024):
            body = await server.ask(about(0), budget=budget)
            message = body["choices"][0]["message"]
            assert message["content"] == ""
            assert len(message.get("reasoning_content") or message["reasoning"]) == 4 * budget
            assert body["choices"][0]["finish_reason"] == "length"
            assert body["usage"]["completion_tokens"] == budget


async def test_lm_studio_files_the_answer_with_the_thoughts():
    async with asker(**UNSOUND["thinking"], profile=Profile.LM_STUDIO) as server:
        body = await server.ask(about(0))
        assert (content(body), body["usage"]["completion_tokens"] > 120) == ("", True)
        assert [*map(named, reply_to(body, about(0)))] == tags(0)
        free = await server.ask(about(0), FREE)
        assert content(free).startswith("```json")


@pytest.mark.parametrize("features", [STRICT, FREE], ids=["schema", "no schema"])
@pytest.mark.parametrize("profile", Profile)
async def test_a_refusal_is_text_a_field_or_a_filter(profile, features):
    async with asker(profile=profile) as server:
        found = []
        for sight in (Sight.REFUSING, Sight.REFUSAL_FIELD, Sight.FILTERED):
            server.vlm.behaviour.sight = sight
            (choice,) = (await server.ask(about(0), features))["choices"]
            message = choice["message"]
            found.append((message["content"], message.get("refusal"), choice["finish_reason"]))
    assert found == [
        (REFUSAL, None, "stop"),
        (None, REFUSAL, "stop"),
        ("", None, "content_filter"),
    ]


@pytest.mark.parametrize("features", [STRICT, FREE], ids=["schema", "no schema"])
@pytest.mark.parametrize("profile", Profile)
async def test_gibberish_is_random_and_never_an_answer(profile, features):
    async with asker(**UNSOUND["gibberish"], profile=profile) as server:
        bodies = [await server.ask(about(card.number), features) for card in CARDS]
        again = await server.ask(about(0), features)
    assert len({*map(content, bodies)}) == len(CARDS)
    assert content(again) == content(bodies[0])
    assert {body["choices"][0]["finish_reason"] for body in bodies} == {"stop", "length"}
    for body, card in zip(bodies, CARDS, strict=True):
        with pytest.raises(ReplyError):
            reply.read(body, card.question())


@pytest.mark.parametrize("profile", Profile)
async def test_a_reply_may_name_another_model(profile):
    async with asker(profile=profile) as server:
        assert (await server.ask(about(0)))["model"] == MODEL
        server.vlm.behaviour.answers_as = "another-vlm"
        body = await server.ask(about(0))
    assert body["model"] == "another-vlm"
    assert [*map(named, reply_to(body, about(0)))] == tags(0)


@pytest.mark.parametrize("profile", Profile)
async def test_only_llama_cpp_tells_its_cache_and_times(profile):
    questions = [about(0), about(1), Question(("Foul", "Goal"), Form.LIST, about(0).jpeg)]
    async with asker(profile=profile, picture_token_s=1e-5, answer_token_s=1e-4) as server:
        read = [reply.read(await server.ask(question), question) for question in questions]
    if profile not in (Profile.LLAMA_CPP, Profile.LITELLM):
        assert [(one.cached_tokens, one.timings) for one in read] == [(None, None)] * 3
        return
    assert [one.cached_tokens > 50 for one in read] == [False, True, False]
    for one in read:
        picture_s, answer_s = 1e-5 * round(512 * 288 / 784), 1e-4 * one.answer_tokens
        read_tokens = one.prompt_tokens - one.cached_tokens
        times = ServerTimings(picture_s, read_tokens, answer_s, one.answer_tokens)
        assert astuple(one.timings) == pytest.approx(astuple(times))


def test_no_two_names_make_the_same_server():
    made = [repr(Behaviour(**settings)) for settings in UNSOUND.values()]
    assert len({*made, repr(Behaviour())}) == len(UNSOUND) + 1


@pytest.mark.parametrize("kind", UNSOUND)
async def test_every_kind_works_in_slots(kind):
    async with asker(**UNSOUND[kind], slots=2, latency_s=0.01) as server:
        await asyncio.gather(*(server.ask(about(number)) for number in range(4)))
        assert (server.vlm.counters.answered, server.vlm.counters.failed) == (4, {})
