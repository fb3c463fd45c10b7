"""One caller in a process of its own: ``python -m benchmarks.cluster_caller JOB``.

It opens an engine, in this process or a cluster's, says ``ready``, waits for a line, and lets the
engine do the phases of the job one after the other. It ends with what each took, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.cluster_parts import parts
from benchmarks.cluster_processes import THREADS, cpu_s
from benchmarks.cluster_scenes import Took
from benchmarks.pool_pictures import TAGS
from vlm_engine import EngineConfig, VLMEngine
from vlm_engine.cluster import open_engine
from vlm_engine.cluster.pictures import AT_ONCE

VIDEOS, PICTURES, PARTS = "videos", "pictures", "parts"
"""Kinds of phases."""


@dataclass(frozen=True, slots=True)
class Phase:
    """Work on all ``paths``: ``at_once`` at a time; 0: as many as the engine finds worth having.

    The phase ``parts`` measures the parts of a cluster instead, in ``at_once`` rounds.
    """

    kind: str
    paths: Sequence[str] = ()
    at_once: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """``endpoints``: the settings of each. ``roles``: processes of the cluster by their part."""

    cluster: str
    workers: int
    endpoints: Sequence[Mapping[str, Any]]
    store: str
    phases: Sequence[Phase]
    roles: Mapping[str, Sequence[int]]


async def work(job: Job) -> list[Took]:
    """Do the phases. Waits for a line on the input before the first."""
    model = {"multiplexer_endpoints": job.endpoints, "tag_list": TAGS, "frames_compared": 0}
    config = EngineConfig(
        models={"vlm": model},
        store_path=job.store,
        search={"learn_costs": False},
        cluster=job.cluster or None,
    )
    async with open_engine(config) as engine:
        places = job.workers * THREADS * AT_ONCE
        while job.cluster and engine.slots < places:  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.05)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)
        return [await _phase(engine, job, phase) for phase in job.phases]


async def _phase(engine: VLMEngine, job: Job, phase: Phase) -> Took:
    roles = {"caller": [os.getpid()], **{name: [*pids] for name, pids in job.roles.items()}}
    if phase.kind == PARTS:
        return Took(0.0, [], {}, await parts(job.cluster, roles, phase.at_once))
    before = {name: cpu_s(pids) for name, pids in roles.items()}
    started = time.perf_counter()
    each_s = await _all(engine, phase)
    wall_s = time.perf_counter() - started
    after = {name: cpu_s(pids) for name, pids in roles.items()}
    return Took(wall_s, each_s, {name: after[name] - before[name] for name in roles})


async def _all(engine: VLMEngine, phase: Phase) -> list[float]:
    everything = engine.slots if phase.kind == PICTURES else len(phase.paths)
    places = asyncio.Semaphore(phase.at_once or everything)
    process = engine.process_video if phase.kind == VIDEOS else engine.process_image

    async def one(path: str) -> float:
        async with places:
            started = time.perf_counter()
            await process(path)
            return time.perf_counter() - started

    return await asyncio.gather(*map(one, phase.paths))


def main() -> None:
    """Do a job that is given as JSON."""
    given = json.loads(sys.argv[1])
    given["phases"] = [Phase(**phase) for phase in given["phases"]]
    took = asyncio.run(work(Job(**given)))
    sys.stdout.write(json.dumps([asdict(one) for one in took]) + "\n")


if __name__ == "__main__":
    main()
