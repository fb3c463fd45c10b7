"""What a caller hears of its workers, and the keys that nobody sees."""

from __future__ import annotations

import asyncio
import logging

import pytest
from distributed import Client

from tests.cluster.clusters import settings, soon, tagging
from vlm_engine.cluster import open_engine
from vlm_engine.testing import Behaviour, SandboxVLM

KEYS = ("key-of-the-settings-5831", "key-of-the-environment-7462")


async def test_progress_arrives_grows_and_ends_at_100(start, videos):
    there = start("w1", "w2")
    percents = {video: [] for video in videos}
    async with tagging(there, Behaviour(slots=8, latency_s=0.1)) as (engine, _):
        await asyncio.gather(
            *(
                engine.process_video(video, progress_callback=percents[video].append)
                for video in videos
            )
        )
    for each in percents.values():
        assert each[-1] == 100
        assert len(each) > 2
        assert each == sorted(set(each))


async def test_endpoints_are_reported_while_videos_are_worked_on(start, videos):
    there = start("w1", "w2", threads=1)
    async with tagging(there, Behaviour(slots=2, latency_s=0.3)) as (engine, vlm):
        work = asyncio.gather(*map(engine.process_video, videos[:2]))

        def are_busy():
            found = engine.endpoint_stats().values()
            return any(0 < one.in_flight <= one.slots and one.served for one in found)

        await soon(are_busy)
        assert not work.done()
        vlm.behaviour.latency_s = 0.0
        await work
        (one,) = engine.endpoint_stats().values()
    assert (one.served, one.in_flight) == (vlm.counters.answered, 0)


async def test_what_workers_log_arrives_with_their_names(start, videos, caplog):
    there = start("w1", "w2", threads=1)
    caplog.set_level(logging.INFO, "vlm_engine")
    async with tagging(there, Behaviour(slots=8, latency_s=0.1)) as (engine, _):
        await asyncio.gather(*map(engine.process_video, videos))
    lines = [
        record.getMessage() for record in caplog.records if record.name.endswith("clients.openai")
    ]
    assert sum("w1: " in line for line in lines) == 1
    assert sum("w2: " in line for line in lines) == 1


def seen_by_scheduler(dask_scheduler):
    """Return everything that the scheduler shows of its tasks, events and plugins."""
    tasks = [(key, repr(task), repr(task.run_spec)) for key, task in dask_scheduler.tasks.items()]
    return repr(
        (tasks, dask_scheduler.plugins, dask_scheduler.identity(), dask_scheduler.extensions)
    )


def seen_by_worker(dask_worker):
    """Return everything that a worker shows of its tasks and plugins."""
    tasks = [
        (key, repr(task), repr(task.run_spec)) for key, task in dask_worker.state.tasks.items()
    ]
    return repr((tasks, dask_worker.plugins, [vars(one) for one in dask_worker.plugins.values()]))


@pytest.mark.expects_errors
async def test_keys_show_nowhere(start, videos, tmp_path, caplog, monkeypatch):
    there = start("w1", "w2")
    monkeypatch.setenv("GYM_KEY", KEYS[1])
    caplog.set_level(logging.DEBUG)
    seen = []
    async with (
        SandboxVLM(Behaviour(slots=4, latency_s=0.1, api_key=KEYS[0])) as first,
        SandboxVLM(Behaviour(slots=4, latency_s=0.1, api_key=KEYS[1])) as second,
        SandboxVLM(Behaviour(api_key="another")) as third,
        Client(there.address, asynchronous=True) as client,
    ):
        endpoints = [
            {"base_url": first.url, "api_key": KEYS[0]},
            {"base_url": second.url, "api_key_env": "GYM_KEY"},
            {"base_url": third.url, "api_key": KEYS[0]},
        ]
        asked = settings(
            first, cluster=there.address, model_settings={"multiplexer_endpoints": endpoints}
        )
        async with open_engine(asked) as engine:
            works = [engine.process_video(one) for one in (str(tmp_path / "none.mp4"), *videos)]
            work = asyncio.gather(*works, return_exceptions=True)
            await soon(lambda: first.counters.answered > 8 and second.counters.answered > 8)
            await soon(lambda: "did not accept the API key" in caplog.text)
            seen.append(await client.run_on_scheduler(seen_by_scheduler))
            seen.extend((await client.run(seen_by_worker)).values())
            there.kill("w1")
            first.behaviour.latency_s = second.behaviour.latency_s = 0.0
            results = await work
            seen += [
                repr(results[0]),
                str(engine.get_performance_stats()),
                repr(asked),
                caplog.text,
            ]
            seen.append(repr(await client.get_events()))
            seen.append(await client.run_on_scheduler(seen_by_scheduler))
    seen += [there.log(name) for name in ("scheduler", "w1", "w2")]
    assert all(isinstance(one, dict) for one in results[1:])
    assert all(len(one) > 100 for one in seen)
    for key in KEYS:
        assert not [one for one in seen if key in one]
