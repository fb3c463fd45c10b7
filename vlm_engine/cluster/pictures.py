"""Pictures are sent some at a time: a task of its own would cost more than a picture does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from vlm_engine.cluster.outcome import ImageOutput
from vlm_engine.errors import VLMEngineError
from vlm_engine.tagging.requests import ImageRequest

AT_ONCE = 8
"""Pictures in one task, at most."""
_GATHERED_S = 0.02

Picture = tuple[ImageRequest, str, Mapping[str, object]]
"""A picture, its pipeline, and the values of the call that the pipeline may take."""


@dataclass(slots=True)
class _Waiting:
    picture: Picture
    result: asyncio.Future[ImageOutput]

    def resolve(self, outcome: ImageOutput | BaseException) -> None:
        if self.result.done():
            return
        if isinstance(outcome, asyncio.CancelledError):
            self.result.cancel()
        elif isinstance(outcome, BaseException):
            self.result.set_exception(outcome)
        else:
            self.result.set_result(outcome)


class PictureTasks:
    """Gathers pictures, and lets ``work`` do some at a time."""

    def __init__(
        self,
        work: Callable[[Sequence[Picture]], Awaitable[Sequence[ImageOutput | VLMEngineError]]],
    ) -> None:
        self._work = work
        self._waiting: list[_Waiting] = []
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def add(self, picture: Picture) -> ImageOutput:
        """Return the result of one picture. Raises its error."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(picture, loop.create_future())
        self._waiting.append(waiting)
        if len(self._waiting) >= AT_ONCE:
            self._start()
        elif self._timer is None:
            self._timer = loop.call_later(_GATHERED_S, self._start)
        return await waiting.result

    async def aclose(self) -> None:
        """Cancel what is in flight."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting = [one for one in self._waiting if not one.result.done()]
        self._waiting = []
        if waiting:
            task = asyncio.create_task(self._do(waiting))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _do(self, waiting: Sequence[_Waiting]) -> None:
        try:
            found = await self._work([one.picture for one in waiting])
            for one, outcome in zip(waiting, found, strict=True):
                one.resolve(outcome)
        except Exception as error:  # noqa: BLE001 - raised to the caller of each
            for one in waiting:
                one.resolve(error)
        except asyncio.CancelledError as error:
            for one in waiting:
                one.resolve(error)
            raise
