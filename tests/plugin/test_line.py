"""The queue of a task: in order, read ahead, without those that have vanished."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from haven.stash.errors import StashQueryError
from haven.tasks.prefetch import Prefetcher

SOON_S = 30.0


@dataclass(frozen=True)
class Thing:
    id: str


class Shelf:
    """Reads things, all but those that have vanished; takes down what was asked for. Raises ``fails`` from the chunk on."""

    def __init__(self, *vanished: str) -> None:
        self.asked: list[list[str]] = []
        self.told: list[str] = []
        self.vanished = vanished
        self.fails_at = 1_000_000

    async def read(self, ids: Sequence[str]) -> Sequence[Thing]:
        self.asked.append(list(ids))
        if len(self.asked) > self.fails_at:
            raise StashQueryError("too much")
        await asyncio.sleep(0)
        return [Thing(one) for one in ids if one not in self.vanished]

    def line(self, count: int, *, chunk: int = 3, ahead: int = 2) -> Prefetcher[Thing]:
        return Prefetcher(
            [str(number) for number in range(count)],
            self.read,
            self.told.append,
            chunk=chunk,
            ahead=ahead,
        )


def drained(shelf: Shelf, line: Prefetcher[Thing]) -> list[str]:
    async def main() -> list[str]:
        found = []
        try:
            while (thing := await line.next()) is not None:
                found.append(thing.id)
        finally:
            await line.aclose()
        return found

    return asyncio.run(asyncio.wait_for(main(), SOON_S))


@pytest.mark.parametrize("count", [0, 1, 3, 10])
def test_all_come_in_their_order(count: int) -> None:
    shelf = Shelf()
    assert drained(shelf, shelf.line(count)) == [str(number) for number in range(count)]
    assert [len(asked) for asked in shelf.asked] == [
        min(3, count - start) for start in range(0, count, 3)
    ]


def test_those_that_have_vanished_are_told_of_and_left_out_also_when_nothing_else_is_left() -> None:
    shelf = Shelf("1", "6", "7", "8")
    assert drained(shelf, shelf.line(9)) == ["0", "2", "3", "4", "5"]
    assert shelf.told == ["1", "6", "7", "8"]


def test_the_next_are_read_while_there_are_still_some() -> None:
    async def main() -> None:
        shelf = Shelf()
        line = shelf.line(100, chunk=10, ahead=15)
        for _ in range(3):
            await line.next()
            await asyncio.sleep(0.01)
        assert len(shelf.asked) == 2
        for _ in range(20):
            await line.next()
        assert len(shelf.asked) <= 5
        await line.aclose()

    asyncio.run(asyncio.wait_for(main(), SOON_S))


def test_what_reading_raises_comes_to_whoever_takes_the_next() -> None:
    shelf = Shelf()
    shelf.fails_at = 1
    with pytest.raises(StashQueryError, match="too much"):
        drained(shelf, shelf.line(9))
