"""The frames to ask about first, and the log of all that were asked about."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from vlm_engine.types import Cut, FrameQuery, Observation, VideoInfo

_CUT_STRENGTH = 0.3
"""Cut hints weaker than this are taken for noise."""
_BUDGET_SHARE = 0.6
"""The share of a budget that a scan takes at most."""


def believable_cuts(video: VideoInfo) -> list[Cut]:
    """Return the cuts strong enough to be believed, inside the video, in order of time."""
    return sorted(
        (
            cut
            for cut in video.cuts
            if cut.strength >= _CUT_STRENGTH and 0 < cut.time_s < video.end_s
        ),
        key=lambda cut: cut.time_s,
    )


def plan_scan(video: VideoInfo, interval_s: float, budget: float) -> list[float]:
    """Return the times of the scan.

    Where it would take more than its share of the ``budget``, which is a number of questions, the
    interval becomes wider.
    """
    times = scan_times(video, interval_s)
    most = max(2, _BUDGET_SHARE * budget)
    while len(times) > most and interval_s < video.duration_s:
        interval_s *= 1.15
        times = scan_times(video, interval_s)
    return times


def scan_times(video: VideoInfo, interval_s: float) -> list[float]:
    """Return the times of the scan, ascending, in [``video.first_s``, ``video.end_s``].

    Every shot is looked at and no stretch longer than the interval is left out: a shot of length L
    gets ceil(L / interval) times at the middles of equal cells. A time closer than a quarter of the
    interval to the one before is dropped; the first and the last frame are added. A time moves to
    the nearest key frame of its own shot when that lies within a quarter of the interval, because a
    key frame costs a fraction of the decoding.
    """
    least_s = interval_s / 4
    bounds = [video.first_s, *(cut.time_s for cut in believable_cuts(video)), video.end_s]
    times = [video.first_s]
    for start_s, end_s in pairwise(bounds):
        cells = max(1, math.ceil((end_s - start_s) / interval_s))
        for cell in range(cells):
            middle_s = start_s + (cell + 0.5) * (end_s - start_s) / cells
            time_s = _on_key_frame(middle_s, start_s, end_s, least_s, video.key_frames_s)
            if time_s - times[-1] >= least_s:
                times.append(time_s)
    length_s = video.end_s - video.first_s
    if length_s > 0 and video.end_s - times[-1] >= min(least_s, length_s / 2):
        times.append(video.end_s)
    return times


def _on_key_frame(
    time_s: float, start_s: float, end_s: float, reach_s: float, key_frames_s: Sequence[float]
) -> float:
    index = bisect_left(key_frames_s, time_s)
    near = [
        key
        for key in key_frames_s[max(0, index - 1) : index + 1]
        if start_s <= key < end_s and abs(key - time_s) <= reach_s
    ]
    return min(near, key=lambda key: abs(key - time_s), default=time_s)


class ObservationLog:
    """Every frame asked about and what was seen there. The whole state of a search follows from it.

    Times are compared to the millisecond, so that the same query is recognised after a round trip
    through JSON. Two times within ``frame_s`` show the same frame.
    """

    def __init__(self, tags: Iterable[str], frame_s: float = 0.0) -> None:
        self._tags = dict.fromkeys(tags)
        self._frame_ms = milliseconds(frame_s)
        self._queried: dict[int, set[str]] = {}
        self._judged_ms: list[int] = []
        self._all_ms: list[int] = []
        self._observations: dict[tuple[int, bool], Observation] = {}

    def record(self, query: FrameQuery, observation: Observation) -> None:
        """Record what was seen. Tags without a verdict count as asked about and not judged."""
        key = milliseconds(query.time_s)
        insort(self._all_ms, key)
        if not observation.scanned:
            insort(self._judged_ms, key)
        self._queried.setdefault(key, set()).update(query.tags)
        known = self._observations.get((key, observation.scanned))
        verdicts = {**known.verdicts} if known else {}
        verdicts |= {
            tag: observation.verdicts[tag] for tag in observation.verdicts if tag in self._tags
        }
        if verdicts:
            self._observations[key, observation.scanned] = replace(observation, verdicts=verdicts)

    @property
    def frames(self) -> int:
        """Number of frames that were asked about, judged or not."""
        return len(self._queried)

    @property
    def is_empty(self) -> bool:
        """True where there is no verdict at all."""
        return not self._observations

    def open_tags(self, time_s: float) -> tuple[str, ...]:
        """Return the tags that were not asked about at exactly this time."""
        queried = self._queried.get(milliseconds(time_s), set())
        return tuple(tag for tag in self._tags if tag not in queried)

    def is_free(self, time_s: float) -> bool:
        """Return whether the frame shown at this time was not asked about yet, for any tag."""
        return not _has_near(self._all_ms, milliseconds(time_s), self._frame_ms)

    def is_free_for_judge(self, time_s: float) -> bool:
        """Return whether the judge was not asked about this frame; the scanner may have been."""
        return not _has_near(self._judged_ms, milliseconds(time_s), self._frame_ms)

    def observations(self) -> Iterator[tuple[float, Observation]]:
        """Yield (time asked for, what was seen), judged ones only, by time, the judge's first."""
        for key, scanned in sorted(self._observations):
            yield key / 1000, self._observations[key, scanned]


def milliseconds(time_s: float) -> int:
    """Return seconds as whole milliseconds."""
    return round(time_s * 1000)


def _has_near(times_ms: list[int], time_ms: int, reach_ms: int) -> bool:
    """Return whether one of the ascending ``times_ms`` is within reach of ``time_ms``."""
    index = bisect_left(times_ms, time_ms - reach_ms)
    return index < len(times_ms) and times_ms[index] <= time_ms + reach_ms
