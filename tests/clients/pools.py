"""Pools over sandbox endpoints, and questions to put to them."""

import asyncio
import io
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache

from vlm_engine.clients import EndpointPool
from vlm_engine.config.models import ModelConfig
from vlm_engine.testing import SandboxVLM, glyphs
from vlm_engine.types import Form, Question

TAGS = ("Basketball point", "Foul", "Break-away", "Turnover")
LIMIT_S = 30.0


@cache
def jpeg(tag, number):
    file = io.BytesIO()
    glyphs.picture([tag], 410, 280, number).save(file, "JPEG", quality=85)
    return file.getvalue()


def question(number=0, model=""):
    return Question(TAGS, Form.LIST, jpeg(TAGS[number % 4], number), model)


def endpoint(vlm, name="", **settings):
    return {"base_url": vlm.url, "name": name, "max_concurrent": 4, **settings}


@asynccontextmanager
async def pool_of(*endpoints, patience_s=20.0, **model):
    settings = {"model_id": "sandbox-vlm", "endpoint_patience": patience_s}
    pool = EndpointPool.from_config(
        ModelConfig(**{**settings, "multiplexer_endpoints": endpoints, **model})
    )
    try:
        yield pool
    finally:
        await pool.aclose()


@asynccontextmanager
async def servers(*behaviours):
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(SandboxVLM(behaviour)) for behaviour in behaviours]


def run(main):
    async def bounded():
        async with asyncio.timeout(LIMIT_S):
            await main()

    asyncio.run(bounded())


async def until(holds):
    while not holds():
        await asyncio.sleep(0.002)
