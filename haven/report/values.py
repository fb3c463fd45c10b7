"""What a run hands over at its end, for whoever writes reports: values only, nothing that knows Stash or the engine's inside.

One ``RunReport`` is handed over by each run of each task, from one place (``haven/tasks/stash_run.py``), also when the run
ended early or changed nothing. Times are float seconds; points in time are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from haven.stash.values import ItemChange, ItemKind, MarkerChange
from vlm_engine import Coverage, Span

__all__ = [
    "End",
    "ImageGroup",
    "ImageReport",
    "ItemChange",
    "ItemKind",
    "MarkerChange",
    "Outcome",
    "RunReport",
    "SceneReport",
]


class Outcome(StrEnum):
    """What became of one scene, image or gallery in a run."""

    DONE = "done"
    """The task did what it was to do; also when there was nothing to change."""
    PLANNED = "planned"
    """*Preview*: what would change is told, nothing was written."""
    PARTLY = "partly"
    """*Undo Last Run* and *Remove VLM Tags and Markers*: done except for what ``kept_back`` lists."""
    FAILED = "failed"
    """``error`` says why; it is as before, or stays in line for the same task."""
    GONE = "gone"
    """It is no longer in Stash."""


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
class ImageReport:
    """What came of one image, or of a gallery as a whole (``kind``).

    ``tags``: what the picture shows, by the tags' names in Stash, after the user's rules. ``coverage``: pictures looked at, of
    a clip several. ``seconds``: from its beginning until its result was in Stash. ``note``: what else is to be known of it.
    """

    image_id: str
    title: str
    outcome: Outcome
    kind: ItemKind = ItemKind.IMAGE
    tags: tuple[str, ...] = ()
    coverage: Coverage = field(default_factory=Coverage)
    change: ItemChange = field(default_factory=ItemChange)
    error: str = ""
    seconds: float = 0.0
    note: str = ""


@dataclass(frozen=True, slots=True)
class ImageGroup:
    """Images, or galleries, of which the same came: there are too many to tell of each. ``images``: (id, title) of each."""

    kind: ItemKind
    outcome: Outcome
    tags: tuple[str, ...]
    change: ItemChange
    error: str
    images: tuple[tuple[str, str], ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class RunReport:
    """One run, whole. ``scenes`` are in the order in which they were settled, ``images`` grouped by what came of them.

    ``run_id``: its number in the journal, 0 where it has none (*Preview*). ``task``: as on Stash's Tasks page.
    ``end_line``: what the log says at the end. ``endpoints``: what each endpoint did, by its name, as
    ``VLMEngine.get_performance_stats`` tells it; empty for tasks that ask nothing. ``waiting``: scenes that were in line and
    were not reached; ``images_waiting``: the same of images.
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
    images: tuple[ImageGroup, ...] = ()
    image_coverage: Coverage = field(default_factory=Coverage)
    images_waiting: int = 0

    @property
    def coverage(self) -> Coverage:
        """The frames, pictures and calls of all scenes and images together."""
        return sum((scene.coverage for scene in self.scenes), self.image_coverage)
