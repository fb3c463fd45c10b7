"""What was found, as lines for a person. It reads the dictionaries that ``process_video`` and ``process_image`` return."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vlm_engine.cli.output import printable

_WIDEST_NAME = 60


def video_lines(path: str, result: Mapping[str, Any]) -> str:
    """When each tag applies in one video."""
    info, coverage = result["video_tag_info"], result["coverage"]
    spans = sorted(
        (span["start"], tag, span["end"], span["totalConfidence"])
        for by_tag in info["tag_timespans"].values()
        for tag, own in by_tag.items()
        for span in own
    )
    judged = f"{coverage['frames_answered']} of {coverage['frames_asked']} frames judged with {coverage['calls']} calls"
    gaps = "".join(
        f"; nothing could be read from {_clock(start_s)} to {_clock(end_s)}"
        for start_s, end_s in _gaps_s(result)
    )
    head = f"{printable(path)} ({_clock(info['video_duration'])}; {judged}{gaps})\n"
    if not spans:
        return f"{head}  none of the tags was found\n"
    width = max([len("tag"), *(len(tag) for _, tag, _, _ in spans)])
    title = f"  {'tag':<{width}}  {'start':>10}  {'end':>10}  confidence\n"
    rows = (
        f"  {tag:<{width}}  {_clock(start_s):>10}  {_clock(end_s):>10}  {_told(sure)}\n"
        for start_s, tag, end_s, sure in spans
    )
    return head + title + "".join(rows)


def picture_line(name: str, result: Mapping[str, Any], width: int = 0) -> str:
    """Which tags apply to one picture, with the confidence of each. ``width``: of all names, to line them up."""
    info = result["image_tag_info"]
    told = [
        f"{tag} ({_told(info['confidences'].get(category, {}).get(tag))})"
        for category, tags in info["image_tags"].items()
        for tag in tags
    ]
    return (
        f"{printable(name):<{min(width, _WIDEST_NAME)}}  {', '.join(told) or 'none of the tags'}\n"
    )


def _gaps_s(result: Mapping[str, Any]) -> list[tuple[float, float]]:
    return [(gap["start"], gap["end"]) for gap in result["json_result"]["metadata"]["gaps"]]


def _told(confidence: float | None) -> str:
    return "not told" if confidence is None else f"{confidence:.2f}"


def _clock(seconds: float) -> str:
    tenths = round(seconds * 10)
    return f"{tenths // 36000}:{tenths // 600 % 60:02}:{tenths // 10 % 60:02}.{tenths % 10}"
