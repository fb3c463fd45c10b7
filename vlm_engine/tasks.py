"""Work of one event loop that goes on at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

_T = TypeVar("_T")


async def side_by_side(works: Sequence[Coroutine[Any, Any, _T]]) -> list[_T]:
    """What each gives, in their order. The first that fails ends the others, and its error is raised, by itself."""
    if len(works) == 1:
        return [await works[0]]  # without a task of its own: pictures come by the thousand, and most have one judge
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
