"""The part in a worker: one engine for each run of a caller, and the tasks that use it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from distributed import Reschedule, Worker, WorkerPlugin, get_worker

from vlm_engine.cluster.link import GONE, Link
from vlm_engine.cluster.outcome import ImageOutput, Outcome, WorkerState, portable
from vlm_engine.cluster.remote_store import RemoteStore
from vlm_engine.cluster.slots import SlotShares
from vlm_engine.config.cluster import ClusterConfig
from vlm_engine.config.models import EngineConfig, ModelConfig
from vlm_engine.engine import VLMEngine
from vlm_engine.errors import StoreError, VLMEngineError
from vlm_engine.paths import map_path
from vlm_engine.tagging.requests import ImageRequest, VideoRequest, with_path
from vlm_engine.tasks import cancel
from vlm_engine.types import Progress
from vlm_engine.watchdog import Readers

_PROGRESS_EVERY_S, _STATE_EVERY_S = 0.25, 1.0
_STALL_S = 5.0
_T = TypeVar("_T")
_RequestT = TypeVar("_RequestT", VideoRequest, ImageRequest)
_run = ContextVar("vlm_engine_run", default="")


async def open_engine(
    run: str,
    config: EngineConfig,
    cluster: ClusterConfig,
    log_level: int,
    dask_worker: Worker,
) -> VLMEngineError | None:
    """Open the engine for a caller's run. Return the error if it cannot be opened."""
    plugin = RunPlugin(run, config, cluster, log_level)
    await dask_worker.plugin_add(plugin=plugin, name=engine_name(run))
    if plugin.error is not None:
        await dask_worker.plugin_remove(name=engine_name(run))
    return plugin.error


def engine_name(run: str) -> str:
    """Return the name of a run's engine among the plugins of a worker."""
    return f"vlm-engine {run}"


async def unreadable(run: str, files: Sequence[str], dask_worker: Worker) -> list[str]:
    """Return what is wrong with each of the files that this worker cannot read, in its paths."""
    plugin = dask_worker.plugins[engine_name(run)]
    assert isinstance(plugin, RunPlugin)
    return await plugin.unreadable(files)


def _read_fault(path: str) -> str:
    """Return why a file cannot be read; "" if it can. Reads one byte."""
    try:
        with Path(path).open("rb") as content:
            content.read(1)
    except (OSError, ValueError) as error:
        return f"{path}: {getattr(error, 'strerror', None) or error}"
    return ""


class RunPlugin(WorkerPlugin):
    """One engine on one worker, for the tasks of one caller's run.

    ``error``: why it could not be opened. Dask would log the settings with it.
    """

    def __init__(
        self, run: str, config: EngineConfig, cluster: ClusterConfig, log_level: int
    ) -> None:
        self.error: VLMEngineError | None = None
        self._run = run
        self._config = config
        self._cluster = cluster
        self._log_level = log_level
        self._tasks: dict[str, asyncio.Task[Any]] = {}
        self._telling: asyncio.Task[None] | None = None
        self._closing: asyncio.Future[Any] | None = None

    async def setup(self, worker: Worker) -> None:
        """Open the engine."""
        _run.set(self._run)  # what the engine starts belongs to this run, too
        names = str(worker.name), worker.ip, worker.address
        self._worker = worker
        self._paths = tuple(self._cluster.paths_of(*names).items())
        self._link = Link(worker, self._run)
        self._link.on_close = self._close_soon
        self._log = _LogToCaller(self._link, str(worker.name))
        logging.getLogger("vlm_engine").addHandler(self._log)
        logging.getLogger("vlm_engine").setLevel(self._log_level)
        self._engine = VLMEngine(
            for_worker(self._config, names),
            store=RemoteStore(self._link),
            shares=SlotShares(self._link, worker.ip),
        )
        self.error = await _error_or_result(self._engine.initialize)
        self._link.tell("opened")  # a caller that has gone meanwhile has it closed again
        self._telling = asyncio.create_task(self._tell_state())

    async def teardown(self, worker: Worker) -> None:
        """Cancel the tasks, and close the engine."""
        self._link.close()
        telling = [self._telling] if self._telling else []
        await cancel([*telling, *self._tasks.values()])
        await self._engine.aclose()
        logging.getLogger("vlm_engine").removeHandler(self._log)

    def transition(self, key: Any, start: Any, finish: Any, **_: Any) -> None:
        """Cancel a task that the scheduler does not want any more: Dask lets it go on."""
        if finish in {"cancelled", "released", "forgotten"} and key in self._tasks:
            self._tasks[key].cancel()

    async def finish(self, key: str, work: Callable[[VLMEngine], Awaitable[Any]]) -> None:
        """Send what ``work`` gives with the engine, or its error, to the caller.

        Raises ``Reschedule`` when this worker leaves.
        """
        _run.set(self._run)
        task = self._tasks[key] = asyncio.ensure_future(
            _error_or_result(partial(work, self._engine))
        )
        try:
            await asyncio.wait((task,))
        finally:
            task.cancel()
            del self._tasks[key]
        if self._link.is_closed or task.cancelled():
            raise Reschedule
        outcome = Outcome(self._worker.address, self._state(), task.result())
        self._link.tell("outcome", key, outcome)

    def here(self, request: _RequestT) -> _RequestT:
        """Return the request with the path that the file has on this worker."""
        return with_path(request, lambda path: map_path(path, self._paths))

    async def unreadable(self, files: Sequence[str]) -> list[str]:
        """Return what is wrong with each of the files that cannot be read here."""
        readers = Readers(len(files), _STALL_S)
        paths = [map_path(file, self._paths) for file in files]
        try:
            calls = (readers.call(path, partial(_read_fault, path)) for path in paths)
            found = await asyncio.gather(*calls, return_exceptions=True)
        finally:
            await readers.aclose()
        return [str(fault) for fault in found if fault]

    def report_progress(self, number: int) -> Callable[[Progress], None]:
        """Return what reports the progress of the caller's video of this number."""
        last_s = time.monotonic()

        def report(progress: Progress) -> None:
            nonlocal last_s
            now = time.monotonic()
            if now - last_s >= _PROGRESS_EVERY_S:
                last_s = now
                self._link.tell("progress", number, progress)

        return report

    def _state(self) -> WorkerState:
        return WorkerState(self._engine.labelled_stats(), self._engine.style_comparisons())

    async def _tell_state(self) -> None:
        """Tell what the endpoints do while there are tasks: one of them may take an hour."""
        while True:
            await asyncio.sleep(_STATE_EVERY_S)
            if self._tasks:
                self._link.tell("state", self._worker.address, self._state())

    def _close_soon(self) -> None:
        self._link.close()
        # Dask's own way logs an error where the worker ends meanwhile.
        if self._worker.plugins.pop(engine_name(self._run), None) is not None:
            self._closing = asyncio.ensure_future(self.teardown(self._worker))


