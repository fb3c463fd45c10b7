"""Workers that join late, or leave altogether; schedulers that are lost."""

from __future__ import annotations

import asyncio

import pytest

from tests.cluster.clusters import as_json, settings, soon, tagging
from vlm_engine import VLMEngine
from vlm_engine.cluster import open_engine
from vlm_engine.errors import NoEndpointError
from vlm_engine.testing import Behaviour, SandboxVLM


async def test_work_goes_on_when_a_worker_joins_after_the_last_left(start, videos, alone, store):
    there = start("w1")
    async with tagging(there, Behaviour(slots=8, latency_s=0.1), store) as (engine, vlm):
        work = asyncio.gather(*map(engine.process_video, videos))
        await soon(lambda: vlm.counters.answered >= alone.questions // 3)
        there.kill("w1")
        await soon(lambda: vlm.counters.in_flight == 0)
        await asyncio.sleep(1)
        assert not work.done()
        there.join("w2")
        async with asyncio.timeout(60):
            results = await work
    assert [*map(as_json, results)] == alone.results
    assert vlm.counters.requests <= alone.questions + 8


async def test_a_worker_that_joins_late_gets_work(start, videos):
    there = start("w1", threads=1)
    async with SandboxVLM(Behaviour(slots=4, latency_s=0.5)) as one, SandboxVLM() as other:
        endpoints = [{"base_url": one.url}, {"base_url": other.url, "worker": "w2"}]
        asked = settings(
            one, cluster=there.address, model_settings={"multiplexer_endpoints": endpoints}
        )
        async with open_engine(asked) as engine:
            work = asyncio.gather(*map(engine.process_video, videos))
            await soon(lambda: one.counters.answered > 4)
            assert other.counters.requests == 0
            there.join("w2")
            await soon(lambda: other.counters.answered > 8)
            one.behaviour.latency_s = 0.0
            await work


@pytest.mark.expects_errors
async def test_a_lost_scheduler_ends_the_work_and_keeps_answers(start, videos, alone, store):
    there = start("w1", "w2")
    behaviour = Behaviour(slots=8, latency_s=0.1)
    async with tagging(there, behaviour, store) as (engine, vlm):
        work = [asyncio.ensure_future(engine.process_video(one)) for one in videos]
        await soon(lambda: vlm.counters.answered >= alone.questions // 2)
        there.kill("scheduler")
        async with asyncio.timeout(30):
            for one in (*work, engine.process_video(videos[0])):
                with pytest.raises(NoEndpointError) as caught:
                    await one
                assert "its scheduler has gone" in str(caught.value)
    async with SandboxVLM(behaviour) as again, VLMEngine(settings(again, store)) as engine:
        results = await asyncio.gather(*map(engine.process_video, videos))
    assert [*map(as_json, results)] == alone.results
    assert vlm.counters.requests + again.counters.requests <= alone.questions + 8
