"""Report of a run as plain values, which know nothing of Stash.

Times are float seconds; points in time are seconds since the epoch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from haven.items import ItemChange, ItemKind, MarkerChange
from vlm_engine import Coverage, EndpointStats, Section, Severity, Span, StyleComparison

__all__ = [
    "End",
    "ItemChange",
    "ItemGroup",
    "ItemKind",
    "ItemReport",
    "MarkerChange",
    "Outcome",
    "RunReport",
]
_Word = TypeVar("_Word", bound=StrEnum)


class Outcome(StrEnum):
    """Outcome of one scene, image or gallery."""

    DONE = "done"
    """The task did its work, also when there was nothing to change."""
    PLANNED = "planned"
    """*Preview*: the change is reported; nothing was written."""
    PARTLY = "partly"
    """*Undo Last Run*, *Remove VLM Tags and Markers*: all but what ``kept_back`` lists."""
    FAILED = "failed"
    """``error`` says why. The item is as before, or stays queued for the same task."""
    GONE = "gone"
    """It is no longer in Stash."""


class End(StrEnum):
    """Way in which a run ended."""

    FINISHED = "finished"
    SLICED = "sliced"
    """Its time slice was over; the rest is queued behind the jobs that waited in Stash."""
    BROKEN_OFF = "broken off"
    """``error`` says why going on made no sense."""


@dataclass(frozen=True, slots=True)
class ItemReport:
    """Result for one scene, image or gallery.

    ``tags``: what an image shows, by the tags' names in Stash, after the user's rules. ``spans``:
    the same of a scene, in order of time. ``coverage``: frames asked about, and the calls of this
    run. ``gaps_s``: stretches (start, end) that could not be read. ``seconds``: how long it took.
    ``note``: a remark for the user.
    """

    kind: ItemKind
    id: str
    title: str
    outcome: Outcome
    path: str = ""
    duration_s: float = 0.0
    tags: tuple[str, ...] = ()
    spans: Mapping[str, tuple[Span, ...]] = field(default_factory=dict)
    coverage: Coverage = field(default_factory=Coverage)
    gaps_s: tuple[tuple[float, float], ...] = ()
    change: ItemChange = field(default_factory=ItemChange)
    error: str = ""
    seconds: float = 0.0
    note: str = ""


@dataclass(frozen=True, slots=True)
class ItemGroup:
    """Images or galleries with the same result. ``items``: (id, title) of each."""

    kind: ItemKind
    outcome: Outcome
    tags: tuple[str, ...] = ()
    change: ItemChange = field(default_factory=ItemChange)
    error: str = ""
    note: str = ""
    items: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class RunReport:
    """Report of one run.

    ``run_id``: its number in the journal, 0 without one (*Preview*). ``task``: its name on Stash's
    Tasks page. ``end_line``: the last line of its log. ``scenes`` are in the order in which they
    were finished; ``images`` holds images and galleries, grouped by result. ``endpoints``: what
    each endpoint did, by its name. ``styles``: what is known of the styles of asking each model.
    ``waiting``, ``images_waiting``: scenes and images that were queued and not reached. ``checks``:
    the results of *Check Set-up*.
    """

    run_id: int
    task: str
    started: float
    ended: float
    end: End
    end_line: str
    scenes: tuple[ItemReport, ...] = ()
    endpoints: Mapping[str, EndpointStats] = field(default_factory=dict)
    styles: tuple[StyleComparison, ...] = ()
    waiting: int = 0
    error: str = ""
    images: tuple[ItemGroup, ...] = ()
    image_coverage: Coverage = field(default_factory=Coverage)
    images_waiting: int = 0
    checks: tuple[Section, ...] = ()

    @property
    def coverage(self) -> Coverage:
        """Frames, pictures and calls of all scenes and images together."""
        return sum((scene.coverage for scene in self.scenes), self.image_coverage)

    @property
    def scene_outcomes(self) -> Mapping[str, int]:
        """Number of scenes by outcome."""
        return _count(Outcome, ((scene.outcome, 1) for scene in self.scenes))

    @property
    def image_outcomes(self) -> Mapping[str, int]:
        """Number of images by outcome, without galleries."""
        images = (group for group in self.images if group.kind is ItemKind.IMAGE)
        return _count(Outcome, ((group.outcome, len(group.items)) for group in images))


def counted(count: int, noun: str) -> str:
    """Return ``1 scene``, ``2 scenes``, ``2 galleries``."""
    return f"{count:,} {plural(count, noun)}"


def plural(count: int, noun: str) -> str:
    """Return the noun as it stands after this number."""
    if count == 1:
        return noun
    return f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"


def spent(coverage: Coverage, useless_calls: int = 0) -> str:
    """Return ``1,204 calls, 371 model seconds``; without the seconds if no answer took any."""
    calls = counted(coverage.calls + useless_calls, "call")
    return f"{calls}, {model_seconds(coverage.seconds)}" if coverage.seconds else calls


def model_seconds(seconds: float) -> str:
    """Return ``371 model seconds``, ``0.4 model seconds``."""
    return f"{seconds:,.{0 if seconds >= 10 else 1}f} model seconds"


def by_severity(*sections: Section) -> Mapping[str, int]:
    """Return the number of findings by severity."""
    findings = (finding for section in sections for finding in section.findings)
    return _count(Severity, ((finding.severity, 1) for finding in findings))


def _count(words: Iterable[_Word], found: Iterable[tuple[_Word, int]]) -> Mapping[str, int]:
    """Return the number of each word that was found, in the order of ``words``."""
    counts: Counter[_Word] = Counter()
    for word, number in found:
        counts[word] += number
    return {word.value: counts[word] for word in words if counts[word]}
