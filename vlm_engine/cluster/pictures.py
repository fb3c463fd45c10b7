"""Pictures are sent some at a time: a task of its own would cost more than a picture does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

from vlm_engine.cluster.outcome import ImageOutput
from vlm_engine.errors import VLMEngineError
from vlm_engine.files import InMemoryFile
from vlm_engine.tagging.requests import ImageRequest
from vlm_engine.tasks import cancel, resolve

AT_ONCE = 8
"""Pictures in one task, at most."""
_GATHERED_S = 0.02
_MOST_BYTES = 4_000_000  # of pictures that are no files: they travel

Picture = tuple[ImageRequest, str, Mapping[str, object]]
"""A picture, its pipeline, and the values of the call that the pipeline may take."""


_Waiting = tuple[Picture, asyncio.Future[ImageOutput]]
_Results = Sequence[ImageOutput | VLMEngineError]


class PictureTasks:
    """Gathers pictures, and lets ``work`` do some at a time."""

    def __init__(self, work: Callable[[Sequence[Picture]], Coroutine[Any, Any, _Results]]) -> None:
        self._work = work
        self._waiting: list[_Waiting] = []
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[_Results]] = set()

    async def add(self, picture: Picture) -> ImageOutput:
        """Return the result of one picture. Raises its error."""
        loop = asyncio.get_running_loop()
        result: asyncio.Future[ImageOutput] = loop.create_future()
        self._waiting.append((picture, result))
        size = sum(len(_content(waiting.source)) for (waiting, *_), _ in self._waiting)
        if len(self._waiting) >= AT_ONCE or size > _MOST_BYTES:
            self._start()
        elif self._timer is None:
            self._timer = loop.call_later(_GATHERED_S, self._start)
        return await result

    async def aclose(self) -> None:
        """Cancel what is in flight."""
        await cancel(self._tasks)

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting = [(picture, result) for picture, result in self._waiting if not result.done()]
        self._waiting = []
        if waiting:
            work = self._work([picture for picture, _ in waiting])
            self._tasks.add(task := asyncio.create_task(work))
            task.add_done_callback(partial(self._finish, [result for _, result in waiting]))

    def _finish(
        self, results: Sequence[asyncio.Future[ImageOutput]], task: asyncio.Task[_Results]
    ) -> None:
        self._tasks.discard(task)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        outcomes = task.result() if error is None else [error] * len(results)
        for result, outcome in zip(results, outcomes, strict=True):
            resolve(result, outcome)


def _content(source: object) -> bytes:
    """Return the bytes that travel with a picture."""
    content = source.content if isinstance(source, InMemoryFile) else source
    return content if isinstance(content, bytes) else b""
