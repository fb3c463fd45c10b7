"""An open connection to a cluster, for one run: tasks go out, store calls come in."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from itertools import count

from vlm_engine.cluster import hub
from vlm_engine.cluster.connection import connect
from vlm_engine.cluster.dispatch import ELSEWHERE, Dispatcher
from vlm_engine.cluster.outcome import ImageOutput, Outcome, VideoOutput, WorkerState
from vlm_engine.cluster.pictures import Picture, PictureTasks
from vlm_engine.cluster.places import Places
from vlm_engine.cluster.remote_store import Call, StoreCalls
from vlm_engine.cluster.roster import Roster
from vlm_engine.cluster.worker import tag_image, tag_images, tag_video
from vlm_engine.config.cluster import ClusterConfig
from vlm_engine.config.models import EngineConfig
from vlm_engine.errors import (
    ConfigError,
    NoEndpointError,
    UnreachableError,
    VLMEngineError,
)
from vlm_engine.store import Store
from vlm_engine.tagging.requests import VideoRequest
from vlm_engine.tasks import cancel
from vlm_engine.types import Progress
from vlm_engine.video import identity_of

_SILENT_S, _SETTLE_S, _REJOIN_S = 5.0, 5.0, 300.0
_log = logging.getLogger(__name__)


class Session:
    """An open connection to a cluster, for one run. Use it in ``async with``.

    ``roster``: the workers. ``dispatcher``: what sends them tasks.

    Entering it raises ``ConfigError`` where no worker can be used; ``join_s``: the seconds within
    which one has to be ready.
    """

    def __init__(
        self, config: EngineConfig, cluster: ClusterConfig, store: Store, join_s: float = 60.0
    ) -> None:
        self._config = config
        self._cluster = cluster
        self._join_s = join_s
        self._run = uuid.uuid4().hex
        others: dict[str, Callable[..., None]] = {
            "progress": self._take_progress,
            "state": self._take_state,
            "outcome": self._take_outcome,
            "log": _take_log,
            "opened": lambda: None,
        }
        self._calls = StoreCalls(store, others)
        self._loop = asyncio.get_running_loop()
        self._end: asyncio.Future[None] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._places = Places(lambda: self.places)
        self._pictures = PictureTasks(self._tag_pictures)
        self._numbers = count(1)
        self._on_progress: dict[int, Callable[[Progress], None]] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Session:
        async with AsyncExitStack() as stack:
            self._client = client = await connect(self._cluster, stack)
            self.roster = Roster(client, self._run, self._config, self._cluster, self._take_change)
            self.dispatcher = Dispatcher(client, self._run, self.roster, self._end, self._break_off)
            stack.push_async_callback(self.roster.aclose)
            stack.push_async_callback(self._pictures.aclose)
            listening = asyncio.create_task(self._listen())
            listening.add_done_callback(self._end_listening)
            stack.push_async_callback(cancel, [listening])
            await self._wait_for_workers()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._end_with(RuntimeError("the engine was closed"))
        if self._timer is not None:
            self._timer.cancel()
        await self._stack.aclose()

    @property
    def places(self) -> int:
        """Number of tasks that the workers work on at once, and of those in flight."""
        return self.roster.places

    # Opening.

    async def _wait_for_workers(self) -> None:
        """Wait for the workers that there are, so that the first files go to all of them.

        Raises ``ConfigError`` if none can be used.
        """
        roster, is_said = self.roster, False
        started = self._loop.time()
        ends_at = started + self._join_s
        while not (roster.ready and roster.is_settled) and self._loop.time() < ends_at:
            if roster.refused and roster.is_settled:
                raise ConfigError("\n".join(f"cluster: {one}" for one in roster.refused.values()))
            if roster.ready:
                ends_at = min(ends_at, self._loop.time() + _SETTLE_S)
            elif not is_said and self._loop.time() - started > _SILENT_S:
                is_said = True
                _log.info("No worker of %s is ready yet; waiting.", self._cluster.address)
            await self.dispatcher.next_change()
        if not roster.ready:
            raise ConfigError(f"cluster: {self._not_ready()}")

    def _not_ready(self) -> str:
        address, known = self._cluster.address, self.roster.known.values()
        if known:
            workers = ", ".join(map(str, known))
            return f"{workers} is not ready after {self._join_s:.0f} s: see the worker's log"
        return (
            f"no worker has joined {address} within {self._join_s:.0f} s: start some with "
            f"`dask worker {address}`"
        )

    async def _listen(self) -> None:
        """Answer the workers' store calls, and follow which workers there are."""
        ask = getattr(self._client.scheduler, hub.NEXT)
        replies: list[Call] = []
        while True:
            news = await ask(client=self._client.id, run=self._run, replies=replies)
            if news["workers"] is not None:
                self.roster.update(news["workers"])
            replies = await asyncio.to_thread(self._calls.replies_to, news["calls"])

    def _end_listening(self, listening: asyncio.Task[None]) -> None:
        if not listening.cancelled():
            reason = (
                f"its scheduler has gone ({listening.exception()}): start it and the workers again"
            )
            self._break_off(reason)

    def _take_change(self) -> None:
        """Go on with what workers that have joined can do; end where none is left for long."""
        self._places.admit()
        if self.roster.ready or not self.roster.is_settled:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        elif self._timer is None:
            self._timer = self._loop.call_later(_REJOIN_S, self._end_without_workers)

    def _end_without_workers(self) -> None:
        reasons = "; ".join(self.roster.refused.values()) or "all have left"
        self._break_off(f"it has had no worker for {_REJOIN_S:.0f} s: {reasons}")

    def _break_off(self, reason: str) -> None:
        cause = UnreachableError(reason, endpoint=f"cluster {self._cluster.address}")
        self._end_with(NoEndpointError("The cluster cannot be used any more", [cause]))

    def _end_with(self, error: Exception) -> None:
        """Let all that waits fail with this error."""
        if not self._end.done():
            self._end.set_exception(error)
            self._end.exception()  # perhaps nothing waits for it

    # Tasks.

    async def tag_video(
        self,
        request: VideoRequest,
        size: int,
        on_progress: Callable[[Progress], None] | None,
        pipeline: str,
        values: Mapping[str, object],
    ) -> VideoOutput:
        """Return what a worker gives for a video of so many bytes."""
        number, settled = next(self._numbers), 0

        def take(progress: Progress) -> None:
            nonlocal settled
            settled = max(settled, progress.settled)
            if on_progress is not None:
                on_progress(progress)

        self._on_progress[number] = take
        try:
            async with self._places.at(size):
                sent = await asyncio.to_thread(self._identified, request)
                given = sent, number, pipeline, dict(values)
                label = str(request.source)
                found: VideoOutput = await self.dispatcher.on_some_worker(
                    label, size, tag_video, *given, settled=lambda: settled
                )
                return found
        finally:
            self._on_progress.pop(number, None)

    def _identified(self, request: VideoRequest) -> VideoRequest:
        """Return the request with the identity that the file has here, if it is here: through
        another mount, a worker may see another time of change.
        """
        if request.identity is None:
            with suppress(VLMEngineError):  # a worker may have the file
                identity = identity_of(request.source, stall_s=self._config.video.stall_s)
                return replace(request, identity=identity)
        return request

    async def tag_image(self, picture: Picture) -> ImageOutput:
        """Return what a worker gives for a picture."""
        return await self._pictures.add(picture)

    async def _tag_pictures(
        self, pictures: Sequence[Picture]
    ) -> Sequence[ImageOutput | VLMEngineError]:
        async with self._places.at(0):
            outcome = await self.dispatcher.outcome("pictures", 0, {}, tag_images, list(pictures))
            found = [outcome.error] * len(pictures) if outcome.error else outcome.result
            return await asyncio.gather(
                *(
                    self._picture_again(picture, one, outcome.worker)
                    for picture, one in zip(pictures, found, strict=True)
                )
            )

    async def _picture_again(
        self, picture: Picture, found: ImageOutput | VLMEngineError, worker: str
    ) -> ImageOutput | VLMEngineError:
        """Return what was found, or what another worker finds if this one could not."""
        if not isinstance(found, ELSEWHERE):
            return found
        try:
            name = str(picture[0].source)
            again: ImageOutput = await self.dispatcher.on_some_worker(
                name, 0, tag_image, *picture, failed={worker: found}
            )
        except VLMEngineError as error:
            return error
        return again

    def _take_progress(self, number: int, progress: Progress) -> None:
        """Report the progress of a video. Called on another thread."""
        on_progress = self._on_progress.get(number)
        if on_progress is not None:
            self._loop.call_soon_threadsafe(on_progress, progress)

    def _take_state(self, worker: str, state: WorkerState) -> None:
        """Take what a worker knows. Called on another thread."""
        self._loop.call_soon_threadsafe(self.dispatcher.take_state, worker, state)

    def _take_outcome(self, key: str, outcome: Outcome) -> None:
        """Take the outcome of a task. Called on another thread."""
        self._loop.call_soon_threadsafe(self.dispatcher.take_outcome, key, outcome)


def _take_log(name: str, level: int, message: str) -> None:
    logging.getLogger(name).log(level, "%s", message)
