"""Where to look first: every shot at least once, no stretch longer than the scan interval unseen."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

from vlm_engine.types import Cut, VideoInfo

CUT_STRENGTH = 0.3
"""Cut hints weaker than this are taken for noise."""
BUDGET_SHARE = 0.6
"""Of a budget, at most so much is for the scan."""


def believable(cuts: Sequence[Cut], end_s: float) -> list[Cut]:
    """The cuts strong enough to be believed, inside the video, in order of time."""
    return sorted(
        (cut for cut in cuts if cut.strength >= CUT_STRENGTH and 0 < cut.time_s < end_s),
        key=lambda cut: cut.time_s,
    )


def scan_of(video: VideoInfo, interval_s: float, budget: int | None) -> list[float]:
    """The scan that the interval asks for; where it would take more than its share of the budget, a wider one."""
    times = scan_times(video, interval_s)
    while (
        budget is not None
        and len(times) > max(2, BUDGET_SHARE * budget)
        and interval_s < video.duration_s
    ):
        interval_s *= 1.15
        times = scan_times(video, interval_s)
    return times


def scan_times(video: VideoInfo, interval_s: float) -> list[float]:
    """The times of the scan, ascending, in [``video.first_s``, ``video.end_s``].

    A shot of length L gets ceil(L / interval) looks at the middles of equal cells. A look closer than a quarter
    of the interval to the one before is dropped; the first and the last frame are added. A look moves
    to the nearest key frame of its own shot when that lies within a quarter of the interval, because a key
    frame costs a fraction of the decoding.
    """
    least_s = interval_s / 4
    bounds = [
        video.first_s,
        *(cut.time_s for cut in believable(video.cuts, video.end_s)),
        video.end_s,
    ]
    times = [video.first_s]
    for start_s, end_s in pairwise(bounds):
        cells = max(1, math.ceil((end_s - start_s) / interval_s))
        for cell in range(cells):
            middle_s = start_s + (cell + 0.5) * (end_s - start_s) / cells
            time_s = _on_key_frame(middle_s, start_s, end_s, least_s, video.key_frames_s)
            if time_s - times[-1] >= least_s:
                times.append(time_s)
    if (
        video.end_s - times[-1] >= min(least_s, (video.end_s - video.first_s) / 2)
        and video.end_s > video.first_s
    ):
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
