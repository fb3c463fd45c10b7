"""The contract between the client and every supported server."""

import asyncio
import io
import logging
from contextlib import asynccontextmanager
from functools import cache

import pytest

from vlm_engine.clients import EndpointPool, OpenAIClient
from vlm_engine.config.models import EndpointConfig, ModelConfig
from vlm_engine.errors import NoVisionError, RequestError, WrongKeyError, WrongModelError
from vlm_engine.testing import Behaviour, SandboxVLM, glyphs
from vlm_engine.types import Form, Frame, Question

TAGS = ("Basketball point", "Foul", "Break-away", "Turnover")
PATIENCE_S = 60


@cache
def jpeg(*visible):
    file = io.BytesIO()
    glyphs.picture(visible, 410, 280).save(file, "JPEG", quality=90)
    return file.getvalue()


def question(*visible, form=Form.LIST, tags=TAGS, picture=None):
    return Question(tags, form, picture or jpeg(*visible))


def endpoint(subject, **more):
    return {"base_url": subject.url, "api_key": subject.key, "name": "court", **more}


@asynccontextmanager
async def client_of(subject, *, model=None, descriptions=None, **more):
    words = {"tag_list": TAGS, "tag_descriptions": descriptions} if descriptions else {}
    config = ModelConfig(model_id=subject.model if model is None else model, **words)
    client = OpenAIClient(EndpointConfig(**endpoint(subject, **more)), config)
    try:
        yield client
    finally:
        await client.aclose()


def play(main, within_s=PATIENCE_S):
    return asyncio.run(asyncio.wait_for(main(), within_s))


def present(answer):
    return [tag for tag, verdict in answer.verdicts.items() if verdict.present]


@pytest.mark.parametrize("form", Form)
async def test_what_is_sent_is_accepted_and_comes_back_as_verdicts(server, form, caplog):
    caplog.set_level(logging.DEBUG, "vlm_engine")

    async with client_of(server.subject) as client:
        answer = await client.ask(question("Foul", "Turnover", form=form))
    assert set(answer.verdicts) == set(TAGS)
    assert answer.prompt_tokens > 0 and answer.answer_tokens > 0
    if server.subject.sees:
        assert present(answer) == ["Foul", "Turnover"]
    if server.subject.sees or form is not Form.NAMES:  # nothing holds a random model to names
        assert "asking" not in caplog.text, "nothing was left out, and nothing asked twice"


async def test_a_confidence_is_never_made_up(server):
    async with client_of(server.subject) as client:
        answer = await client.ask(question("Foul", form=Form.VERDICTS))
    for verdict in answer.verdicts.values():
        assert (verdict.probability is not None) == server.subject.tells_confidence
        if server.subject.sees and server.subject.tells_confidence:
            assert 0.85 < (verdict.probability if verdict.present else 1 - verdict.probability) < 1


async def test_lists_have_a_confidence_for_every_tag(server):
    async with client_of(server.subject) as client:
        answer = await client.ask(question("Foul", "Turnover"))
    found = {tag: verdict.probability for tag, verdict in answer.verdicts.items()}
    if not server.subject.tells_confidence:
        assert set(found.values()) == {None}
    elif server.subject.sees:
        assert {tag for tag, probability in found.items() if probability > 0.85} == {
            "Foul",
            "Turnover",
        }
    else:
        assert all(probability is None or 0 <= probability <= 1 for probability in found.values())


async def test_several_frames_get_their_own_verdicts(server, caplog):
    caplog.set_level(logging.DEBUG, "vlm_engine")
    visible = (("Foul",), (), ("Turnover", "Break-away"))
    frames = tuple(
        Frame(60.0 + number, 410, 280, jpeg(*tags)) for number, tags in enumerate(visible)
    )
    several = Question(TAGS, Form.LIST, frames[0].jpeg, time_s=frames[0].time_s, more=frames[1:])

    async with client_of(server.subject, descriptions={"Foul": "the referee signals"}) as client:
        answer = await client.ask(several)
    assert [set(verdicts) for verdicts in answer.by_picture] == [set(TAGS)] * 3
    assert answer.calls == 1
    assert "asking" not in caplog.text, "all went in one request, and were answered in one"
    sure = [verdict.probability for tags in answer.by_picture for verdict in tags.values()]
    if not server.subject.tells_confidence:
        assert set(sure) == {None}
    if server.subject.sees:
        found = [
            {tag for tag, verdict in tags.items() if verdict.present} for tags in answer.by_picture
        ]
        assert found == [set(tags) for tags in visible]
    else:
        assert all(probability is None or 0 <= probability <= 1 for probability in sure)


