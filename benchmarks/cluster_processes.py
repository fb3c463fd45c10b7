"""A Dask cluster in processes of its own, whose workers can be killed, paused, and join late."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
THREADS = 8
"""Threads of a worker: so many videos at once, however few questions each has at a time."""
_START_S = 60.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass
class Cluster:
    """A scheduler and its workers, by name. ``address``: the scheduler's."""

    folder: Path
    address: str = ""
    scheduler: int = 0
    workers: dict[str, int] = field(default_factory=dict)
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def add_worker(self, name: str) -> None:
        """Start a worker. It joins a second or two later."""
        more = ("--nthreads", str(THREADS), "--memory-limit", "0", "--no-nanny", "--name", name)
        scratch = str(self.folder / name)
        process = self._started("worker", self.address, *more, "--local-directory", scratch)
        self.workers[name] = process.pid

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a worker a signal."""
        os.kill(self.workers[name], number)

    @property
    def roles(self) -> Mapping[str, list[int]]:
        """The process ids of each part."""
        return {"scheduler": [self.scheduler], "workers": [*self.workers.values()]}

    def start(self) -> None:
        """Start the scheduler, and wait until its address is known."""
        file = self.folder / "scheduler.json"
        more = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        process = self._started("scheduler", *more, "--scheduler-file", str(file))
        self.scheduler = process.pid
        ends_at = time.monotonic() + _START_S
        while not self.address:
            if time.monotonic() > ends_at or process.poll() is not None:
                raise RuntimeError(f"no scheduler: {self.log()}")
            time.sleep(0.1)
            try:
                self.address = json.loads(file.read_text(encoding="utf-8"))["address"]
            except (OSError, ValueError, KeyError):
                continue

    def stop(self) -> None:
        """End every process."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()

    def log(self) -> str:
        """Return what the processes wrote."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def _started(self, what: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", *arguments]
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=environment())
        self._processes.append(process)
        return process


@contextmanager
def cluster(*workers: str) -> Iterator[Cluster]:
    """Run a scheduler and these workers until the block ends."""
    with tempfile.TemporaryDirectory(prefix="bench-cluster-") as folder:
        started = Cluster(Path(folder))
        try:
            started.start()
            for name in workers:
                started.add_worker(name)
            yield started
        finally:
            started.stop()


def environment() -> dict[str, str]:
    """Return the environment of a process that imports this checkout."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def cpu_s(pids: list[int]) -> float:
    """Return the processor time of these processes so far. One that has ended counts as 0."""
    return sum(_cpu_s(pid) for pid in pids)


def _cpu_s(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    fields = text.rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
