"""Tasks and their outcomes: sent to workers that can do them, and to others where one cannot."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from distributed import Client, KilledWorker

from vlm_engine.cluster.outcome import Outcome, WorkerState
from vlm_engine.cluster.roster import Roster
from vlm_engine.errors import (
    MediaNotFoundError,
    MediaOutOfReachError,
    NoEndpointError,
    VLMEngineError,
    WorkerLostError,
)
from vlm_engine.tasks import resolve
from vlm_engine.types import StyleComparison

ELSEWHERE = (MediaNotFoundError, MediaOutOfReachError, NoEndpointError)
"""Errors that another worker may not have."""
_MOST_LOSSES = 4  # as Dask counts them where other workers are left
_NOTHING: Mapping[str, VLMEngineError] = MappingProxyType({})


class Dispatcher:
    """Sends the tasks of one run to the workers of a cluster.

    ``end``: fails with the reason when the cluster cannot be used any more. ``break_off`` gives it
    that reason. ``states``: what each worker told last, by its address. ``comparisons``: what is
    known of the styles of asking each model.
    """

    def __init__(
        self,
        client: Client,
        run: str,
        roster: Roster,
        end: asyncio.Future[None],
        break_off: Callable[[str], None],
    ) -> None:
        self.states: dict[str, WorkerState] = {}
        self.comparisons: tuple[StyleComparison, ...] = ()
        self._client = client
        self._run = run
        self._roster = roster
        self._end = end
        self._break_off = break_off
        self._unable: set[str] = set()
        self._arrivals: dict[str, asyncio.Future[Outcome]] = {}

    def take_state(self, worker: str, state: WorkerState) -> None:
        """Take what a worker knows beside its results."""
        self.states[worker] = state
        self.comparisons = state.comparisons or self.comparisons

    def take_outcome(self, key: str, outcome: Outcome) -> None:
        """Take what the worker of a task sends when it has ended."""
        if key in self._arrivals:
            resolve(self._arrivals[key], outcome)

    async def on_some_worker(
        self,
        label: str,
        priority: int,
        function: Callable[..., Coroutine[Any, Any, None]],
        *values: object,
        failed: Mapping[str, VLMEngineError] = _NOTHING,
        settled: Callable[[], int] = lambda: 0,
    ) -> Any:
        """Return a task's result; where one worker cannot do it, that of another worker.

        ``failed``: the errors of workers that could not. ``settled``: the number of frames that
        are done.
        """
        failed = dict(failed)
        while True:
            outcome = await self.outcome(
                label, priority, failed, function, *values, settled=settled
            )
            if outcome.error is None:
                return outcome.result
            failed[outcome.worker] = outcome.error

    async def outcome(
        self,
        label: str,
        priority: int,
        failed: Mapping[str, VLMEngineError],
        function: Callable[..., Coroutine[Any, Any, None]],
        *values: object,
        settled: Callable[[], int] = lambda: 0,
    ) -> Outcome:
        """Return the outcome of a task, of a worker that has not failed it.

        Raises ``WorkerLostError`` when several workers in a row were lost with it, and none of them
        got further than the one before.
        """
        losses = before = 0
        while losses < _MOST_LOSSES:
            workers = await self._able_workers(label, failed)
            outcome = await self._submitted(priority, workers, function, *values)
            if isinstance(outcome, Outcome):
                self._note(outcome)
                return outcome
            losses = 0 if settled() > before else losses + outcome
            before = max(before, settled())
        raise WorkerLostError(
            f"{label}: {losses} workers were lost while they worked on it, so it is not tried "
            "again: see the logs of the workers"
        )

    async def next_change(self) -> None:
        """Wait until the workers change, or a second. Raises why the cluster cannot be used."""
        changed = asyncio.create_task(self._roster.change())
        await asyncio.wait((changed, self._end), timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
        changed.cancel()
        if self._end.done():
            self._end.result()

    async def _able_workers(self, label: str, failed: Mapping[str, VLMEngineError]) -> list[str]:
        """Return the workers that may do a task. Wait for one. Raises the task's error when none
        may.
        """
        while True:
            able = [address for address in self._roster.ready if address not in failed]
            if failed:
                *_, error = failed.values()
                if isinstance(error, NoEndpointError):
                    able = [address for address in able if address not in self._unable]
                may_succeed = able or not self._roster.is_settled
                if not isinstance(error, ELSEWHERE) or not may_succeed:
                    raise self._final_error(label, failed)
            if able:
                return able
            await self.next_change()

    def _note(self, outcome: Outcome) -> None:
        """Note what a worker knows, and whether its endpoints answer."""
        self.take_state(outcome.worker, outcome.state)
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
            f"{self._roster.name_of(address)}: {error}" for address, error in failed.items()
        )
        return type(last)(
            f"{label}: no worker of the cluster can read it: {reasons}. Say under `paths` of the "
            "cluster where each worker has the folder"
        )

    async def _submitted(
        self,
        priority: int,
        workers: Sequence[str],
        function: Callable[..., Coroutine[Any, Any, None]],
        *values: object,
    ) -> Outcome | int:
        """Return the outcome of a task that one of these workers does, or how many were lost."""
        key = f"{function.__name__}-{uuid.uuid4().hex}"
        arrival: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._arrivals[key] = arrival
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
        failure = asyncio.create_task(self._pass_failure(future, arrival))
        loss = asyncio.create_task(self._roster.loss_of(workers))
        try:
            await asyncio.wait((arrival, loss, self._end), return_when=asyncio.FIRST_COMPLETED)
            if arrival.done():
                return arrival.result()
            if self._end.done():
                self._end.result()
            return 1
        except KilledWorker as error:
            return int(error.allowed_failures) + 1
        finally:
            del self._arrivals[key]
            loss.cancel()
            failure.cancel()
            if not arrival.done():
                await self._client.cancel([future], force=True)  # type: ignore[no-untyped-call]
            future.release()

    async def _pass_failure(self, future: Any, arrival: asyncio.Future[Outcome]) -> None:
        """Let a task that Dask could not bring to its end have that error for its outcome."""
        error = await future.exception()
        if future.status == "cancelled":
            self._break_off("its scheduler has gone or dropped a task")
        elif error is not None:
            resolve(arrival, error)
            arrival.exception()  # perhaps nothing waits for it any more
