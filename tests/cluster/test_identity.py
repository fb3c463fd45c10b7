"""A video is the same one on every worker, and without a cluster."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.cluster.clusters import settings
from vlm_engine import VLMEngine
from vlm_engine.cluster import open_engine
from vlm_engine.testing import Behaviour, SandboxVLM


async def test_answers_hold_for_a_file_whatever_a_worker_sees_of_it(start, videos, store, tmp_path):
    """The worker has it under another path, and its mount shows another time of change."""
    here, there = Path(videos[0]), tmp_path / "share"
    there.mkdir()
    shutil.copy(here, there)
    os.utime(there / here.name, (1e9, 1e9))
    cluster = {"address": start("attic").address, "paths": {"*": {str(here.parent): str(there)}}}
    async with SandboxVLM(Behaviour(slots=8)) as vlm:
        async with open_engine(settings(vlm, store, cluster)) as engine:
            await engine.process_video(videos[0])
        answered = vlm.counters.answered
        async with VLMEngine(settings(vlm, store)) as engine:
            await engine.process_video(videos[0])
    assert vlm.counters.answered == answered > 0
