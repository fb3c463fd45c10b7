"""An open connection to a cluster, for one run: tasks go out, store calls come in."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from itertools import count
from types import MappingProxyType
from typing import Any

from distributed import Client, KilledWorker, Security
from distributed.client import FutureCancelledError
from distributed.comm.core import FatalCommClosedError

from vlm_engine.cluster import hub
from vlm_engine.cluster.local import local_cluster
from vlm_engine.cluster.outcome import ImageOutput, Outcome, T, VideoOutput, WorkerState
from vlm_engine.cluster.pictures import Picture, PictureTasks
from vlm_engine.cluster.places import Places
from vlm_engine.cluster.remote_store import Call, StoreCalls
from vlm_engine.cluster.roster import INSTALL, Roster
from vlm_engine.cluster.worker import tag_image, tag_images, tag_video
from vlm_engine.config.cluster import ClusterConfig
from vlm_engine.config.models import EngineConfig
from vlm_engine.errors import (
    ConfigError,
    MediaNotFoundError,
    MediaOutOfReachError,
    NoEndpointError,
    UnreachableError,
    VLMEngineError,
    WorkerLostError,
)
from vlm_engine.store import Store
from vlm_engine.tagging.requests import VideoRequest
from vlm_engine.types import Progress, StyleComparison
from vlm_engine.video import identity_of

_CONNECT_S, _JOIN_S, _REJOIN_S = 10.0, 60.0, 300.0
_ELSEWHERE = (MediaNotFoundError, MediaOutOfReachError, NoEndpointError)
"""Errors that another worker may not have."""
_MOST_LOSSES = 4  # as Dask counts them where other workers are left
_NOTHING: Mapping[str, VLMEngineError] = MappingProxyType({})


class Session:
    """An open connection to a cluster, for one run. Use it in ``async with``.

    ``roster``: the workers. ``states``: what each worker told last, by its address.
    ``comparisons``: what is known of the styles of asking each model.

    Entering it raises ``ConfigError`` where no worker can be used.
    """

    def __init__(self, config: EngineConfig, cluster: ClusterConfig, store: Store) -> None:
        self.states: dict[str, WorkerState] = {}
        self.comparisons: tuple[StyleComparison, ...] = ()
        self._config = config
        self._cluster = cluster
        self._run = uuid.uuid4().hex
        self._calls = StoreCalls(
            store, {"progress": self._take_progress, "log": _take_log, "opened": lambda: None}
        )
        self._loop = asyncio.get_running_loop()
        self._end: asyncio.Future[None] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._places = Places(lambda: self.places)
        self._pictures = PictureTasks(self._tag_pictures)
        self._numbers = count(1)
        self._on_progress: dict[int, Callable[[Progress], None]] = {}
        self._unable: set[str] = set()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Session:
        async with AsyncExitStack() as stack:
            self._client = await self._connect(stack)
            await self._start_hub()
            self.roster = Roster(
                self._client, self._run, self._config, self._cluster, self._take_change
            )
            stack.push_async_callback(self.roster.aclose)
            stack.push_async_callback(self._pictures.aclose)
            listening = asyncio.create_task(self._listen())
            listening.add_done_callback(self._end_listening)
            stack.push_async_callback(_cancelled, listening)
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

    async def _connect(self, stack: AsyncExitStack) -> Client:
        cluster, address = self._cluster, self._cluster.address
        security = _security(cluster)
        try:
            if cluster.local_workers:
                address = await stack.enter_async_context(local_cluster(cluster.local_workers))
            return await stack.enter_async_context(
                Client(  # type: ignore[no-untyped-call]
                    address,
                    asynchronous=True,
                    set_as_default=False,
                    security=security,
                    timeout=_CONNECT_S,
                )
            )
        except FatalCommClosedError as error:
            raise ConfigError(
                f"cluster: the scheduler at {cluster.address} and this machine do not accept each "
                f"other's certificates ({error}): check ca_file, cert_file and key_file"
            ) from error
        except (OSError, TimeoutError, ValueError) as error:
            raise ConfigError(
                f"cluster: no scheduler answers at {cluster.address} ({error}): start one with "
                "`dask scheduler`, and check the address and, for tls://, the certificates"
            ) from error

    async def _start_hub(self) -> None:
        try:
            await self._client.register_plugin(hub.Hub())
        except ImportError as error:
            raise ConfigError(
                f"cluster: the scheduler at {self._cluster.address} has no vlm-engine ({error}): "
                f"{INSTALL} there, and start it again"
            ) from error

    async def _wait_for_workers(self) -> None:
        """Wait for the first worker that can be used. Raises ``ConfigError`` if there is none."""
        roster = self.roster
        ends_at = self._loop.time() + _JOIN_S
        while not roster.ready and self._loop.time() < ends_at:
            if roster.refused and roster.is_settled:
                raise ConfigError("\n".join(f"cluster: {one}" for one in roster.refused.values()))
            await self._next_change()
        if not roster.ready:
            raise ConfigError(
                f"cluster: no worker has joined {self._cluster.address} within {_JOIN_S:.0f} s: "
                f"start some with `dask worker {self._cluster.address}`"
            )

    async def _next_change(self) -> None:
        """Wait until the workers change, or a second. Raises why the cluster cannot be used."""
        changed = asyncio.create_task(self.roster.change())
        await asyncio.wait((changed, self._end), timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
        changed.cancel()
        if self._end.done():
            self._end.result()

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
            self._break_off(f"its scheduler has gone ({listening.exception()})")

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
                return await self._on_some_worker(
                    label, size, tag_video, *given, settled=lambda: settled
                )
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
            outcome = await self._outcome("pictures", 0, {}, tag_images, list(pictures))
            found = outcome.result or [outcome.error or WorkerLostError()] * len(pictures)
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
        if not isinstance(found, _ELSEWHERE):
            return found
        try:
            name = str(picture[0].source)
            return await self._on_some_worker(name, 0, tag_image, *picture, failed={worker: found})
        except VLMEngineError as error:
            return error

    async def _on_some_worker(
        self,
        label: str,
        priority: int,
        function: Callable[..., Coroutine[Any, Any, Outcome[T]]],
        *values: object,
        failed: Mapping[str, VLMEngineError] = _NOTHING,
        settled: Callable[[], int] = lambda: 0,
    ) -> T:
        """Return a task's result; where one worker cannot do it, that of another worker.

        ``failed``: the errors of workers that could not. ``settled``: the number of frames that
        are done.
        """
        failed = dict(failed)
        while True:
            outcome: Outcome[T] = await self._outcome(
                label, priority, failed, function, *values, settled=settled
            )
            if outcome.error is None:
                result: Any = outcome.result
                return result  # type: ignore[no-any-return]
            failed[outcome.worker] = outcome.error

    async def _outcome(
        self,
        label: str,
        priority: int,
        failed: Mapping[str, VLMEngineError],
        function: Callable[..., Coroutine[Any, Any, Outcome[T]]],
        *values: object,
        settled: Callable[[], int] = lambda: 0,
    ) -> Outcome[T]:
        """Return the outcome of a task, of a worker that has not failed it.

        Raises ``WorkerLostError`` when several workers in a row were lost with it, and none of them
        got further than the one before.
        """
        losses = before = 0
        while losses < _MOST_LOSSES:
            workers = await self._able_workers(label, failed)
            outcome: Outcome[T] | int = await self._submitted(priority, workers, function, *values)
            if isinstance(outcome, Outcome):
                self._note(outcome)
                return outcome
            losses = 0 if settled() > before else losses + outcome
            before = max(before, settled())
        raise WorkerLostError(
            f"{label}: {losses} workers were lost while they worked on it, so it is not tried "
            "again: see the logs of the workers"
        )

    async def _able_workers(self, label: str, failed: Mapping[str, VLMEngineError]) -> list[str]:
        """Return the workers that may do a task. Wait for one. Raises the task's error when none
        may.
        """
        while True:
            able = [address for address in self.roster.ready if address not in failed]
            if failed:
                *_, error = failed.values()
                if isinstance(error, NoEndpointError):
                    able = [address for address in able if address not in self._unable]
                may_succeed = able or not self.roster.is_settled
                if not isinstance(error, _ELSEWHERE) or not may_succeed:
                    raise self._final_error(label, failed)
            if able:
                return able
            await self._next_change()

    def _note(self, outcome: Outcome[T]) -> None:
        """Note what a worker knows, and whether its endpoints answer."""
        self.states[outcome.worker] = outcome.state
        self.comparisons = outcome.state.comparisons or self.comparisons
        if isinstance(outcome.error, NoEndpointError):
            self._unable.add(outcome.worker)
        else:
            self._unable.discard(outcome.worker)

    def _final_error(self, label: str, failed: Mapping[str, VLMEngineError]) -> VLMEngineError:
        """Return the error of a task that no worker could do."""
        *_, last = failed.values()
        if not isinstance(last, MediaNotFoundError | MediaOutOfReachError):
            return last
        reasons = "; ".join(
            f"{self.roster.name_of(address)}: {error}" for address, error in failed.items()
        )
        return type(last)(
            f"{label}: no worker of the cluster can read it: {reasons}. Say under `paths` of the "
            "cluster where each worker has the folder"
        )

    async def _submitted(
        self,
        priority: int,
        workers: Sequence[str],
        function: Callable[..., Coroutine[Any, Any, Outcome[T]]],
        *values: object,
    ) -> Outcome[T] | int:
        """Return the outcome of a task that one of these workers does, or how many were lost."""
        key = f"{function.__name__}-{uuid.uuid4().hex}"
        future: Any = self._client.submit(
            function,
            self._run,
            key,
            *values,
            key=key,
            pure=False,
            priority=priority,
            workers=workers,
        )
        result = asyncio.ensure_future(future.result())
        loss = asyncio.create_task(self.roster.loss_of(workers))
        try:
            await asyncio.wait((result, loss, self._end), return_when=asyncio.FIRST_COMPLETED)
            if result.done():
                outcome: Outcome[T] = result.result()
                return outcome
            if self._end.done():
                self._end.result()
            return 1
        except FutureCancelledError as error:
            self._break_off(f"its scheduler has gone or dropped a task ({error.reason})")
            self._end.result()
            raise
        except KilledWorker as error:
            return int(error.allowed_failures) + 1
        finally:
            loss.cancel()
            if not result.done():
                result.cancel()
                await self._client.cancel([future], force=True)  # type: ignore[no-untyped-call]
            future.release()

    def _take_progress(self, number: int, progress: Progress) -> None:
        """Report the progress of a video. Called on another thread."""
        on_progress = self._on_progress.get(number)
        if on_progress is not None:
            self._loop.call_soon_threadsafe(on_progress, progress)


def _security(cluster: ClusterConfig) -> Security | None:
    """Return the certificates, those of Dask's own settings where none are set; None where nothing
    is encrypted.

    Raises ``ConfigError``.
    """
    names = {"ca_file": "tls_ca_file", "cert_file": "tls_client_cert", "key_file": "tls_client_key"}
    files = {names[name]: file for name in names if (file := getattr(cluster, name))}
    if cluster.local_workers:
        return None
    if not cluster.address.startswith(("tls://", "wss://")):
        if files:
            raise ConfigError(
                f"cluster: {cluster.address} does not encrypt, so its certificates are of no use: "
                "write tls:// before the host, or leave them out"
            )
        return None
    try:
        security = Security(**files, require_encryption=True)  # type: ignore[no-untyped-call]
        arguments = security.get_connection_args("client")  # type: ignore[no-untyped-call]
    except OSError as error:
        raise ConfigError(
            f"cluster: its certificates cannot be used ({error}): ca_file, cert_file and key_file "
            "name files in PEM form"
        ) from error
    if arguments["ssl_context"] is None:
        raise ConfigError(
            f"cluster: {cluster.address} needs certificates: set ca_file, cert_file and key_file"
        )
    return security


def _take_log(name: str, level: int, message: str) -> None:
    logging.getLogger(name).log(level, "%s", message)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait((task,))
