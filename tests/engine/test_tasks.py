"""Work that goes on at the same time."""

import asyncio

import pytest

from vlm_engine.tasks import side_by_side


async def later(value: str, seconds: float = 0.0) -> str:
    await asyncio.sleep(seconds)
    return value


async def fails() -> str:
    raise LookupError("no such play")


@pytest.mark.parametrize("values", [[], ["Foul"], ["Foul", "Goal", "Save"]])
def test_what_each_gives_comes_in_their_order(values: list[str]) -> None:
    works = [later(value, 0.01 * (len(values) - number)) for number, value in enumerate(values)]
    assert asyncio.run(side_by_side(works)) == values


@pytest.mark.parametrize("beside", [0, 1])
def test_the_first_that_fails_ends_the_others_and_its_error_comes_by_itself(beside: int) -> None:
    async def run() -> None:
        with pytest.raises(LookupError, match="no such play"):
            await side_by_side([fails(), *(later("Goal", 60.0) for _ in range(beside))])
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())
