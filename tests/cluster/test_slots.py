"""Slots of an endpoint that several workers ask: never more than there are, and none left idle."""

from __future__ import annotations

import asyncio

import pytest

from tests.cluster.clusters import as_json, settings, soon, tagging
from vlm_engine.cluster import open_engine
from vlm_engine.testing import Behaviour, SandboxVLM
from vlm_engine.testing.behaviour import Profile

SLOTS = 8


async def test_no_more_questions_than_slots_as_workers_come_and_go(start, videos, alone):
    there = start("w1", "w2")
    async with tagging(there, Behaviour(slots=SLOTS, latency_s=0.15)) as (engine, vlm):
        work = asyncio.gather(*map(engine.process_video, videos))
        await soon(lambda: vlm.counters.in_flight == SLOTS)
        there.join("w3", "w4")
        await soon(lambda: vlm.counters.answered >= alone.questions // 4)
        there.kill("w1")
        there.leave("w2")
        await soon(lambda: vlm.counters.answered >= alone.questions // 2)
        there.kill("w3")
        there.join("w5")
        results = await work
    assert [*map(as_json, results)] == alone.results
    assert vlm.counters.in_flight_max == SLOTS


async def test_the_slots_of_workers_that_left_are_used_again(start, videos):
    there = start("w1", "w2", "w3", "w4")
    async with tagging(there, Behaviour(slots=SLOTS, latency_s=0.5)) as (engine, vlm):
        work = asyncio.gather(*map(engine.process_video, videos))
        await soon(lambda: vlm.counters.answered >= 2 * SLOTS)
        there.kill("w1")
        there.kill("w2")
        there.leave("w3")
        await soon(lambda: vlm.counters.in_flight < SLOTS, 10)
        await soon(lambda: vlm.counters.in_flight == SLOTS, 10)
        vlm.behaviour.latency_s = 0.0
        await work
    assert vlm.counters.in_flight_max == SLOTS


@pytest.mark.parametrize(
    ("slots", "limits"),
    [(2, {}), (16, {"max_concurrent_requests": 2})],
    ids=["of the endpoint", "of the model"],
)
async def test_nobody_starves_with_fewer_slots_than_workers(start, videos, alone, slots, limits):
    there = start("w1", "w2", "w3", "w4", threads=1)
    percents = [0, 0, 0, 0]
    behaviour = Behaviour(slots=slots, latency_s=0.2)
    async with tagging(there, behaviour, model_settings=limits) as (engine, vlm):

        async def tagged(number):
            def take(percent):
                percents[number] = percent

            return await engine.process_video(videos[number], progress_callback=take)

        work = asyncio.gather(*map(tagged, range(4)))
        await soon(lambda: all(percents), 20)
        assert 100 not in percents
        vlm.behaviour.latency_s = 0.0
        results = await work
    assert [*map(as_json, results)] == alone.results[:4]
    assert vlm.counters.in_flight_max == 2


async def test_slots_that_the_server_tells_are_those_of_all_workers(start, videos):
    there = start("w1", "w2", "w3")
    behaviour = Behaviour(slots=5, latency_s=0.1, profile=Profile.LLAMA_CPP)
    async with SandboxVLM(behaviour) as vlm:
        endpoints = {"multiplexer_endpoints": [{"base_url": vlm.url}]}
        asked = settings(vlm, cluster=there.address, model_settings=endpoints)
        async with open_engine(asked) as engine:
            await asyncio.gather(*map(engine.process_video, videos))
    assert vlm.counters.in_flight_max == 5
