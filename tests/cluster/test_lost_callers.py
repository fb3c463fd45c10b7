"""Callers that are killed: the next one asks what is missing, and nothing of the dead one stays."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from distributed import Client

from tests.cluster.clusters import as_json, forked, settings, until
from vlm_engine.cluster import open_engine
from vlm_engine.config.models import EngineConfig
from vlm_engine.testing import Behaviour, SandboxVLM
from vlm_engine.testing.threads import running

SLOTS = 8


def tag(config: EngineConfig, videos: list[str], found: Path) -> None:
    """Tag videos, and write what is found into a file."""

    async def tagged() -> list[str]:
        async with open_engine(config) as engine:
            return [
                as_json(one) for one in await asyncio.gather(*map(engine.process_video, videos))
            ]

    found.write_text(json.dumps(asyncio.run(tagged())))


def traces_on_worker(dask_worker):
    """Return what a worker has of callers."""
    return [
        *(name for name in dask_worker.plugins if "vlm-engine" in name),
        *dask_worker.state.tasks,
        *dask_worker._vlm_engine_links,
    ]


def traces_on_scheduler(dask_scheduler):
    """Return what the scheduler has of callers."""
    (hub,) = (
        plugin for name, plugin in dask_scheduler.plugins.items() if name.startswith("vlm-engine")
    )
    return [
        *(key for key, task in dask_scheduler.tasks.items() if task.state != "forgotten"),
        *hub._mailboxes,
        *hub._divisions,
    ]


def traces(client: Client) -> list[str]:
    """Return what a cluster has of callers."""
    on_workers = client.run(traces_on_worker).values()
    return [
        *client.run_on_scheduler(traces_on_scheduler),
        *(one for each in on_workers for one in each),
    ]


@pytest.mark.parametrize(
    "share", [0.4, *(pytest.param(n / 10, marks=pytest.mark.thorough) for n in (0, 1, 7, 9))]
)
def test_the_next_caller_asks_only_what_is_missing(start, videos, alone, store, tmp_path, share):
    there, found = start("w1", "w2"), tmp_path / "found.json"
    with running(SandboxVLM(Behaviour(slots=SLOTS, latency_s=0.15))) as vlm:
        call = tag, settings(vlm, store, there.address), videos, found
        there.started["first"] = forked(*call, log=there.folder / "first.log")
        until(lambda: vlm.counters.requests > share * alone.questions)
        there.kill("first")
        second = there.started["second"] = forked(*call, log=there.folder / "second.log")
        until(lambda: vlm.counters.in_flight < SLOTS)
        vlm.behaviour.latency_s = 2.0
        until(lambda: vlm.counters.in_flight == SLOTS or second.exitcode is not None)
        vlm.behaviour.latency_s = 0.0
        second.join(60)
        assert json.loads(found.read_text()) == alone.results
        assert vlm.counters.requests <= alone.questions + SLOTS
        assert vlm.counters.in_flight_max <= SLOTS
    with Client(there.address) as client:
        until(lambda: not traces(client), 15)


def test_workers_stop_and_forget_what_a_dead_caller_wanted(start, videos, tmp_path):
    there = start("w1", "w2")
    behaviour = Behaviour(slots=SLOTS, latency_s=0.5)
    with running(SandboxVLM(behaviour)) as vlm, Client(there.address) as client:
        call = tag, settings(vlm, cluster=there.address), videos, tmp_path / "found.json"
        there.started["caller"] = forked(*call, log=there.folder / "caller.log")
        until(lambda: vlm.counters.answered >= 4)
        vlm.behaviour.latency_s = 60.0
        until(lambda: vlm.counters.in_flight == SLOTS)
        assert traces(client)
        there.kill("caller")
        until(lambda: vlm.counters.in_flight == 0, 10)
        asked = vlm.counters.requests
        until(lambda: not traces(client), 10)
        assert vlm.counters.requests == asked
