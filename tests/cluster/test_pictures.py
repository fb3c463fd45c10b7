"""Pictures on a cluster: results and errors as in one process, each its own."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from sandbox.pictures import write_folder, write_zip
from tests.cluster.clusters import settings, tagging
from tests.engine.engines import TAGS
from vlm_engine import VLMEngine
from vlm_engine.errors import MediaNotFoundError, MediaUnreadableError
from vlm_engine.testing import Behaviour, SandboxVLM
from vlm_engine.types import ZipEntry

SLOTS = 8


async def outcomes(engine, pictures):
    """Return what is found in each picture, or the kind of its error."""
    works = [tag(one) for one in pictures for tag in (engine.process_image, engine.tag_image)]
    found = await asyncio.gather(*works, return_exceptions=True)
    return [type(one) if isinstance(one, Exception) else read(one) for one in found]


def read(result):
    """Return what was found, without how long it took."""
    if isinstance(result, dict):
        return json.dumps(result["image_tag_info"])
    return result.info


async def test_pictures_have_the_results_of_one_process(start, tmp_path):
    there = start("w1", "w2")
    loose = [one.path for one in write_folder(tmp_path / "loose", 12, TAGS)]
    packed = [
        ZipEntry(str(one.path), one.entry or "")
        for one in write_zip(tmp_path / "match.zip", 5, TAGS, first=100)
    ]
    broken, missing = tmp_path / "broken.jpg", tmp_path / "missing.jpg"
    broken.write_bytes(b"no picture")
    in_memory = [Path(one).read_bytes() for one in loose[:3]]
    pictures = [*map(str, loose[3:]), str(broken), *packed, missing, *in_memory]
    async with SandboxVLM(Behaviour(slots=SLOTS)) as vlm, VLMEngine(settings(vlm)) as engine:
        expected = await outcomes(engine, pictures)
    async with tagging(there, Behaviour(slots=SLOTS, latency_s=0.05)) as (engine, vlm):
        found = await outcomes(engine, pictures)
        assert vlm.counters.in_flight_max <= SLOTS
    assert found == expected
    errors = [one for one in found if isinstance(one, type)]
    assert len(errors) == 4
    assert issubclass(errors[0], MediaUnreadableError)
    assert errors[2] is MediaNotFoundError


async def test_pictures_go_on_when_a_worker_is_killed(start, tmp_path, store):
    there = start("w1", "w2")
    pictures = [one.path for one in write_folder(tmp_path / "loose", 60, TAGS)]
    async with tagging(there, Behaviour(slots=SLOTS, latency_s=0.3), store) as (engine, vlm):
        work = asyncio.gather(*map(engine.process_image, pictures))
        while vlm.counters.answered < 16:
            await asyncio.sleep(0.02)
        there.kill("w1")
        vlm.behaviour.latency_s = 0.05
        found = await work
    async with (
        SandboxVLM(Behaviour(slots=SLOTS)) as vlm_alone,
        VLMEngine(settings(vlm_alone)) as engine,
    ):
        expected = await asyncio.gather(*map(engine.process_image, pictures))
    assert [*map(read, found)] == [*map(read, expected)]
    assert vlm.counters.requests <= vlm_alone.counters.requests + SLOTS
