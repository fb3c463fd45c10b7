"""One honest figure for many scenes: frames settled of frames expected."""

from __future__ import annotations

from collections.abc import Callable

from vlm_engine.types import Coverage, Progress

_FRAMES_PER_SECOND = 0.25
_LEAST_FRAMES = 8.0
_TYPICAL_FRAMES = 150
"""What a video takes, before its search has begun: the figures only have to be of the right size."""


class ProgressBoard:
    """Adds up the progress of all scenes of a batch and reports it as one fraction that never falls.

    A scene that has not begun counts with the frames its length makes likely; one whose length is not known yet,
    with the mean of the others.
    """

    def __init__(self, scenes: int, report: Callable[[float], None]) -> None:
        self._scenes = scenes
        self._report = report
        self._expected: dict[str, float] = {}
        self._settled: dict[str, float] = {}
        self._coverage: dict[str, Coverage] = {}
        self._furthest = 0.0

    def announce(self, scene: str, duration_s: float) -> None:
        """A scene's length in seconds is known."""
        self._expected.setdefault(scene, _LEAST_FRAMES + duration_s * _FRAMES_PER_SECOND)

    def advance(self, scene: str, progress: Progress) -> None:
        """A scene went on."""
        self._expected[scene] = max(1, progress.expected)
        self._settled[scene] = progress.settled
        self._coverage[scene] = progress.coverage
        self._tell()

    def finish(self, scene: str) -> None:
        """A scene came to its end, one way or another."""
        self._settled[scene] = self._expected.setdefault(scene, _LEAST_FRAMES)
        self._tell()

    def coverage(self) -> Coverage:
        """The frames of all scenes together."""
        return sum(self._coverage.values(), Coverage())

    def _tell(self) -> None:
        mean = sum(self._expected.values()) / len(self._expected)
        expected = sum(self._expected.values()) + mean * max(0, self._scenes - len(self._expected))
        self._furthest = max(self._furthest, min(1.0, sum(self._settled.values()) / expected))
        self._report(self._furthest)


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


def split(report: Callable[[float], None], videos: int, pictures: int) -> tuple[Callable[[float], None], Callable[[float], None]]:
    """What videos and then pictures report to, so that together they make one figure: by the frames they take, about."""
    border = videos * _TYPICAL_FRAMES / max(1, videos * _TYPICAL_FRAMES + pictures)
    return (lambda share: report(border * share)), (lambda share: report(border + (1 - border) * share))
