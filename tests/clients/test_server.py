"""Several pools that ask one server."""

from __future__ import annotations

import asyncio

import pytest

from vlm_engine.clients import EndpointPool
from vlm_engine.clients.member import Servers
from vlm_engine.config.models import ModelConfig
from vlm_engine.jpeg import encode
from vlm_engine.testing import Behaviour, SandboxVLM, glyphs
from vlm_engine.types import Form, ImageShape, Question

JPEG = encode(glyphs.picture(["Foul"], width=320, height=180), ImageShape())[0]
QUESTION = Question(("Foul", "Goal"), Form.LIST, JPEG)


def pool(vlm: SandboxVLM, servers: Servers, max_concurrent: int, **more: object) -> EndpointPool:
    endpoint = {"base_url": vlm.url, "max_concurrent": max_concurrent}
    return EndpointPool.from_config(
        ModelConfig(multiplexer_endpoints=[endpoint], model_id="sandbox-vlm", **more), servers
    )


@pytest.mark.parametrize(("slots", "most"), [((3, 3), 3), ((2, 5), 5)])
def test_together_they_ask_no_more_than_the_one_that_may_ask_most(
    slots: tuple[int, int], most: int
) -> None:
    async def run() -> None:
        async with SandboxVLM(Behaviour(slots=8, latency_s=0.01)) as vlm:
            servers = Servers()
            pools = [pool(vlm, servers, each) for each in slots]
            await asyncio.gather(*(each.ask(QUESTION) for each in pools for _ in range(20)))
            assert vlm.counters.in_flight_max == most
            for each in pools:
                await each.aclose()

    asyncio.run(run())


def test_none_waits_until_another_has_nothing_left_to_ask() -> None:
    async def run() -> list[int]:
        order: list[int] = []

        async def ask(number: int, own: EndpointPool) -> None:
            await own.ask(QUESTION)
            order.append(number)

        async with SandboxVLM(Behaviour(slots=1, latency_s=0.002)) as vlm:
            servers = Servers()
            pools = [pool(vlm, servers, 1) for _ in range(3)]
            await asyncio.gather(
                *(ask(number, own) for number, own in enumerate(pools) for _ in range(10))
            )
            for each in pools:
                await each.aclose()
        return order

    order = asyncio.run(run())
    for begin in range(0, 30, 6):
        assert {order[begin + step] for step in range(6)} == {0, 1, 2}, order


def test_a_pool_that_closes_leaves_its_slots_to_the_others() -> None:
    async def run() -> None:
        async with SandboxVLM(Behaviour(slots=1, latency_s=0.2)) as vlm:
            servers = Servers()
            first, second = (pool(vlm, servers, 1) for _ in range(2))
            asking = asyncio.create_task(first.ask(QUESTION))
            while not vlm.counters.in_flight:
                await asyncio.sleep(0.01)
            waiting = asyncio.create_task(second.ask(QUESTION))
            await first.aclose()
            with pytest.raises(RuntimeError, match="closed"):
                await asking
            async with asyncio.timeout(10):
                assert (await waiting).verdicts["Foul"].present
            await second.aclose()

    asyncio.run(run())


def test_pools_of_different_engines_know_nothing_of_each_other() -> None:
    async def run() -> None:
        async with SandboxVLM(Behaviour(slots=8, latency_s=0.05)) as vlm:
            pools = [pool(vlm, Servers(), 2) for _ in range(2)]
            await asyncio.gather(*(each.ask(QUESTION) for each in pools for _ in range(8)))
            assert vlm.counters.in_flight_max == 4
            for each in pools:
                await each.aclose()

    asyncio.run(run())
