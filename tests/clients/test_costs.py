"""Costs of questions over HTTP: seconds of answers, costs of a pool, and a warning."""

import asyncio
import logging
import time

import pytest

from tests.clients.helpers import at, client_on, jpeg, pool_on, question, warnings
from vlm_engine.clients import EndpointPool
from vlm_engine.clients.member import Servers
from vlm_engine.clients.pricing import PriceLearner
from vlm_engine.config.models import ModelConfig
from vlm_engine.errors import ReplyError
from vlm_engine.testing import Behaviour, Fault, SandboxVLM
from vlm_engine.types import Form, Question, QuestionCost

TAGS = ("Basketball point", "Foul", "Break-away", "Turnover")
SMALL, FULL = (256, 144), (512, 288)
CAREFUL = Behaviour(latency_s=0.004, picture_token_s=0.0002, answer_token_s=0.001, slots=1)


def sized(size, form=Form.LIST, number=0):
    picture = jpeg(TAGS[: number % 3], number, *size)
    return Question(TAGS, form, picture, pixels=size[0] * size[1])


async def ask_some(client, number=30):
    """Ask about small and large pictures, for lists and for verdicts."""
    return [
        await client.ask(
            sized((SMALL, FULL)[count % 2], (Form.LIST, Form.VERDICTS)[count % 3 == 0], count)
        )
        for count in range(number)
    ]


async def test_large_pictures_and_long_answers_are_found_to_cost_more():
    async with client_on(CAREFUL) as (client, _):
        answers = await ask_some(client)
        small, large = (client.question_cost(width * height) for width, height in (SMALL, FULL))
    assert all(answer.seconds > 0.004 for answer in answers)
    assert large.picture_s > 2 * small.picture_s
    assert small.answer_token_s > 0.0002
    assert small.call_s + small.picture_s > 0.004


async def test_seconds_of_answers_add_up_to_the_time_of_the_endpoint():
    async with pool_on(at(Behaviour(latency_s=0.02, slots=4), max_concurrent=4)) as (pool, _):
        started = time.monotonic()
        answers = await asyncio.gather(*(pool.ask(sized(SMALL, number=n)) for n in range(20)))
        passed_s = time.monotonic() - started
        stats = pool.stats()["court"]
    assert sum(answer.seconds for answer in answers) == pytest.approx(stats.busy_s)
    assert stats.busy_s <= passed_s  # four share the time
    assert stats.cost is not None


async def test_models_on_one_server_share_its_time():
    servers, loop = Servers(), asyncio.get_running_loop()
    async with SandboxVLM(Behaviour(latency_s=0.02, slots=2)) as vlm:
        endpoint = {"base_url": vlm.url, "name": "court", "max_concurrent": 2}
        model = ModelConfig(multiplexer_endpoints=[endpoint], model_id="sandbox-vlm")
        pools = [EndpointPool.from_config(model, servers) for _ in range(2)]
        began = loop.time()
        answers = await asyncio.gather(
            *(pool.ask(sized(SMALL, number=n)) for n in range(10) for pool in pools)
        )
        took_s = loop.time() - began
        busy_s = sum(pool.stats()["court"].busy_s for pool in pools)
        for pool in pools:
            await pool.aclose()
    assert sum(answer.seconds for answer in answers) == pytest.approx(busy_s)
    assert busy_s <= took_s


async def test_a_pool_has_the_mean_cost_of_its_endpoints():
    quick, slow = Behaviour(latency_s=0.002, slots=1), Behaviour(latency_s=0.04, slots=1)
    async with pool_on(at(quick, "quick"), at(slow, "slow")) as (pool, *_):
        assert pool.question_cost(512 * 288) == PriceLearner().cost(512 * 288)
        await asyncio.gather(*(pool.ask(sized(SMALL, number=n)) for n in range(60)))
        cost, stats = pool.question_cost(256 * 144), pool.stats()
    costs = [each.cost for each in stats.values() if each.cost]
    assert min(each.call_s for each in costs) <= cost.call_s <= max(each.call_s for each in costs)
    assert cost != QuestionCost()


async def test_an_unusable_reply_says_what_it_took():
    async with client_on(Behaviour(fault=Fault.GARBAGE)) as (client, _):
        with pytest.raises(ReplyError) as caught:
            await client.ask(question("Foul"))
    assert caught.value.seconds > 0


async def test_pictures_that_take_very_long_are_warned_of_once(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("vlm_engine.clients.openai._SLOW_PICTURE_S", 0.02)
    async with client_on(Behaviour(picture_token_s=0.0005)) as (client, _):
        await ask_some(client, 12)
    (warning,) = warnings(caplog)
    assert warning.startswith("court: a picture takes 0 s; vision seems to run on the processor")
