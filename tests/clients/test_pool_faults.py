"""Random faults, from seeds: every question ends once, and nothing is left behind."""

import asyncio
import gc
import random
from collections import Counter

import pytest

from tests.clients.helpers import TAGS, at, numbered, pool_on, present, question, until
from vlm_engine.errors import NoEndpointError, ReplyError, RequestError, ServerError, TimedOutError
from vlm_engine.testing import Behaviour, Fault
from vlm_engine.types import Answer

BLOCK = 12
QUESTIONS = 10
LIMIT_S = 60.0
PASSING = [fault for fault in Fault if fault is not Fault.NONE]


def drawn_endpoint(draw, number):
    """Return an endpoint that is likely to fail some of its first requests."""
    behaviour = Behaviour(
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
    return at(
        behaviour,
        max_concurrent=draw.choice([1, 2, 4, "auto"]),
        weight=draw.choice([0.2, 1, 5]),
        is_fallback=number > 0 and draw.random() < 0.3,
    )


async def mischief(draw, vlms):
    """Stop and start servers, and change their faults."""
    for _ in range(draw.randint(0, 4)):
        await asyncio.sleep(draw.uniform(0, 0.05))
        vlm = draw.choice(vlms)
        vlm.stop()
        vlm.behaviour.fault, vlm.behaviour.fault_requests = draw.choice(PASSING), draw.randint(0, 3)
        if draw.random() < 0.85:
            await asyncio.sleep(draw.uniform(0, 0.1))
            vlm.start()


async def outcome(draw, pool, number):
    """Ask, perhaps cancel, and return the type of the outcome."""
    await asyncio.sleep(draw.uniform(0, 0.05))
    unreadable = draw.random() < 0.05
    sent = question(picture=b"no picture") if unreadable else numbered(number)
    asking = asyncio.ensure_future(pool.ask(sent))
    if draw.random() < 0.1:
        await asyncio.sleep(draw.uniform(0, 0.03))
        asking.cancel()
    (ended,) = await asyncio.gather(asking, return_exceptions=True)
    if isinstance(ended, Answer):
        assert present(ended) == [TAGS[number % 4]]
    return type(ended)


async def run_schedule(seed):
    draw = random.Random(seed)
    endpoints = [drawn_endpoint(draw, number) for number in range(draw.randint(1, 3))]
    async with pool_on(
        *endpoints,
        patience_s=2.0,
        request_timeout=1.0,
        max_concurrent_requests=draw.choice([None, None, 2]),
        limit_s=LIMIT_S,
    ) as (pool, *vlms):
        making = asyncio.ensure_future(mischief(random.Random(seed), vlms))
        ended = await asyncio.gather(
            *(outcome(random.Random(f"{seed} {n}"), pool, n) for n in range(QUESTIONS))
        )
        await making
        await until(lambda: not any(stats.in_flight for stats in pool.stats().values()))
        assert sum(stats.served for stats in pool.stats().values()) >= ended.count(Answer)
        assert not any(len(queue) for queue in pool._patience)
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


@pytest.mark.parametrize(
    "block", [0, *(pytest.param(n, marks=pytest.mark.thorough) for n in range(1, 17))]
)
async def test_every_question_ends_once_whatever_happens(block):
    seeds = range(block * BLOCK, (block + 1) * BLOCK)
    outcomes = await asyncio.gather(*(run_schedule(seed) for seed in seeds))
    assert [task for task in asyncio.all_tasks() if "vlm_engine" in repr(task)] == []
    gc.collect()  # an unclosed session would warn now
    for seed, ended in zip(seeds, outcomes, strict=True):
        assert ended.total() == QUESTIONS and ended.keys() <= ENDINGS, seed
    together = sum(outcomes, Counter())
    assert together[Answer] > 0.3 * together.total()
    assert len(together) >= 3
