from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from vlm_engine.errors import StoreError
from vlm_engine.tagging.batcher import Batcher

_LIMIT_S = 20.0


class Clerk:
    """Works off lots, each only when it is told to."""

    def __init__(self) -> None:
        self.lots: list[list[int]] = []
        self.may_go_on = threading.Semaphore(0)

    def __call__(self, lot: Sequence[int]) -> Sequence[str]:
        self.lots.append([*lot])
        assert self.may_go_on.acquire(timeout=_LIMIT_S)
        if 13 in lot:
            raise StoreError("the disk is full")
        return [f"done {entry}" for entry in lot]


async def _at_work(clerk: Clerk, lots: int) -> None:
    async with asyncio.timeout(_LIMIT_S):
        while len(clerk.lots) < lots:
            await asyncio.sleep(0.001)


async def _busy(
    clerk: Clerk, *entries: int
) -> tuple[Batcher[int, str], asyncio.Task[str], list[asyncio.Task[str]]]:
    """Lots at work on 1 while ``entries`` wait, and the tasks that wait for them."""
    lots = Batcher(clerk)
    first = asyncio.create_task(lots(1))
    await _at_work(clerk, 1)
    others = [asyncio.create_task(lots(entry)) for entry in entries]
    await asyncio.sleep(0)
    return lots, first, others


def test_what_comes_while_one_lot_is_worked_on_is_the_next_and_everybody_gets_his_own_outcome() -> (
    None
):
    async def main() -> None:
        clerk = Clerk()
        _, first, others = await _busy(clerk, 2, 3, 4)
        clerk.may_go_on.release(2)
        assert await asyncio.gather(first, *others) == ["done 1", "done 2", "done 3", "done 4"]
        assert clerk.lots == [[1], [2, 3, 4]]

    asyncio.run(main())


def test_an_error_reaches_all_of_its_lot_and_nobody_else() -> None:
    async def main() -> None:
        clerk = Clerk()
        lots, first, others = await _busy(clerk, 12, 13)
        clerk.may_go_on.release(3)
        assert await first == "done 1"
        for other in others:
            with pytest.raises(StoreError, match="disk is full"):
                await other
        assert await lots(14) == "done 14"

    asyncio.run(main())


def test_an_entry_that_nobody_waits_for_any_more_is_worked_off_all_the_same() -> None:
    async def main() -> None:
        clerk = Clerk()
        lots, first, (given_up,) = await _busy(clerk, 2)
        given_up.cancel()
        clerk.may_go_on.release(2)
        assert await first == "done 1"
        await _at_work(clerk, 2)
        assert clerk.lots == [[1], [2]]
        assert await asyncio.wait_for(_other(clerk, lots), _LIMIT_S) == "done 3"

    asyncio.run(main())


async def _other(clerk: Clerk, lots: Batcher[int, str]) -> str:
    clerk.may_go_on.release()
    return await lots(3)


def test_an_entry_that_cannot_be_worked_on_costs_nobody_else_anything() -> None:
    def work(lot: Sequence[int]) -> Sequence[str]:
        if 13 in lot:
            raise OverflowError("too large")
        return [f"done {entry}" for entry in lot]

    async def main() -> None:
        lots = Batcher(work)
        done = await asyncio.gather(
            *(lots(entry) for entry in (12, 13, 14)), return_exceptions=True
        )
        assert (done[0], type(done[1]), done[2]) == ("done 12", OverflowError, "done 14")

    asyncio.run(main())


def test_where_no_thread_can_be_started_the_work_is_done_once_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lots_seen: list[list[int]] = []
    start, failures = threading.Thread.start, [1]

    def fragile(thread: threading.Thread) -> None:
        if failures:
            failures.pop()
            raise RuntimeError("can't start new thread")
        start(thread)

    def work(lot: Sequence[int]) -> Sequence[str]:
        lots_seen.append([*lot])
        return [f"done {entry}" for entry in lot]

    async def main() -> None:
        lots = Batcher(work)
        monkeypatch.setattr(threading.Thread, "start", fragile)
        assert await asyncio.gather(lots(1), lots(2)) == ["done 1", "done 2"]
        assert await lots(3) == "done 3"
        await asyncio.get_running_loop().shutdown_default_executor()

    asyncio.run(main())
    assert lots_seen == [[1, 2], [3]]