async def test_discovery_finds_what_the_server_tells(server):
    subject = server.subject

    async with client_of(subject) as client:
        assert client.slots == 1
        found = await client.discover()
        assert client.slots == (subject.slots or 1)
        assert client.capabilities == found
    async with client_of(subject, max_concurrent=7) as client:
        await client.discover()
        assert client.slots == 7
    async with client_of(subject, model="") as client:
        assert await client.model_name() == subject.model
    assert (found.server, found.model) == (subject.server, subject.model)
    assert subject.model in found.models
    assert (found.slots, found.context_tokens, found.vision) == (
        subject.slots,
        subject.context_tokens,
        subject.vision,
    )
    assert found.finishes_abandoned == subject.finishes_abandoned


@pytest.mark.parametrize("key", ["sk-of-another-league", ""])
async def test_a_wrong_key_is_named_before_a_picture_is_sent(server, key):
    if not server.subject.asks_for_key:
        pytest.skip("it asks for no key")

    async with client_of(server.subject, api_key=key) as client:
        with pytest.raises(WrongKeyError, match="court: it .* api_key of this endpoint") as caught:
            await client.ask(question("Foul"))
        with pytest.raises(WrongKeyError):
            await client.discover()
        assert (
            "did not accept" in str(caught.value)
            if key
            else "it wants an API key" in str(caught.value)
        )
        assert "league" not in str(caught.value)


def test_a_wrong_model_is_named_with_those_there_are(server):
    subject = server.subject

    async def main():
        async with client_of(subject, model="no-such-model") as client:
            if subject.knows_every_model:
                assert set((await client.ask(question("Foul"))).verdicts) == set(TAGS)
                return
            with pytest.raises(
                WrongModelError,
                match=f"'no-such-model'; correct MODEL.*it offers .*{subject.model}",
            ):
                await client.ask(question("Foul"))

    play(main)


async def test_a_model_without_vision_is_named(blind):
    async with client_of(blind.subject) as client:
        with pytest.raises(
            NoVisionError, match="court: its model cannot see pictures; load one that can"
        ):
            await client.ask(question("Foul"))
    if blind.subject.vision is not None and hasattr(blind, "vlm"):
        assert blind.vlm.counters.requests == 0, "it had said so: no picture needed to be sent"


async def test_a_question_too_long_is_refused_and_not_answered(server):
    tags = tuple(
        f"Free throw number {number} of the season, seen from the other side of the court"
        for number in range(900)
    )

    async with client_of(server.subject) as client:
        with pytest.raises(
            RequestError,
            match="does not fit into its context; use smaller pictures or fewer tags",
        ):
            await client.ask(question("Foul", tags=tags))


@pytest.mark.parametrize(
    "picture", [b"no picture", jpeg("Foul")[:100]], ids=["text", "the start of a JPEG"]
)
async def test_a_picture_that_nobody_can_read_is_the_requests_fault(server, picture):
    async with client_of(server.subject) as client:
        with pytest.raises(RequestError, match="cannot read the picture"):
            await client.ask(question(picture=picture))


async def test_more_questions_than_slots_are_all_answered(server):
    async with client_of(server.subject) as client:
        answer = await asyncio.gather(*(client.ask(question("Foul")) for _ in range(12)))
    assert len(answer) == 12


def test_a_server_killed_and_restarted_loses_nothing(server):
    """Its questions go to another endpoint, and it works again when it is back."""

    async def main():
        async with SandboxVLM(
            Behaviour(models=(server.subject.model,), slots=2, latency_s=0.05)
        ) as other:
            endpoints = [endpoint(server.subject), {"base_url": other.url, "name": "bench"}]
            config = ModelConfig(
                model_id=server.subject.model, multiplexer_endpoints=endpoints, request_timeout=60
            )
            pool = EndpointPool.from_config(config)
            try:
                asking = [asyncio.create_task(pool.ask(question("Foul"))) for _ in range(60)]
                await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.to_thread(server.kill)
                await asyncio.sleep(0.2)
                await asyncio.to_thread(server.start)
                assert len(await asyncio.gather(*asking)) == 60
                await answered_by("court", pool)
            finally:
                await pool.aclose()

    play(main, PATIENCE_S + server.subject.starts_in_s)


async def answered_by(name, pool):
    """Ask until the endpoint ``name`` answers, with enough questions for a slow one, too."""
    while all(
        answer.endpoint != name
        for answer in await asyncio.gather(*(pool.ask(question("Foul")) for _ in range(60)))
    ):
        await asyncio.sleep(0.05)
