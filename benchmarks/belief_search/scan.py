"""Where to look first: the product's scan, made wider where a budget asks for it."""

from __future__ import annotations

from vlm_engine.search.scan import scan_times
from vlm_engine.types import VideoInfo

BUDGET_SHARE = 0.6
"""Of a budget, at most so much is for the scan."""


def scan_of(video: VideoInfo, interval_s: float, budget: int | None) -> list[float]:
    """The scan that the interval asks for; where it would take more than its share of the budget, a wider one."""
    times = scan_times(video, interval_s)
    while budget is not None and len(times) > max(2, BUDGET_SHARE * budget) and interval_s < video.duration_s:
        interval_s *= 1.15
        times = scan_times(video, interval_s)
    return times
