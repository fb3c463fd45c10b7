"""Work spread over processes, each started afresh."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


def spread(
    run: Callable[[Job], Result], jobs: Sequence[Job], processes: int, at_once: int = 1
) -> Iterator[Result]:
    """Yield the result of every job, in their order.

    One process: this one. ``at_once``: jobs handed over together.
    """
    if processes == 1:
        yield from map(run, jobs)
        return
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        yield from pool.map(run, jobs, chunksize=at_once)
