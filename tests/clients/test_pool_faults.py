"""Random faults, from seeds: whatever the endpoints do, every question ends once, and nothing is left behind."""

import asyncio
import gc
import io
import random
from collections import Counter
from contextlib import AsyncExitStack
from functools import cache

import pytest

from vlm_engine.clients import EndpointPool
from vlm_engine.config.models import ModelConfig
from vlm_engine.errors import NoEndpointError, ReplyError, RequestError, ServerError, TimedOutError
from vlm_engine.testing import Behaviour, Fault, SandboxVLM, glyphs
from vlm_engine.types import Answer, Form, Question

TAGS = ("Basketball point", "Foul", "Break-away", "Turnover")
SCHEDULES, BLOCKS = 200, 8
QUESTIONS = 10
LIMIT_S = 60.0
PASSING = [fault for fault in Fault if fault is not Fault.NONE]


@cache
def jpeg(number):
    file = io.BytesIO()
    glyphs.picture([TAGS[number % 4]], 205, 140, number).save(file, "JPEG", quality=90)
    return file.getvalue()


def behaviour(draw):
    """An endpoint that is likely to do something odd to some of its first requests."""
    return Behaviour(
        latency_s=draw.choice([0.0, 0.002, 0.01]),
        slots=draw.randint(1, 4),
        fault=draw.choice([Fault.NONE, *PASSING]),
        fault_requests=draw.randint(1, 3),
        fault_share=draw.choice([0.4, 1.0]),
        retry_after_s=0.5,
        api_key="another" if draw.random() < 0.08 else "",
        models=("referee-7b",) if draw.random() < 0.08 else ("sandbox-vlm",),
        vision=draw.random() > 0.1,
    )


def pool_before(draw, vlms):
    endpoints = [
        {
            "base_url": vlm.url,
            "name": f"court {number}",
            "max_concurrent": draw.choice([1, 2, 4, "auto"]),
            "weight": draw.choice([0.2, 1, 5]),
            "is_fallback": number > 0 and draw.random() < 0.3,
        }
        for number, vlm in enumerate(vlms)
    ]
    settings = {
        "request_timeout": 1.0,
        "endpoint_patience": 2.0,
        "max_concurrent_requests": draw.choice([None, None, 2]),
    }
    return EndpointPool.from_config(
        ModelConfig(model_id="sandbox-vlm", multiplexer_endpoints=endpoints, **settings)
    )


async def mischief(draw, vlms):
    """Servers stop, start and change their minds."""
    for _ in range(draw.randint(0, 4)):
        await asyncio.sleep(draw.uniform(0, 0.05))
        vlm = draw.choice(vlms)
        vlm.stop()
        vlm.behaviour.fault, vlm.behaviour.fault_requests = draw.choice(PASSING), draw.randint(0, 3)
        if draw.random() < 0.85:
            await asyncio.sleep(draw.uniform(0, 0.1))
            vlm.start()


async def outcome(draw, pool, number):
    """What became of one question: its answer, the error, or that it was no longer wanted."""
    await asyncio.sleep(draw.uniform(0, 0.05))
    picture = b"no picture" if draw.random() < 0.05 else jpeg(number)
    asking = asyncio.ensure_future(pool.ask(Question(TAGS, Form.LIST, picture)))
    if draw.random() < 0.1:
        await asyncio.sleep(draw.uniform(0, 0.03))
        asking.cancel()
    (ended,) = await asyncio.gather(asking, return_exceptions=True)
    if isinstance(ended, Answer):
        assert [tag for tag, verdict in ended.verdicts.items() if verdict.present] == [
            TAGS[number % 4]
        ]
    return type(ended)


async def run_schedule(seed):
    draw = random.Random(seed)
    async with AsyncExitStack() as stack:
        vlms = [
            await stack.enter_async_context(SandboxVLM(behaviour(draw)))
            for _ in range(draw.randint(1, 3))
        ]
        pool = pool_before(draw, vlms)
        making = asyncio.ensure_future(mischief(random.Random(seed), vlms))
        ended = await asyncio.gather(
            *(outcome(random.Random(f"{seed} {n}"), pool, n) for n in range(QUESTIONS))
        )
        await making
        while any(stats.in_flight for stats in pool.stats().values()):
            await asyncio.sleep(0.001)
        assert sum(stats.served for stats in pool.stats().values()) >= ended.count(Answer)
        assert not any(len(line) for line in pool._patience)
        await pool.aclose()
    return Counter(ended)


ENDINGS = {
    Answer,
    asyncio.CancelledError,
    NoEndpointError,
    RequestError,
    ReplyError,
    ServerError,
    TimedOutError,
}


@pytest.mark.parametrize("block", range(BLOCKS))
def test_every_question_ends_once_whatever_the_endpoints_do(block):
    seeds = range(block, SCHEDULES, BLOCKS)

    async def main():
        async with asyncio.timeout(LIMIT_S):
            told = await asyncio.gather(*(run_schedule(seed) for seed in seeds))
        assert [task for task in asyncio.all_tasks() if "vlm_engine" in repr(task)] == []
        return told

    told = dict(zip(seeds, asyncio.run(main()), strict=True))
    gc.collect()  # an unclosed session would complain now
    odd = {
        seed: ended
        for seed, ended in told.items()
        if ended.total() != QUESTIONS or not ended.keys() <= ENDINGS
    }
    assert odd == {}
    together = sum(told.values(), Counter())
    assert together[Answer] > 0.3 * together.total()
    assert len(together) >= 3
