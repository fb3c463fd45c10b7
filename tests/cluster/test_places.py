"""Places for tasks in flight: the largest first, and none is lost."""

from __future__ import annotations

import asyncio
import random

from hypothesis import given
from hypothesis import strategies as st

from vlm_engine.cluster.places import Places


async def test_of_those_who_wait_the_largest_goes_first():
    places, order = Places(lambda: 1), []

    async def work(size):
        async with places.at(size):
            order.append(size)
            await asyncio.sleep(0)

    await asyncio.gather(*map(work, (5, 1, 9, 3, 9, 7)))
    assert order == [5, 9, 9, 7, 3, 1]


async def test_more_places_let_more_in_at_once():
    size, inside, leave = 1, 0, asyncio.Event()
    places = Places(lambda: size)

    async def work():
        nonlocal inside
        async with places.at(1):
            inside += 1
            await leave.wait()

    tasks = [asyncio.create_task(work()) for _ in range(5)]
    await asyncio.sleep(0.01)
    assert inside == 1
    size = 3
    places.admit()
    await asyncio.sleep(0.01)
    assert inside == 3
    leave.set()
    await asyncio.gather(*tasks)
    assert inside == 5


@given(st.integers(0, 10_000), st.integers(1, 4))
async def test_cancelled_tasks_leave_every_place(seed, size):
    rng, places, inside, most = random.Random(seed), Places(lambda: size), 0, 0

    async def work(number):
        nonlocal inside, most
        async with places.at(number):
            inside += 1
            most = max(most, inside)
            try:
                for _ in range(rng.randrange(4)):
                    await asyncio.sleep(0)
            finally:
                inside -= 1

    tasks = [asyncio.create_task(work(number)) for number in range(12)]
    for _ in range(10):
        rng.choice(tasks).cancel()
        for _ in range(rng.randrange(3)):
            await asyncio.sleep(0)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert most <= size

    barrier = asyncio.Barrier(size)

    async def meet():
        async with places.at(1):
            await barrier.wait()

    async with asyncio.timeout(5):
        await asyncio.gather(*(meet() for _ in range(size)))
