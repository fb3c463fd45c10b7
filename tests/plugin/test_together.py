"""Many small writes as one: when they go, and that nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from haven.tasks.batcher import Batcher

FOR_EVER_S = 3600.0
SOON_S = 30.0


class Writer:
    """Takes down what was written together; doubles each entry. ``fails`` is raised by the next write."""

    def __init__(self) -> None:
        self.lots: list[tuple[str, ...]] = []
        self.fails: Exception | None = None
        self.may_write = asyncio.Event()
        self.may_write.set()

    async def __call__(self, entries: Mapping[str, int]) -> Mapping[str, int]:
        await self.may_write.wait()
        if self.fails is not None:
            raise self.fails
        self.lots.append(tuple(entries))
        return {item_id: 2 * entry for item_id, entry in entries.items()}


def test_they_go_when_there_are_enough_of_them_and_each_gets_its_own_fate() -> None:
    async def main() -> None:
        writer = Writer()
        async with Batcher(writer, full=3, patience_s=FOR_EVER_S) as together:
            fates = await asyncio.gather(*(together(str(number), number) for number in range(6)))
        assert fates == [0, 2, 4, 6, 8, 10]
        assert sorted(item for lot in writer.lots for item in lot) == list("012345")
        assert all(len(lot) >= 3 for lot in writer.lots)

    asyncio.run(asyncio.wait_for(main(), SOON_S))


def test_they_go_when_the_first_has_waited_long_enough() -> None:
    async def main() -> None:
        writer = Writer()
        async with Batcher(writer, full=100, patience_s=0.01) as together:
            assert await asyncio.gather(together("a", 1), together("b", 2)) == [2, 4]
            assert await together("c", 3) == 6
        assert writer.lots == [("a", "b"), ("c",)]

    asyncio.run(asyncio.wait_for(main(), SOON_S))


def test_in_a_hurry_nothing_is_held_back() -> None:
    async def main() -> None:
        writer = Writer()
        async with Batcher(writer, full=100, patience_s=FOR_EVER_S) as together:
            waiting = [asyncio.ensure_future(together(name, 1)) for name in "ab"]
            await asyncio.sleep(0)
            assert not writer.lots
            together.hurry()
            assert await asyncio.gather(*waiting) == [2, 2]
            assert await together("c", 3) == 6

    asyncio.run(asyncio.wait_for(main(), SOON_S))


def test_while_one_lot_is_written_the_next_is_gathered() -> None:
    async def main() -> None:
        writer = Writer()
        writer.may_write.clear()
        async with Batcher(writer, full=2, patience_s=FOR_EVER_S) as together:
            waiting = [asyncio.ensure_future(together(name, 1)) for name in "ab"]
            await asyncio.sleep(0.01)
            waiting += [asyncio.ensure_future(together(name, 1)) for name in "cde"]
            await asyncio.sleep(0.01)
            writer.may_write.set()
            await asyncio.gather(*waiting)
        assert writer.lots == [("a", "b"), ("c", "d", "e")]

    asyncio.run(asyncio.wait_for(main(), SOON_S))


def test_when_writing_fails_all_who_wait_and_all_who_come_later_are_told() -> None:
    async def main() -> None:
        writer = Writer()
        writer.may_write.clear()
        writer.fails = OSError("gone")
        async with Batcher(writer, full=1, patience_s=FOR_EVER_S) as together:
            first = asyncio.ensure_future(together("a", 1))
            await asyncio.sleep(0.01)
            second = asyncio.ensure_future(together("b", 1))
            await asyncio.sleep(0.01)
            writer.may_write.set()
            assert all(
                isinstance(told, OSError)
                for told in await asyncio.gather(first, second, return_exceptions=True)
            )
            with pytest.raises(OSError, match="gone"):
                await together("c", 1)

    asyncio.run(asyncio.wait_for(main(), SOON_S))