async def tag_video(
    run: str,
    key: str,
    request: VideoRequest,
    number: int,
    pipeline: str,
    values: Mapping[str, Any],
) -> None:
    """Tag one video. ``key``: that of the task. ``number``: what the caller knows it by."""
    plugin = _plugin(run)
    request = replace(plugin.here(request), on_progress=plugin.report_progress(number))
    await plugin.finish(key, lambda engine: engine.run_video(request, pipeline, **values))


async def tag_image(
    run: str, key: str, request: ImageRequest, pipeline: str, values: Mapping[str, Any]
) -> None:
    """Tag one picture."""
    plugin = _plugin(run)
    await plugin.finish(
        key, lambda engine: engine.run_image(plugin.here(request), pipeline, **values)
    )


async def tag_images(
    run: str, key: str, requests: Sequence[tuple[ImageRequest, str, Mapping[str, Any]]]
) -> None:
    """Tag some pictures. Each has its result, or its error."""
    plugin = _plugin(run)

    async def every(engine: VLMEngine) -> list[ImageOutput | VLMEngineError]:
        works = (
            partial(engine.run_image, plugin.here(request), pipeline, **values)
            for request, pipeline, values in requests
        )
        return await asyncio.gather(*map(_error_or_result, works))

    await plugin.finish(key, every)


async def _error_or_result(work: Callable[[], Awaitable[_T]]) -> _T | VLMEngineError:
    try:
        return await work()
    except Exception as error:  # noqa: BLE001 - raised at the caller
        return portable(error)


def _plugin(run: str) -> RunPlugin:
    plugin = get_worker().plugins.get(engine_name(run))
    if not isinstance(plugin, RunPlugin):
        raise StoreError(GONE)
    return plugin


def for_worker(config: EngineConfig, names: Sequence[str]) -> EngineConfig:
    """Return the settings for the worker with these names: with the endpoints that it may ask."""

    def here(model: ModelConfig) -> ModelConfig:
        its = (one.model_copy(update={"worker": ""}) for one in model.endpoints(*names))
        return model.model_copy(update={"multiplexer_endpoints": tuple(its)})

    models = {name: here(model) for name, model in config.models.items()}
    return config.model_copy(update={"models": models})


class _LogToCaller(logging.Handler):
    """Sends what one run logs to its caller."""

    def __init__(self, link: Link, worker: str) -> None:
        super().__init__()
        self._link = link
        self._worker = worker

    def emit(self, record: logging.LogRecord) -> None:
        if _run.get() in ("", self._link.run):
            message = f"worker {self._worker}: {record.getMessage()}"
            self._link.tell("log", record.name, record.levelno, message)
