"""Endpoints of one worker, and those that every worker has on its own host."""

from __future__ import annotations

import asyncio

from tests.cluster.clusters import settings, soon, tagging
from vlm_engine.cluster import open_engine
from vlm_engine.testing import Behaviour, SandboxVLM


async def test_an_endpoint_of_one_worker_is_asked_by_it_alone(start, videos):
    there = start("w1", "w2")
    async with (
        SandboxVLM(Behaviour(slots=4, latency_s=0.1)) as first,
        SandboxVLM(Behaviour(slots=4, latency_s=0.1)) as second,
    ):
        endpoints = [
            {"base_url": first.url, "worker": "w1", "max_concurrent": 4},
            {"base_url": second.url, "worker": "w2", "max_concurrent": 4},
        ]
        asked = settings(
            first, cluster=there.address, model_settings={"multiplexer_endpoints": endpoints}
        )
        async with open_engine(asked) as engine:
            work = asyncio.gather(*map(engine.process_video, videos))
            await soon(lambda: first.counters.answered > 4 and second.counters.answered > 4)
            there.kill("w2")
            await soon(lambda: second.counters.in_flight == 0)
            asked_before = second.counters.requests
            first.behaviour.latency_s = 0.0
            await work
    assert second.counters.requests == asked_before


async def test_a_loopback_address_means_another_server_on_each_host(start, videos):
    there = start("w1")
    there.join("w2", host="127.0.0.2")
    async with tagging(there, Behaviour(slots=8, latency_s=0.2), model_settings={}) as (
        engine,
        vlm,
    ):
        vlm.behaviour.slots = 16
        work = asyncio.gather(*map(engine.process_video, videos))
        await soon(lambda: vlm.counters.in_flight > 8)
        vlm.behaviour.latency_s = 0.0
        await work
