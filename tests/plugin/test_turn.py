"""When a turn ends, whatever it lasts for is broken off once, however often somebody says so."""

from __future__ import annotations

import asyncio

from haven.tasks.time_slice import TimeSlice, TimeSliceOverError


async def nobody_waits() -> bool:
    return False


def test_a_turn_that_several_end_at_the_same_time_is_over_once() -> None:
    async def main() -> list[object]:
        turn = TimeSlice(0, nobody_waits)

        async def look() -> None:
            async with turn.lasts():
                await asyncio.sleep(60)

        looks = [asyncio.create_task(look()) for _ in range(4)]
        await asyncio.sleep(0)
        for _ in range(6):  # also while what was broken off is still ending
            turn.end()
            await asyncio.sleep(0)
        return list(await asyncio.gather(*looks, return_exceptions=True))

    assert [type(outcome) for outcome in asyncio.run(main())] == [TimeSliceOverError] * 4
