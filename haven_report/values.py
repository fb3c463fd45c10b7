"""What a run hands over at its end, for whoever writes reports: values only, nothing that knows Stash or the engine's inside.

One ``RunReport`` is handed over by each run of each task, from one place (``haven_tasks/stash_run.py``), also when the run
ended early or changed nothing. Times are float seconds; points in time are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from haven_media_handler import ItemChange, MarkerChange
from vlm_engine.types import Coverage, Span

__all__ = ["End", "ItemChange", "MarkerChange", "Outcome", "RunReport", "SceneReport"]


class Outcome(StrEnum):
    """What became of one scene in a run."""

    DONE = "done"
    """The task did what it was to do; also when there was nothing to change."""
    PLANNED = "planned"
    """*Preview*: what would change is told, nothing was written."""
    PARTLY = "partly"
    """*Undo Last Run* and *Remove VLM Tags and Markers*: done except for what ``kept_back`` lists."""
    FAILED = "failed"
    """``error`` says why; the scene is as before, or stays in line for the same task."""
    GONE = "gone"
    """The scene is no longer in Stash."""


class End(StrEnum):
    """How a run ended."""

    FINISHED = "finished"
    SLICED = "sliced"
    """Its time slice was used up: the rest was queued again behind what waits in Stash."""
    BROKEN_OFF = "broken off"
    """``error`` says why nothing else would have fared better."""


@dataclass(frozen=True, slots=True)
class SceneReport:
    """What came of one scene.

    ``spans``: by the tag's name in Stash, in order of time, after the user's rules; empty for tasks that look at no video.
    ``coverage``: frames, and calls (``coverage.calls``: answered requests of this run). ``gaps_s``: stretches (start, end)
    that could not be read. ``seconds``: how long the scene took.
    """

    scene_id: str
    title: str
    path: str
    duration_s: float
    outcome: Outcome
    spans: Mapping[str, tuple[Span, ...]] = field(default_factory=dict)
    coverage: Coverage = field(default_factory=Coverage)
    gaps_s: tuple[tuple[float, float], ...] = ()
    change: ItemChange = field(default_factory=ItemChange)
    error: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class RunReport:
    """One run, whole. ``scenes`` are in the order in which they were settled.

    ``run_id``: its number in the journal, 0 where it has none (*Preview*). ``task``: as on Stash's Tasks page.
    ``end_line``: what the log says at the end. ``endpoints``: what each endpoint did, by its name, as
    ``VLMEngine.get_performance_stats`` tells it; empty for tasks that ask nothing. ``waiting``: scenes that were in line and
    were not reached.
    """

    run_id: int
    task: str
    started: float
    ended: float
    end: End
    end_line: str
    scenes: tuple[SceneReport, ...] = ()
    endpoints: Mapping[str, Any] = field(default_factory=dict)
    waiting: int = 0
    error: str = ""

    @property
    def coverage(self) -> Coverage:
        """The frames and calls of all scenes together."""
        return sum((scene.coverage for scene in self.scenes), Coverage())
