"""The queue of a task: items are read ahead in order, and a streak of failures ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import pytest

from haven.stash.errors import StashQueryError
from haven.tasks.batch import read_ahead
from haven.tasks.failures import (
    FAILURES_IN_A_ROW,
    FILES_IN_A_ROW,
    FailureStreak,
    SameCauseError,
)
from vlm_engine.errors import (
    CoverageError,
    MediaNotFoundError,
    MediaOutOfReachError,
    MediaUnreadableError,
    ReplyError,
    RequestError,
)


@dataclass(frozen=True)
class Item:
    id: str


@dataclass
class Shelf:
    """Reads items, except those that have vanished. From ``fails_at`` chunks on it raises."""

    vanished: Sequence[str] = ()
    fails_at: int = 1_000_000
    chunks: list[int] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)

    async def read(self, ids: Sequence[str]) -> Sequence[Item]:
        if len(self.chunks) >= self.fails_at:
            raise StashQueryError("too much")
        self.chunks.append(len(ids))
        await asyncio.sleep(0)
        return [Item(one) for one in ids if one not in self.vanished]

    async def items(self, count: int, most: int = 1000) -> list[str]:
        """The ids of the items that are read ahead, until ``most`` were taken."""
        ids = [str(number) for number in range(count)]
        taken: list[str] = []
        async with aclosing(read_ahead(ids, self.read, self.gone.append, 3)) as items:
            async for item in items:
                taken.append(item.id)
                await asyncio.sleep(0)
                if len(taken) == most:
                    break
        return taken


@pytest.mark.parametrize("count", [0, 1, 3, 10])
async def test_all_items_come_in_order(count):
    shelf = Shelf()
    assert await shelf.items(count) == [str(number) for number in range(count)]
    assert shelf.chunks == [min(3, count - start) for start in range(0, count, 3)]


async def test_vanished_items_are_reported_and_left_out():
    shelf = Shelf(vanished=("1", "6", "7", "8"))
    assert await shelf.items(9) == ["0", "2", "3", "4", "5"]
    assert shelf.gone == ["1", "6", "7", "8"]


async def test_one_chunk_is_read_ahead_and_no_more():
    shelf = Shelf()
    assert await shelf.items(100, most=2) == ["0", "1"]
    assert shelf.chunks == [3, 3]


async def test_an_error_of_reading_comes_with_the_next_item():
    with pytest.raises(StashQueryError, match="too much"):
        await Shelf(fails_at=1).items(9)


# --- failures ---


def ends_after(failures: Iterable[tuple[Exception, str]]) -> int | None:
    """Return how many of these failures are counted before the batch ends."""
    streak = FailureStreak("stays queued")
    for number, (error, path) in enumerate(failures, 1):
        try:
            streak.add(error, path)
        except SameCauseError as same:
            assert str(error) in str(same)
            return number
    return None


def each(make: Callable[[int], Exception], path: str = "/v/{}.mp4") -> list[tuple[Exception, str]]:
    return [(make(number), path.format(number)) for number in range(60)]


def judged(number: int) -> Exception:
    place = f"/v/{number}/game {number}.mp4"
    return CoverageError(f'{place}: only {number} of 9 frames could be judged: "I am {number}"')


def refused(number: int) -> Exception:
    return RequestError(f'it refused: HTTP 400 "I am "{chr(65 + number)}", said "x" there"')


FAILURES = {
    "details of the item": (each(judged, "/v/{0}/game {0}.mp4"), FAILURES_IN_A_ROW),
    "a server's words": (each(refused), FAILURES_IN_A_ROW),
    "missing files": (
        each(lambda n: MediaNotFoundError(f"/v/{n}.mp4: there is no such file here")),
        FILES_IN_A_ROW,
    ),
    "a share that is gone": (
        each(lambda n: MediaOutOfReachError(f"/v/{n}.mp4: reading stalled")),
        FILES_IN_A_ROW,
    ),
    "bad files": (each(lambda n: MediaUnreadableError(f"/v/{n}.mp4: holds no video")), None),
    "two causes": (
        each(lambda n: ReplyError("no") if n % 2 else RequestError("never")),
        2 * FAILURES_IN_A_ROW - 1,
    ),
}


@pytest.mark.parametrize(("failures", "limit"), FAILURES.values(), ids=FAILURES)
def test_a_streak_of_one_cause_ends_the_batch(failures, limit):
    assert ends_after(failures) == limit


def test_a_success_resets_the_streak():
    streak, error = FailureStreak("stays queued"), ReplyError("no")
    for _ in range(2):
        for _ in range(FAILURES_IN_A_ROW - 1):
            streak.add(error, "/v/a.mp4")
        streak.reset()
    with pytest.raises(SameCauseError):
        for _ in range(FAILURES_IN_A_ROW):
            streak.add(error, "/v/a.mp4")
