"""Clusters of real processes: Dask's own programs, forked from one process that has imported
them, which is quick.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

from tests.engine.engines import plays
from vlm_engine import VLMEngine
from vlm_engine.cluster import open_engine
from vlm_engine.config.models import EngineConfig
from vlm_engine.testing import Behaviour, SandboxVLM

ROOT = Path(__file__).parents[2]
LIMIT_S = 60.0
_DIES_WITH_ITS_PARENT = 1  # PR_SET_PDEATHSIG


@cache
def processes() -> ForkServerContext:
    """Return a context whose processes have everything imported."""
    ready = multiprocessing.get_context("forkserver")
    ready.set_forkserver_preload(
        [
            "tests.cluster.clusters",
            "distributed.cli.dask_scheduler",
            "distributed.cli.dask_worker",
            "distributed.http.scheduler.info",
            "vlm_engine.cluster.engine",
            "vlm_engine.tagging.video",
            "aiohttp",
            "av",
            "numpy",
        ]
    )
    return ready


def forked(function: Callable[..., object], *values: object, log: Path) -> ForkServerProcess:
    """Start a process that calls ``function``. What it says and logs goes into ``log``."""
    process = processes().Process(target=_run, args=(function, values, log), daemon=True)
    process.start()
    return process


def _run(function: Callable[..., object], values: Sequence[object], log: Path) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIES_WITH_ITS_PARENT, signal.SIGKILL)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    function(*values)


def _scheduler(arguments: Sequence[str]) -> None:
    from distributed.cli.dask_scheduler import main

    main(arguments)


def _worker(arguments: Sequence[str]) -> None:
    from distributed.cli.dask_worker import main

    main(arguments)


@dataclass
class Cluster:
    """A scheduler and workers on this machine. All of them end with it.

    ``tls``: what each program is told of certificates. ``started``: the processes, by name.
    """

    folder: Path
    tls: Sequence[str] = ()
    started: dict[str, ForkServerProcess | subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """The address of the scheduler."""
        address: str = json.loads(self._file.read_text())["address"]
        return address

    @property
    def _file(self) -> Path:
        return self.folder / "scheduler.json"

    def start(self, **environment: str) -> None:
        """Start the scheduler. ``environment``: as for ``join``."""
        host = "tls://127.0.0.1" if self.tls else "tcp://127.0.0.1"
        arguments = ["--host", host, "--port", "0", "--no-dashboard", *self.tls]
        arguments += ["--scheduler-file", str(self._file)]
        self._start("scheduler", _scheduler, "dask_scheduler", arguments, environment)
        until(lambda: self._file.exists() and self._file.read_text().endswith("}"))

    def join(
        self, *names: str, threads: int = 4, host: str = "127.0.0.1", **environment: str
    ) -> None:
        """Start workers. Do not wait for them.

        ``environment``: variables for programs started apart, elsewhere than in this folder, so
        that they have this package only if ``PYTHONPATH`` says so.
        """
        for name in names:
            arguments = [self.address, "--nthreads", str(threads), "--no-nanny", "--name", name]
            arguments += ["--no-dashboard", "--memory-limit", "0", "--death-timeout", "60"]
            arguments += ["--local-directory", str(self.folder), *self.tls]
            arguments += ["--host", f"{self.address.partition(':')[0]}://{host}"]
            self._start(name, _worker, "dask_worker", arguments, environment)

    def _start(
        self,
        name: str,
        function: Callable[[Sequence[str]], None],
        program: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
    ) -> None:
        log = self.folder / f"{name}.log"
        if not environment:
            self.started[name] = forked(function, arguments, log=log)
            return
        with log.open("ab") as output:
            self.started[name] = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{program}", *arguments],
                cwd=self.folder,
                env={**os.environ, **environment},
                stdout=output,
                stderr=output,
            )

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a process."""
        pid = self.started[name].pid
        assert pid is not None
        with contextlib.suppress(ProcessLookupError):  # it has ended
            os.kill(pid, number)

    def kill(self, name: str) -> None:
        """Kill a process with SIGKILL, and forget it."""
        self.send(name, signal.SIGKILL)
        _wait(self.started.pop(name))

    def leave(self, name: str) -> None:
        """End a process in order, and forget it."""
        self.send(name, signal.SIGTERM)
        _wait(self.started.pop(name))

    def log(self, name: str) -> str:
        """Return what a process has logged."""
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def stop(self) -> None:
        """Kill every process."""
        for name in tuple(self.started):
            self.kill(name)


def _wait(process: ForkServerProcess | subprocess.Popen[bytes]) -> None:
    if isinstance(process, subprocess.Popen):
        process.wait(LIMIT_S)
    else:
        process.join(LIMIT_S)
        assert process.exitcode is not None


@contextlib.contextmanager
def cluster(
    folder: Path, *workers: str, threads: int = 4, tls: Sequence[str] = (), **environment: str
) -> Iterator[Cluster]:
    """Start a scheduler and workers with these names, and end all when the block ends.

    ``environment``: of the scheduler, as for ``join``.
    """
    folder.mkdir(exist_ok=True)
    started = Cluster(folder, tls)
    try:
        started.start(**environment)
        started.join(*workers, threads=threads)
        yield started
    finally:
        started.stop()


def until(holds: Callable[[], object], limit_s: float = LIMIT_S) -> None:
    """Wait until something holds, for code without an event loop."""
    ends = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < ends, "it did not come about"
        time.sleep(0.02)


async def soon(holds: Callable[[], object], limit_s: float = LIMIT_S) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(limit_s):
        while not holds():
            await asyncio.sleep(0.02)


def settings(
    vlm: SandboxVLM, store: Path | None = None, cluster: Any = None, **more: Any
) -> EngineConfig:
    """Return settings under which equal videos are asked equal questions.

    ``model_settings``: more of those of the model.
    """
    model = {"frames_compared": 0, **more.pop("model_settings", {})}
    return plays(vlm, store=store, cluster=cluster, model_settings=model, **more)


@contextlib.asynccontextmanager
async def tagging(
    there: Cluster,
    behaviour: Behaviour,
    store: Path | None = None,
    paths: Mapping[str, Mapping[str, str]] | None = None,
    **more: Any,
) -> AsyncIterator[tuple[VLMEngine, SandboxVLM]]:
    """Open an engine on a cluster, and its one endpoint.

    ``paths``: those of the settings of the cluster. ``more`` as for ``settings``.
    """
    address = {"address": there.address, "paths": paths or {}}
    async with (
        SandboxVLM(behaviour) as vlm,
        open_engine(settings(vlm, store, address, **more)) as engine,
    ):
        yield engine, vlm


def as_json(result: Mapping[str, Any]) -> str:
    """Return what a result says of its video."""
    return json.dumps([result["json_result"], result["video_tag_info"]])


APART = {"PYTHONSAFEPATH": "1"}
"""The environment of a program that has Dask, but not this package."""
