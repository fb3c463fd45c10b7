"""What a caller no longer wants is not worked on any more."""

from __future__ import annotations

import asyncio

import pytest

from tests.cluster.clusters import settings, soon, tagging
from vlm_engine.cluster import open_engine
from vlm_engine.errors import ConfigError
from vlm_engine.testing import Behaviour, SandboxVLM


async def test_questions_of_a_cancelled_call_stop_at_once(start, videos):
    there = start("w1", "w2")
    async with tagging(there, Behaviour(slots=4, latency_s=0.1)) as (engine, vlm):
        work = [asyncio.ensure_future(engine.process_video(one)) for one in videos]
        await soon(lambda: vlm.counters.answered > 8)
        vlm.behaviour.latency_s = 30.0
        await soon(lambda: vlm.counters.in_flight == 4)
        for one in work:
            one.cancel()
        await soon(lambda: vlm.counters.in_flight == 0, 5)
        asked = vlm.counters.requests
        await asyncio.sleep(0.5)
        assert vlm.counters.requests == asked
        assert all(one.cancelled() for one in work)
        vlm.behaviour.latency_s = 0.0
        assert await engine.process_video(videos[0])  # the slots are free again


async def test_closing_in_the_middle_ends_all_work(start, videos):
    there = start("w1", "w2")
    async with SandboxVLM(Behaviour(slots=4, latency_s=0.3)) as vlm:
        engine = open_engine(settings(vlm, cluster=there.address))
        await engine.initialize()
        work = [asyncio.ensure_future(engine.process_video(one)) for one in videos]
        await soon(lambda: vlm.counters.answered > 4)
        await engine.aclose()
        for one in work:
            with pytest.raises(RuntimeError, match="closed"):
                await one
        await soon(lambda: vlm.counters.in_flight == 0, 5)
        asked = vlm.counters.requests
        with pytest.raises(ConfigError, match="closed"):
            await engine.process_video(videos[0])
        vlm.behaviour.latency_s = 0.0
        async with engine:
            assert await engine.process_video(videos[0])
        assert vlm.counters.requests > asked
