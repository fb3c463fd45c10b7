"""The job queue: one job at a time, in the order they came."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sandbox.stash_server.process import LogLine, PluginProcess

_REMEMBERED = 10
_LEAVE_S = 10.0


class Status(StrEnum):
    """State of a job, in the server's words."""

    READY = "READY"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    FINISHED = "FINISHED"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"


class JobError(Exception):
    """The job could not be run at all; it reads FAILED with this message."""


class Job:
    """One run of a plugin, waiting, running or over. All of it may be read from any thread.

    ``progress``: every value that was reported, between 0 and 1. ``log``: (level, text). ``output``
    and ``error``: the plugin's result; neither shows in ``status``, which is FINISHED whatever the
    plugin says or its exit code is. ``failure``: why the job reads FAILED.
    """

    def __init__(
        self, number: int, description: str, start: Callable[[Job], PluginProcess]
    ) -> None:
        self.id = str(number)
        self.description = description
        self.status = Status.READY
        self.progress: list[float] = []
        self.log: list[LogLine] = []
        self.output: Any = None
        self.error: str | None = None
        self.failure: str | None = None
        self.exit_code: int | None = None
        self.added, self.started, self.ended = _now(), "", ""
        self._start = start
        self._process: PluginProcess | None = None
        self._lock = threading.Lock()
        self._over = threading.Event()

    def wait(self, timeout: float = 60.0) -> Job:
        """Return the job once it is over. ``TimeoutError``: it is not, after that many seconds."""
        if not self._over.wait(timeout):
            raise TimeoutError(
                f"job {self.id} is still {self.status} after {timeout} s; log: {self.log[-5:]}"
            )
        return self

    def stop(self) -> None:
        """Do what the Stop button does: kill a running job with SIGKILL, withdraw a waiting one.

        SIGKILL if it runs, never to start if it waits, nothing if it is over.
        """
        with self._lock:
            if self.status is Status.READY:
                self._end(Status.CANCELLED)
            elif self.status is Status.RUNNING:
                self.status = Status.STOPPING
                if self._process is not None:
                    self._process.kill()

    @property
    def over(self) -> bool:
        """True once it has ended in any way."""
        return self._over.is_set()

    @property
    def pid(self) -> int | None:
        """The id of its process, once it has one."""
        return self._process.pid if self._process else None

    def texts(self, level: str) -> list[str]:
        """Return the log's lines of one level."""
        return [line.text for line in self.log if line.level == level]

    def run(self) -> None:
        """Run the job to its end, unless it was stopped before it began."""
        with self._lock:
            if self.status is not Status.READY:
                return
            self.status, self.started = Status.RUNNING, _now()
            try:
                self._process = self._start(self)
            except (JobError, OSError) as error:
                self.failure = str(error)
                self._end(Status.FAILED)
                return
        outcome = self._process.wait()
        with self._lock:
            self.output, self.error, self.exit_code = (
                outcome.output,
                outcome.error,
                outcome.exit_code,
            )
            self._end(Status.CANCELLED if self.status is Status.STOPPING else Status.FINISHED)

    def _end(self, status: Status) -> None:
        self.status, self.ended = status, _now()
        self._over.set()


class JobQueue:
    """Runs jobs on a thread of its own, one after another."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self._changed = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None

    def add(self, description: str, start: Callable[[Job], PluginProcess]) -> Job:
        """Queue a job.

        ``start`` starts its process when its turn comes; ``JobError``: it cannot.
        """
        with self._changed:
            job = Job(len(self.jobs) + 1, description, start)
            self.jobs.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="stash-jobs", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return job

    def waiting(self) -> list[Job]:
        """Return the jobs that are not over."""
        with self._changed:
            return [job for job in self.jobs if not job.over]

    def find(self, job_id: str) -> Job | None:
        """Return a job that is not over, or one of the last ten that are."""
        with self._changed:
            over = [job for job in self.jobs if job.over]
        return next(
            (job for job in [*self.waiting(), *over[-_REMEMBERED:]] if job.id == job_id), None
        )

    def close(self) -> None:
        """Stop every job and ends the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for job in self.waiting():
            job.stop()
        if self._thread is not None:
            self._thread.join(_LEAVE_S)

    def _serve(self) -> None:
        while (job := self._next()) is not None:
            job.run()

    def _next(self) -> Job | None:
        with self._changed:
            while not self._closing:
                for job in self.jobs:
                    if job.status is Status.READY:
                        return job
                self._changed.wait()
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
