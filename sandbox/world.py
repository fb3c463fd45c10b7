"""Events of a generated video: its shots, and when each tag is on.

Pure, and the same for the same seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from itertools import cycle, islice

import numpy as np

from sandbox import vr
from vlm_engine.testing import glyphs

SPORT_TAGS = (
    "Basketball point",
    "Foul",
    "Break-away",
    "Turnover",
    "Free throw",
    "Timeout",
    "Corner kick",
    "Goal",
)
SHORTEST_SPAN_S = 2.0
SHORTEST_GAP_S = 2.5
SHORTEST_SHOT_S = 0.5

Spans = list[list[float]]


@dataclass(frozen=True, slots=True)
class VideoSpec:
    """A video to generate.

    Times are in seconds, sizes in pixels, and everything follows from ``seed``.

    ``width`` and ``height`` are those of the upright picture before ``pixel_aspect`` (width of a
    pixel over its height) stretches it. ``rotation`` (0, 90, 180, 270) is how many degrees
    clockwise a player has to turn the stored picture. ``cut_coincidence`` is the share of span ends
    that lie on a cut.

    ``codec``: h264, hevc, vp9, mpeg4; ``container``: mp4, mkv, webm, avi, mpegts. ``gop_s``:
    longest time between key frames. ``b_frames`` (h264 and hevc): at most so many in a row, for
    packets that are not in the order of their times. ``start_offset_s``: time stamp of the first
    frame, rounded to whole frames. ``variable_rate`` leaves out frames at random; those that are
    left keep their number, so that the time of a frame from the first one is always ``number /
    frame_rate``. ``audio``: a tone beside the picture. ``vr``: one of ``sandbox.vr.LAYOUTS``, for a
    picture that holds what a viewer's eyes see around them.

    Raises ``ValueError`` for what cannot be drawn.
    """

    duration_s: float = 600.0
    width: int = 1280
    height: int = 720
    frame_rate: int | Fraction = 15
    tags: tuple[str, ...] = SPORT_TAGS
    seed: int = 0
    shot_median_s: float = 12.0
    cut_coincidence: float = 0.6
    codec: str = "h264"
    container: str = "mp4"
    rotation: int = 0
    start_offset_s: float = 0.0
    variable_rate: bool = False
    pixel_aspect: int | Fraction = 1
    gop_s: float = 8.0
    b_frames: int = 0
    audio: bool = False
    vr: str = ""

    def __post_init__(self) -> None:
        glyphs.codes(self.tags)
        if self.width % 2 or self.height % 2 or min(self.width, self.height) < 64:
            raise ValueError(
                f"{self.width} x {self.height}: both sides must be even and at least 64 pixels"
            )
        if self.rotation not in (0, 90, 180, 270):
            raise ValueError(f"rotation {self.rotation} is not a quarter turn")
        if self.rotation and self.pixel_aspect != 1:
            raise ValueError(
                "rotation and pixel_aspect together mean different things to different players"
            )
        if self.vr and (self.vr not in vr.LAYOUTS or self.rotation):
            raise ValueError(
                f"a picture that is laid out as {self.vr!r} cannot be drawn, or not turned"
            )
        if self.frames < 2:
            raise ValueError("a video has at least two frames")

    @property
    def frames(self) -> int:
        """The number of frames, those that ``variable_rate`` leaves out included."""
        return round(self.duration_s * self.frame_rate)


@dataclass(frozen=True, slots=True)
class Timeline:
    """Events in frame numbers: first frames of all shots but the first, and per tag (first frame,
    one past the last).
    """

    cuts: tuple[int, ...]
    spans: dict[str, tuple[tuple[int, int], ...]]

    def changes(self) -> frozenset[int]:
        """Return the frames that differ from the one before in shot or tags."""
        edges = (edge for spans in self.spans.values() for span in spans for edge in span)
        return frozenset([*self.cuts, *edges])

    def is_on(self, tag: str, number: int) -> bool:
        """Return True if frame ``number`` shows ``tag``."""
        return any(first <= number < end for first, end in self.spans[tag])


class _Kind(Enum):
    """Habits of a tag: typical seconds on and off, and how widely these vary (lognormal)."""

    LONG = (180.0, 400.0, 0.8)
    MEDIUM = (35.0, 200.0, 0.7)
    BURST = (5.5, 240.0, 0.35)
    NEVER = (0.0, 0.0, 0.0)


def plan(spec: VideoSpec) -> Timeline:
    """Return the shots and spans of ``spec``."""
    rng = np.random.default_rng(spec.seed)
    cuts = _cuts(rng, spec)
    spans: dict[str, Spans] = {}
    for tag, kind in zip(spec.tags, _kinds(rng, len(spec.tags)), strict=True):
        spans[tag] = [] if kind is _Kind.NEVER else _spans(rng, kind, spec.duration_s)
        cuts |= _align(rng, spans[tag], cuts, spec)
    return _in_frames(cuts, spans, spec)


def _cuts(rng: np.random.Generator, spec: VideoSpec) -> set[float]:
    cuts: set[float] = set()
    time_s = 0.0
    while True:
        time_s += max(SHORTEST_SHOT_S, spec.shot_median_s * float(np.exp(rng.normal(0, 0.9))))
        if time_s >= spec.duration_s - SHORTEST_SHOT_S:
            return cuts
        cuts.add(time_s)


def _kinds(rng: np.random.Generator, count: int) -> list[_Kind]:
    """Return a kind for each tag, in random order.

    Of five or more tags a fifth, and at least one, is never present.
    """
    absent = max(1, count // 5) if count >= 5 else 0
    present = islice(cycle((_Kind.BURST, _Kind.MEDIUM, _Kind.LONG)), count - absent)
    kinds = [*present, *[_Kind.NEVER] * absent]
    return [kinds[int(i)] for i in rng.permutation(count)]


def _spans(rng: np.random.Generator, kind: _Kind, duration_s: float) -> Spans:
    """Return on and off times in turns, shortened so that a short video has some too."""
    typical_on, typical_off, spread = kind.value
    longest = duration_s / 4 if kind is _Kind.LONG else duration_s / 10

    def on() -> float:
        drawn = min(typical_on, longest) * float(np.exp(rng.normal(0, spread)))
        return max(SHORTEST_SPAN_S, min(10.0, max(3.0, drawn)) if kind is _Kind.BURST else drawn)

    def off() -> float:
        return max(
            SHORTEST_GAP_S, min(typical_off, duration_s / 4) * float(np.exp(rng.normal(0, 0.8)))
        )

    spans: Spans = []
    start = min(off() * float(rng.random()), duration_s / 2)
    while start < duration_s - SHORTEST_SPAN_S:
        end = min(start + on(), duration_s)
        spans.append([start, end])
        start = end + off()
    return spans or [[0.0, duration_s]]


def _align(rng: np.random.Generator, spans: Spans, cuts: set[float], spec: VideoSpec) -> set[float]:
    """Move some ends of ``spans`` onto the nearest cut; returns new cuts for those that have none
    near.
    """
    fresh: set[float] = set()
    for index, span in enumerate(spans):
        reach = 1.0 if span[1] - span[0] <= 12 else 20.0
        for side in (0, 1):
            earliest, latest = _room(spans, index, side, spec.duration_s)
            if rng.random() >= spec.cut_coincidence or not 0 < span[side] < spec.duration_s:
                continue
            near = [
                cut
                for cut in cuts
                if max(earliest, span[side] - reach) <= cut <= min(latest, span[side] + reach)
            ]
            if near:
                span[side] = min(near, key=lambda cut: abs(cut - span[side]))
            else:
                fresh.add(span[side])
    return fresh


def _room(spans: Spans, index: int, side: int, duration_s: float) -> tuple[float, float]:
    """Return the earliest and latest time at which one end of a span may lie, given the other end
    and the neighbours.
    """
    start, end = spans[index]
    if side == 0:
        return (spans[index - 1][1] + SHORTEST_GAP_S if index else 0.0), end - SHORTEST_SPAN_S
    is_last = index + 1 == len(spans)
    return start + SHORTEST_SPAN_S, (
        duration_s if is_last else spans[index + 1][0] - SHORTEST_GAP_S
    )


def _in_frames(cuts: set[float], spans: dict[str, Spans], spec: VideoSpec) -> Timeline:
    def frame(time_s: float) -> int:
        return min(spec.frames, round(time_s * spec.frame_rate))

    return Timeline(
        cuts=tuple(sorted({frame(cut) for cut in cuts} - {0, spec.frames})),
        spans={
            tag: tuple((frame(start), frame(end)) for start, end in found)
            for tag, found in spans.items()
        },
    )
