"""What was found in one video or picture, as lines of text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from vlm_engine.types import ImageResult, Span, VideoResult


def video_table(path: str, result: VideoResult) -> str:
    """When each tag applies in a video."""
    spans = sorted(
        (span for by_tag in result.info.spans.values() for own in by_tag.values() for span in own),
        key=lambda span: (span.start_s, span.tag),
    )
    coverage = result.coverage
    judged = f"{coverage.answered} of {coverage.asked} frames judged with {coverage.calls} calls"
    width = max([len("tag"), *(len(span.tag) for span in spans)])
    gaps = "".join(f"; nothing could be read from {_clock(start_s)} to {_clock(end_s)}" for start_s, end_s in result.gaps_s)
    head = f"{path} ({_clock(result.video.duration_s)}; {judged}{gaps})\n"
    if not spans:
        return head + "  none of the tags was found\n"
    title = f"  {'tag':<{width}}  {'start':>10}  {'end':>10}  confidence\n"
    return head + title + "".join(f"  {_row(span, width)}\n" for span in spans)


def picture_line(name: str, result: ImageResult, width: int) -> str:
    """The tags of a picture, each with its confidence where that is known. ``width``: of the names, to line them up."""
    told = [
        _with_confidence(tag, result.info.confidences.get(category, {}))
        for category, own in result.info.tags.items()
        for tag in own
    ]
    return f"{name:<{width}}  {', '.join(told) or 'none of the tags'}\n"


def _with_confidence(tag: str, confidences: Mapping[str, float | None]) -> str:
    confidence = confidences.get(tag)
    return tag if confidence is None else f"{tag} ({confidence:.2f})"


def _row(span: Span, width: int) -> str:
    confidence = "not told" if span.confidence is None else f"{span.confidence:.2f}"
    return f"{span.tag:<{width}}  {_clock(span.start_s):>10}  {_clock(span.end_s):>10}  {confidence}"


def _clock(seconds: float) -> str:
    tenths = round(seconds * 10)
    return f"{tenths // 36000}:{tenths // 600 % 60:02}:{tenths // 10 % 60:02}.{tenths % 10}"
