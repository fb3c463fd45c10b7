"""One honest figure for many scenes: work done of all the work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vlm_engine import Coverage, Progress

_FRAMES_PER_SECOND = 0.25
_LEAST_FRAMES = 8.0
_TYPICAL_FRAMES = 150.0
"""What a video takes, before its search has begun: the figures only have to be of the right size."""
_USUAL = 0.55
"""The share of what a search first expects that it takes, as a rule: that is the most it may take, until it tells otherwise."""


@dataclass(slots=True)
class _Search:
    """One scene under way. ``done``: the share of its work that is; it goes on from there whatever is expected from then on."""

    first_expected: int
    expected: int
    settled: int = 0
    done: float = 0.0

    def advance(self, progress: Progress) -> None:
        """Frames were settled: of what is left, they are the share that the search tells by now."""
        self.expected = progress.expected
        left = max((self.expected - self.settled) * self._usual(), 1.0)
        self.done += (1 - self.done) * min(1.0, max(0, progress.settled - self.settled) / left)
        self.settled = max(self.settled, progress.settled)

    def needs(self) -> float:
        """The frames that it takes in all, probably."""
        return self.expected * self._usual()

    def _usual(self) -> float:
        return _USUAL if self.expected >= self.first_expected else 1.0


class ProgressBoard:
    """Adds up the progress of all scenes of a batch and reports it as one fraction that never falls: work done of all the work.

    Work is frames. Of a scene that came to its end they are known; one that has not begun takes what its length makes likely,
    corrected by what others took; one whose length is not known yet, the mean of the others.
    """

    def __init__(self, scenes: int, report: Callable[[float], None]) -> None:
        self._scenes = scenes
        self._report = report
        self._likely: dict[str, float] = {}
        self._under_way: dict[str, _Search] = {}
        self._took: dict[str, float] = {}
        self._coverage: dict[str, Coverage] = {}
        self._furthest = 0.0

    def announce(self, scene: str, duration_s: float) -> None:
        """A scene's length in seconds is known."""
        self._likely.setdefault(scene, _frames_for(duration_s))

    def advance(self, scene: str, progress: Progress) -> None:
        """A scene went on."""
        self._under_way.setdefault(scene, _Search(progress.expected, progress.expected)).advance(
            progress
        )
        self._coverage[scene] = progress.coverage
        self._tell()

    def finish(self, scene: str) -> None:
        """A scene came to its end, one way or another."""
        search = self._under_way.pop(scene, None)
        self._took[scene] = float(search.settled) if search else 0.0
        self._tell()

    def coverage(self) -> Coverage:
        """The frames of all scenes together."""
        return sum(self._coverage.values(), Coverage())

    def _tell(self) -> None:
        searches = self._under_way.values()
        known = [*self._took.values(), *(search.needs() for search in searches), *self._waiting()]
        in_all = sum(known) / len(known) * max(self._scenes, len(known))
        done = sum(self._took.values()) + sum(search.needs() * search.done for search in searches)
        share = 1.0 if len(self._took) >= self._scenes else done / in_all if in_all else 0.0
        self._furthest = max(self._furthest, min(1.0, share))
        self._report(self._furthest)

    def _waiting(self) -> list[float]:
        """The frames that each scene takes of which nothing but its length is known."""
        ended = [scene for scene in self._took if self._took[scene] and scene in self._likely]
        likely = sum(self._likely[scene] for scene in ended)
        ratio = sum(self._took[scene] for scene in ended) / likely if likely else 1.0
        begun = self._took.keys() | self._under_way.keys()
        return [frames * ratio for scene, frames in self._likely.items() if scene not in begun]


class CountBoard:
    """The progress of things of which one is as good as the other: those that are settled, of all."""

    def __init__(self, things: int, report: Callable[[float], None]) -> None:
        self._things = things
        self._report = report
        self._settled = 0

    def finish(self) -> None:
        """One more came to its end."""
        self._settled += 1
        self._report(self._settled / self._things)


def likely_frames(videos: int, durations_s: Sequence[float] = ()) -> float:
    """The frames that so many videos take, by the lengths of some of them."""
    known = [_frames_for(duration_s) for duration_s in durations_s] or [_TYPICAL_FRAMES]
    return videos * sum(known) / len(known)


def split(
    report: Callable[[float], None], frames: float, pictures: int
) -> tuple[Callable[[float], None], Callable[[float], None]]:
    """What videos that take so many frames, and then pictures, report to, so that together they make one figure."""
    border = frames / max(1, frames + pictures)
    return (lambda share: report(border * share)), (
        lambda share: report(border + (1 - border) * share)
    )


def _frames_for(duration_s: float) -> float:
    return _LEAST_FRAMES + duration_s * _FRAMES_PER_SECOND
