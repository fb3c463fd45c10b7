"""What happens in one run, gathered while it happens."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from haven.report import (
    End,
    ItemGroup,
    ItemKind,
    ItemReport,
    Outcome,
    RunReport,
)
from vlm_engine import Coverage, EndpointStats


class RunRecord:
    """Takes down what becomes of each scene and image; ``report`` gives it all as a value.

    ``run_id``: the run's number in the journal, 0 as long as it has none. ``waiting``: how many were in line and not reached.
    Of images, of which there may be many thousands, those are kept together of which the same came.
    """

    def __init__(self, task: str) -> None:
        self.task = task
        self.run_id = 0
        self.end = End.FINISHED
        self.waiting: Counter[ItemKind] = Counter()
        self.endpoints: Mapping[str, EndpointStats] = {}
        self._started = time.time()
        self._scenes: list[ItemReport] = []
        self._images: dict[ItemGroup, list[tuple[str, str]]] = {}
        self._image_coverage = Coverage()
        self._counts: Counter[tuple[ItemKind, Outcome]] = Counter()

    def add(self, report: ItemReport) -> None:
        """One scene, image or gallery is settled."""
        self._counts[report.kind, report.outcome] += 1
        if report.kind is ItemKind.SCENE:
            self._scenes.append(report)
            return
        group = ItemGroup(
            report.kind, report.outcome, report.tags, report.change, report.error, report.note
        )
        self._images.setdefault(group, []).append((report.id, report.title))
        self._image_coverage += report.coverage

    def count(self, *outcomes: Outcome, kind: ItemKind | None = None) -> int:
        """How many came to one of these: of one kind, or of all."""
        return sum(
            count
            for (own, outcome), count in self._counts.items()
            if outcome in outcomes and kind in {None, own}
        )

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
            waiting=self.waiting[ItemKind.SCENE],
            error=error,
            images=tuple(
                replace(group, items=tuple(items)) for group, items in self._images.items()
            ),
            image_coverage=self._image_coverage,
            images_waiting=self.waiting[ItemKind.IMAGE],
        )
