"""Progress of many scenes and images as one fraction: work done of all the work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vlm_engine import Coverage, Progress

_FRAMES_PER_SECOND = 0.25
_LEAST_FRAMES = 8.0
_TYPICAL_FRAMES = 150.0
"""Frames of a video before its search has begun. These figures only need the right magnitude."""
_USUAL = 0.55
"""Usual share of the frames that a search expects at first, which are the most that it may take."""


@dataclass(slots=True)
class _Search:
    """One scene that has begun. ``done``: the share of its work; it never falls."""

    first_expected: int
    expected: int
    settled: int = 0
    done: float = 0.0

    def advance(self, progress: Progress) -> None:
        """Count frames that were settled as a share of what is left by the latest estimate."""
        self.expected = progress.expected
        left = max((self.expected - self.settled) * self._usual(), 1.0)
        self.done += (1 - self.done) * min(1.0, max(0, progress.settled - self.settled) / left)
        self.settled = max(self.settled, progress.settled)

    def needs(self) -> float:
        """Return how many frames it probably takes in all."""
        return self.expected * self._usual()

    def _usual(self) -> float:
        return _USUAL if self.expected >= self.first_expected else 1.0


class ProgressBoard:
    """Progress of all scenes of a batch, reported as one fraction that never falls.

    Work is counted in frames. They are known for a finished scene; for one that has not begun they
    are estimated from its length, corrected by what others took, or else the mean of the others.
    """

    def __init__(self, scenes: int, report: Callable[[float], None]) -> None:
        self._scenes = scenes
        self._report = report
        self._durations_s: dict[str, float] = {}
        self._likely: dict[str, float] = {}
        self._under_way: dict[str, _Search] = {}
        self._took: dict[str, float] = {}
        self._coverage: dict[str, Coverage] = {}
        self._furthest = 0.0

    def announce(self, scene: str, duration_s: float) -> None:
        """Take a scene's length in seconds."""
        self._durations_s[scene] = duration_s
        self._likely.setdefault(scene, _frames_for(duration_s))

    def advance(self, scene: str, progress: Progress) -> None:
        """Take the progress of a scene's search."""
        self._under_way.setdefault(scene, _Search(progress.expected, progress.expected)).advance(
            progress
        )
        self._coverage[scene] = progress.coverage
        self._update()

    def finish(self, scene: str) -> None:
        """Count a scene as finished, whatever its outcome."""
        search = self._under_way.pop(scene, None)
        self._took[scene] = float(search.settled) if search else 0.0
        self._update()

    def coverage(self) -> Coverage:
        """Return the frames of all scenes together."""
        return sum(self._coverage.values(), Coverage())

    def searched_s(self) -> float:
        """Return the length of the scenes about which a model was asked."""
        searched = (scene for scene, coverage in self._coverage.items() if coverage.calls)
        return sum(self._durations_s.get(scene, 0.0) for scene in searched)

    def _update(self) -> None:
        searches = self._under_way.values()
        known = [*self._took.values(), *(search.needs() for search in searches), *self._waiting()]
        in_all = sum(known) / len(known) * max(self._scenes, len(known))
        done = sum(self._took.values()) + sum(search.needs() * search.done for search in searches)
        share = 1.0 if len(self._took) >= self._scenes else done / in_all if in_all else 0.0
        self._furthest = max(self._furthest, min(1.0, share))
        self._report(self._furthest)

    def _waiting(self) -> list[float]:
        """Return the estimated frames of each scene that has not begun."""
        ended = [scene for scene in self._took if self._took[scene] and scene in self._likely]
        likely = sum(self._likely[scene] for scene in ended)
        ratio = sum(self._took[scene] for scene in ended) / likely if likely else 1.0
        begun = self._took.keys() | self._under_way.keys()
        return [frames * ratio for scene, frames in self._likely.items() if scene not in begun]


class CountBoard:
    """Progress of items with equal work: the finished ones of all."""

    def __init__(self, items: int, report: Callable[[float], None]) -> None:
        self._items = items
        self._report = report
        self._finished = 0

    def finish(self) -> None:
        """Count one more item as finished."""
        self._finished += 1
        self._report(self._finished / self._items)


def likely_frames(videos: int, durations_s: Sequence[float] = ()) -> float:
    """Return about how many frames the videos take, by the lengths of some of them."""
    known = [_frames_for(duration_s) for duration_s in durations_s] or [_TYPICAL_FRAMES]
    return videos * sum(known) / len(known)


def split(
    report: Callable[[float], None], frames: float, pictures: int
) -> tuple[Callable[[float], None], Callable[[float], None]]:
    """Return a ``report`` for videos with ``frames`` frames, and one for pictures after them."""
    border = frames / max(1, frames + pictures)
    return (lambda share: report(border * share)), (
        lambda share: report(border + (1 - border) * share)
    )


def _frames_for(duration_s: float) -> float:
    return _LEAST_FRAMES + duration_s * _FRAMES_PER_SECOND
