"""Workers that are killed or paused: results as those of one process, and hardly a question more."""

from __future__ import annotations

import asyncio
import random
import signal

import pytest

from tests.cluster.clusters import as_json, soon, tagging
from vlm_engine.errors import WorkerLostError
from vlm_engine.testing import Behaviour

SLOTS = 8


@pytest.mark.parametrize("pause_s", [4.0, pytest.param(20.0, marks=pytest.mark.thorough)])
async def test_a_killed_and_a_paused_worker_change_no_result(start, videos, alone, store, pause_s):
    there = start("w1", "w2", "w3", threads=2)
    async with tagging(there, Behaviour(slots=SLOTS, latency_s=0.1), store) as (engine, vlm):
        work = asyncio.gather(*map(engine.process_video, videos))
        await soon(lambda: vlm.counters.answered >= alone.questions // 3)
        vlm.behaviour.latency_s = 2.0
        await soon(lambda: vlm.counters.in_flight == SLOTS)  # each worker has some of them
        there.send("w2", signal.SIGSTOP)
        there.kill("w1")
        vlm.behaviour.latency_s = 0.1
        await asyncio.sleep(pause_s)
        there.send("w2", signal.SIGCONT)
        results = await work
    assert [*map(as_json, results)] == alone.results
    assert vlm.counters.failed["abandoned"] > 0
    assert vlm.counters.requests <= alone.questions + SLOTS
    assert vlm.counters.in_flight_max <= SLOTS


async def test_a_file_that_ends_four_workers_is_given_up(start, videos):
    there = start("w0")
    async with tagging(there, Behaviour(slots=SLOTS, latency_s=60.0)) as (engine, vlm):
        work = asyncio.ensure_future(engine.process_video(videos[0]))
        for number in range(4):
            await soon(lambda: vlm.counters.in_flight)
            there.kill(f"w{number}")
            await soon(lambda: not vlm.counters.in_flight)
            there.join(f"w{number + 1}")
        with pytest.raises(WorkerLostError, match="4 workers were lost while they worked on it"):
            await work


async def test_a_file_goes_on_as_long_as_its_workers_get_further(start, videos, alone):
    there, percents = start("w0"), [0]
    async with tagging(there, Behaviour(slots=2, latency_s=0.2)) as (engine, vlm):
        work = asyncio.ensure_future(
            engine.process_video(videos[0], progress_callback=percents.append)
        )
        for number in range(4):
            before = percents[-1]
            await soon(lambda before=before: percents[-1] > before)
            assert not work.done()
            there.kill(f"w{number}")
            there.join(f"w{number + 1}")
        vlm.behaviour.latency_s = 0.0
        assert as_json(await work) == alone.results[0]


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(5))
async def test_workers_that_come_and_go_change_no_result(start, videos, alone, store, seed):
    rng, names = random.Random(seed), ["w0", "w1", "w2"]
    there = start(*names)
    # Dask gives a task up that four lost workers had.
    ends = rng.choices([there.kill, there.leave], k=3)
    async with tagging(there, Behaviour(slots=SLOTS, latency_s=0.2), store) as (engine, vlm):
        work = asyncio.gather(*map(engine.process_video, videos))
        for number, end in enumerate(ends, 3):
            await asyncio.sleep(rng.uniform(0.3, 2))
            place = rng.randrange(3)
            end(names[place])
            names[place] = f"w{number}"
            there.join(names[place])
        async with asyncio.timeout(60):
            results = await work
    assert [*map(as_json, results)] == alone.results
    assert vlm.counters.requests <= alone.questions + len(ends) * SLOTS
    assert vlm.counters.in_flight_max <= SLOTS
