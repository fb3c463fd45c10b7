"""Costs of the parts of a cluster, each measured alone: store calls, slot reports, tasks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from distributed import Client, Worker

from benchmarks.cluster_processes import cpu_s
from vlm_engine.cluster.division import Division
from vlm_engine.cluster.link import Link, _links_of
from vlm_engine.cluster.remote_store import RemoteStore
from vlm_engine.store import StoredAnswer, Subject
from vlm_engine.types import Answer, Form, ImageShape, Verdict

ALONE, TOGETHER, MANY_ROWS = "one store call", "16 store calls at once", "16 answers in a call"
REPORTS, TASKS = "slots: a report and an allowance", "a task"
_AT_ONCE = 16
_NAMES = 64
_TASKS_AT_ONCE = 32
_TAGS = ("Basketball point", "Foul", "Break-away", "Turnover")

Cost = dict[str, float]
"""``wall_s`` of one piece, and the processor seconds of each role for it."""


async def parts(address: str, roles: Mapping[str, Sequence[int]], rounds: int) -> dict[str, Cost]:
    """Measure every part ``rounds`` times, on the first worker of the cluster.

    What the processes use while nothing happens is taken off.
    """
    options = {"asynchronous": True, "set_as_default": False}
    client = Client(address, **options)  # type: ignore[no-untyped-call]
    async with client:
        at = [*await client.run(int)][:1]

        async def on_worker(function: Callable[..., Awaitable[None]], *values: int) -> None:
            await client.run(function, *values, workers=at)

        idle = await _measured(roles, 1, lambda: asyncio.sleep(2.0))
        each = {
            ALONE: (rounds, lambda: on_worker(store_calls, rounds, 1, 1)),
            TOGETHER: (
                rounds * _AT_ONCE,
                lambda: on_worker(store_calls, rounds, _AT_ONCE, 1),
            ),
            MANY_ROWS: (rounds, lambda: on_worker(store_calls, rounds, 1, _AT_ONCE)),
            REPORTS: (rounds * _NAMES, lambda: on_worker(slot_reports, rounds)),
            TASKS: (rounds * 4, lambda: _tasks(client, rounds * 4)),
        }
        for work in (store_calls, slot_reports):  # once unmeasured: imports, files
            await on_worker(work, *((1, 1, 1) if work is store_calls else (1,)))
        measured = {}
        for name, (count, run) in each.items():
            part = await _measured(roles, count, run)
            for role in roles:
                part[role] = max(0.0, part[role] - idle[role] / idle["wall_s"] * part["wall_s"])
            measured[name] = part
        return measured


async def _measured(
    roles: Mapping[str, Sequence[int]], count: int, run: Callable[[], Awaitable[None]]
) -> Cost:
    before = {name: cpu_s([*pids]) for name, pids in roles.items()}
    started = time.perf_counter()
    await run()
    wall_s = time.perf_counter() - started
    cpus = {name: (cpu_s([*pids]) - before[name]) / count for name, pids in roles.items()}
    return {"wall_s": wall_s / count, **cpus}


async def store_calls(rounds: int, at_once: int, rows: int, dask_worker: Worker) -> None:
    """Store answers from a worker: ``at_once`` threads make ``rounds`` calls each."""
    store = RemoteStore(next(iter(_links_of(dask_worker).values())))
    batch = [(_SUBJECT, _stored(number)) for number in range(rows)]

    def calls() -> None:
        for _ in range(rounds):
            store.add_all(batch)

    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(at_once) as threads:
        await asyncio.gather(*(loop.run_in_executor(threads, calls) for _ in range(at_once)))


async def slot_reports(rounds: int, dask_worker: Worker) -> None:
    """Ask for a slot of each of 64 endpoints and give it back, in ``rounds`` reports for each."""
    link = Link(dask_worker, "benchmark")
    loop = asyncio.get_running_loop()
    waiting: dict[str, asyncio.Future[int]] = {}
    link.on_allowance = lambda name, numbers: waiting[name].set_result(numbers[0])
    started = time.time_ns()  # for endpoints of which the hub knows nothing yet
    seen = dict.fromkeys((f"benchmark {started} {number}" for number in range(_NAMES)), 0)
    for number in range(rounds):
        for name in seen:
            waiting[name] = loop.create_future()
            link.report(name, [(number + 1) % 2, 0, 8, seen[name]])
        for name in seen:
            seen[name] = await waiting[name]
    link.close()


async def _tasks(client: Any, count: int) -> None:
    places = asyncio.Semaphore(_TASKS_AT_ONCE)

    async def one(number: int) -> None:
        async with places:
            key = f"nothing-{time.time_ns()}-{number}"
            future = client.submit(nothing, number, key=key, pure=False, priority=number)
            await future.result()
            future.release()

    await asyncio.gather(*map(one, range(count)))


async def nothing(number: int) -> int:
    """Be a task."""
    return number


def division_s(engines: int, rounds: int = 200) -> tuple[float, float]:
    """Return the seconds of one report and of one turn where so many engines want the slots."""
    division = Division()
    names = [(f"worker {number}", "run") for number in range(engines)]
    numbers = dict.fromkeys(names, 0)
    allowed = dict.fromkeys(names, 0)

    def take() -> None:
        for name, allowance in division.changes().items():
            numbers[name], allowed[name] = allowance.number, allowance.allowed

    for name in names:
        division.report(name, 8, 0, 8, 0)
    take()
    started = time.perf_counter()
    for number in range(rounds):
        name = names[number % engines]
        division.report(name, 8, allowed[name], 8, numbers[name])
        take()
    report_s = (time.perf_counter() - started) / rounds
    started = time.perf_counter()
    for _ in range(rounds):
        division.rotate()
        take()
    return report_s, (time.perf_counter() - started) / rounds


_SUBJECT = Subject("oshash:0000000000000000", "benchmark", "0" * 64)


def _stored(number: int) -> StoredAnswer:
    verdicts = {tag: Verdict(bool(number % 2), 0.5) for tag in _TAGS}
    answer = Answer(verdicts, '{"tags": ["Foul"]}', "benchmark", "an endpoint", 800, 8)
    return StoredAnswer(number * 1000, float(number), Form.LIST, ImageShape(512, 88), answer)
