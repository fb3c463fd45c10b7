"""Concurrent work on one event loop: gathered, in batches, limited."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from vlm_engine.errors import StoreError
from vlm_engine.tasks import Batcher, ResizableSemaphore, gather_or_cancel, in_thread

FOREVER_S = 3600.0
LIMIT_S = 20.0


async def later(value: str, seconds: float = 0.0) -> str:
    await asyncio.sleep(seconds)
    return value


async def fails() -> str:
    raise LookupError("no such play")


@pytest.mark.parametrize("values", [[], ["Foul"], ["Foul", "Goal", "Save"]])
async def test_results_come_in_order(values):
    works = [later(value, 0.01 * (len(values) - number)) for number, value in enumerate(values)]
    assert await gather_or_cancel(works) == values


@pytest.mark.parametrize("others", [0, 1])
async def test_the_first_error_cancels_the_others(others):
    with pytest.raises(LookupError, match="no such play"):
        await gather_or_cancel([fails(), *(later("Goal", 60.0) for _ in range(others))])
    assert asyncio.all_tasks() == {asyncio.current_task()}


class Process:
    """Doubles the entries of a batch, or raises ``error``, once it may."""

    def __init__(self, error: Exception | None = None) -> None:
        self.batches: list[list[int]] = []
        self.error = error
        self.may_go_on = asyncio.Event()

    def __call__(self, entries: Sequence[int]) -> asyncio.Future[Sequence[int | BaseException]]:
        self.batches.append([*entries])
        return asyncio.ensure_future(self.result(entries))

    async def result(self, entries: Sequence[int]) -> Sequence[int | BaseException]:
        await self.may_go_on.wait()
        if self.error is not None:
            raise self.error
        return [LookupError("unlucky") if entry == 13 else 2 * entry for entry in entries]


async def added(batcher: Batcher[int, int], *entries: int) -> list[asyncio.Task[int]]:
    """Tasks that wait for the results of these entries."""
    tasks = [asyncio.create_task(batcher.add(entry)) for entry in entries]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def test_what_comes_during_a_batch_is_the_next_one():
    process = Process()
    batcher = Batcher(process)
    first, given_up, *others = [*await added(batcher, 1), *await added(batcher, 2, 13, 4)]
    given_up.cancel()
    process.may_go_on.set()
    done = await asyncio.gather(first, *others, return_exceptions=True)
    assert (done[0], type(done[1]), done[2]) == (2, LookupError, 8)
    assert process.batches == [[1], [2, 13, 4]]
    assert await batcher.add(5) == 10


async def test_a_batch_waits_until_it_is_full_or_due():
    process = Process()
    process.may_go_on.set()
    full, due = (
        Batcher(process, size=3, max_wait_s=FOREVER_S),
        Batcher(process, size=9, max_wait_s=0.01),
    )
    tasks = await added(full, 1, 2)
    assert not process.batches
    await asyncio.gather(*tasks, *await added(full, 3))
    await asyncio.gather(due.add(4), due.add(5))
    assert process.batches == [[1, 2, 3], [4, 5]]
    tasks = await added(full, 6)
    full.flush()
    await asyncio.gather(*tasks, full.add(7))
    assert process.batches[2:] in ([[6], [7]], [[6, 7]])


async def test_a_failed_batch_fails_all_who_wait_and_all_who_come():
    process = Process(OSError("gone"))
    batcher = Batcher(process)
    tasks = [*await added(batcher, 1), *await added(batcher, 2)]
    process.may_go_on.set()
    for waiting in (*tasks, batcher.add(3)):
        with pytest.raises(OSError, match="gone"):
            await waiting


async def test_closing_a_batcher_cancels_its_batch():
    batcher = Batcher(Process())
    tasks = [*await added(batcher, 1), *await added(batcher, 2)]
    await batcher.aclose()
    await asyncio.wait(tasks, timeout=LIMIT_S)
    assert all(task.cancelled() for task in tasks)


@pytest.mark.parametrize(
    ("error", "failing"), [(StoreError("the disk is full"), 3), (OverflowError("too large"), 1)]
)
async def test_an_error_in_a_thread_concerns_those_who_cause_it(error, failing):
    def work(entries: Sequence[int]) -> Sequence[str]:
        if 13 in entries:
            raise error
        return [f"done {entry}" for entry in entries]

    batcher = Batcher(in_thread(work))
    done = await asyncio.gather(*map(batcher.add, (12, 13, 14)), return_exceptions=True)
    assert sum(result is error for result in done) == failing
    assert await batcher.add(15) == "done 15"


async def test_work_is_done_once_where_no_thread_starts(monkeypatch):
    batches: list[list[int]] = []
    start, failures = threading.Thread.start, [1]

    def fragile(thread: threading.Thread) -> None:
        if failures:
            failures.pop()
            raise RuntimeError("can't start new thread")
        start(thread)

    def work(entries: Sequence[int]) -> Sequence[int]:
        batches.append([*entries])
        return entries

    batcher = Batcher(in_thread(work))
    monkeypatch.setattr(threading.Thread, "start", fragile)
    assert await asyncio.gather(batcher.add(1), batcher.add(2)) == [1, 2]
    assert await batcher.add(3) == 3
    await asyncio.get_running_loop().shutdown_default_executor()
    assert batches == [[1, 2], [3]]


async def test_a_semaphore_serves_first_come_first_served():
    semaphore, order = ResizableSemaphore(lambda: 2), list[int]()

    async def use(number: int) -> None:
        async with semaphore:
            order.append(number)
            await asyncio.sleep(0)

    await asyncio.gather(*map(use, range(8)))
    assert order == list(range(8))


async def test_a_semaphore_that_grows_admits_those_who_wait():
    size = 1
    semaphore = ResizableSemaphore(lambda: size)
    await semaphore.acquire()
    waiting = [asyncio.create_task(semaphore.acquire()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    size = 2
    semaphore.admit()
    await asyncio.wait(waiting, timeout=0.1)
    assert [task.done() for task in waiting] == [True, True, False]
    semaphore.release()
    await asyncio.wait_for(waiting[2], LIMIT_S)


async def test_a_place_given_to_a_cancelled_task_goes_to_the_next():
    semaphore = ResizableSemaphore(lambda: 1)
    await semaphore.acquire()
    first, second = (asyncio.create_task(semaphore.acquire()) for _ in range(2))
    await asyncio.sleep(0)
    semaphore.release()  # the place is the first's now, which has not run since
    first.cancel()
    await asyncio.wait_for(second, LIMIT_S)
    assert first.cancelled()
