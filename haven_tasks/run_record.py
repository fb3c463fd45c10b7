"""What happens in one run, gathered while it happens."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from haven_report import End, Outcome, RunReport, SceneReport


class RunRecord:
    """Takes down what becomes of each scene; ``report`` gives it all as a value.

    ``run_id``: the run's number in the journal, 0 as long as it has none.
    """

    def __init__(self, task: str) -> None:
        self.task = task
        self.run_id = 0
        self.end = End.FINISHED
        self.waiting = 0
        self.endpoints: Mapping[str, Any] = {}
        self._started = time.time()
        self._scenes: list[SceneReport] = []

    def add(self, scene: SceneReport) -> None:
        """One scene is settled."""
        self._scenes.append(scene)

    def count(self, outcome: Outcome) -> int:
        """How many scenes came to that."""
        return sum(scene.outcome is outcome for scene in self._scenes)

    @property
    def seconds(self) -> float:
        """How long the run has taken so far."""
        return time.time() - self._started

    def report(self, end_line: str, error: str = "") -> RunReport:
        """The run, whole."""
        return RunReport(
            run_id=self.run_id,
            task=self.task,
            started=self._started,
            ended=time.time(),
            end=End.BROKEN_OFF if error else self.end,
            end_line=end_line,
            scenes=tuple(self._scenes),
            endpoints=self.endpoints,
            waiting=self.waiting,
            error=error,
        )
