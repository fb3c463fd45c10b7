"""Draws one search on one simulated video: what was asked, believed and found, and what is true.
``make docs`` runs it.

The picture is docs/search.svg. The video is simulated (``sandbox.world`` without any encoding)
and the model makes seeded mistakes, so the picture is the same on every machine until the search
changes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from sandbox.world import SPORT_TAGS, Timeline, VideoSpec, plan
from vlm_engine.config.models import SearchConfig
from vlm_engine.search import VideoSearch
from vlm_engine.types import Cut, FrameQuery, Observation, Verdict, VideoInfo

PAGE = Path(__file__).resolve().parent.parent / "docs" / "search.svg"
_SPEC = VideoSpec(duration_s=300, frame_rate=10, tags=SPORT_TAGS[:5], seed=5)
_MISSED, _INVENTED = 0.08, 0.02
_LEFT, _WIDTH, _ROW, _TOP = 120, 860, 58, 46
_ROUND_COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")


def main() -> None:
    """Writes the picture."""
    PAGE.write_text(picture(), encoding="utf-8")


def picture() -> str:
    """The picture as SVG."""
    timeline = plan(_SPEC)
    search, rounds = _search(timeline)
    height = _TOP + _ROW * len(_SPEC.tags) + 34
    body = [*_legend(len(rounds)), *_cuts(timeline, height)]
    for number, tag in enumerate(_SPEC.tags):
        body += _row(tag, _TOP + number * _ROW, timeline, search, rounds)
    width = _LEFT + _WIDTH + 20
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12">'
    )
    ground = f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
    return "\n".join([head, ground, *body, *_axis(height), "</svg>", ""])


def _search(timeline: Timeline) -> tuple[VideoSearch, list[tuple[FrameQuery, ...]]]:
    rate = float(_SPEC.frame_rate)
    cuts = tuple(Cut(frame / rate, 0.8) for frame in timeline.cuts)
    video = VideoInfo(
        "match.mp4",
        "drawn",
        _SPEC.duration_s,
        _SPEC.duration_s - 1 / rate,
        1280,
        720,
        rate,
        "h264",
        (),
        cuts,
    )
    search, rounds = VideoSearch(video, _SPEC.tags, SearchConfig()), []
    while queries := search.next_queries():
        rounds.append(queries)
        for query in queries:
            frame = int(query.time_s * rate + 1e-6)
            verdicts = {
                tag: Verdict(_says(tag, frame, timeline.is_on(tag, frame))) for tag in query.tags
            }
            search.record(query, Observation(query.time_s, verdicts))
    return search, rounds


def _says(tag: str, frame: int, truth: bool) -> bool:
    """Return the verdict of a model with seeded mistakes; the same for the same frame."""
    draw = int.from_bytes(hashlib.sha256(f"{tag}/{frame}".encode()).digest()[:4]) / 2**32
    return truth != (draw < (_MISSED if truth else _INVENTED))


def _row(
    tag: str,
    top: float,
    timeline: Timeline,
    search: VideoSearch,
    rounds: Sequence[Sequence[FrameQuery]],
) -> Iterator[str]:
    rate = float(_SPEC.frame_rate)
    yield f'<text x="{_LEFT - 8}" y="{top + 24}" text-anchor="end">{escape(tag)}</text>'
    for first, end in timeline.spans[tag]:
        yield _bar(first / rate, end / rate, top + 2, 10, "#bbbbbb")
    for span in search.spans():
        if span.tag == tag:
            yield _bar(span.start_s, span.end_s, top + 34, 10, "#000000")
    line = " ".join(
        f"{_x(time_s):.1f},{top + 31 - 16 * belief:.1f}" for time_s, belief in search.presence(tag)
    )
    yield f'<polyline points="{line}" fill="none" stroke="#f0a050" stroke-width="1.2"/>'
    for number, queries in enumerate(rounds):
        colour = _ROUND_COLOURS[min(number, len(_ROUND_COLOURS) - 1)]
        for query in queries:
            if tag in query.tags:
                yes = _says(
                    tag, frame := int(query.time_s * rate + 1e-6), timeline.is_on(tag, frame)
                )
                yield (
                    f'<circle cx="{_x(query.time_s):.1f}" cy="{top + (15 if yes else 31):.1f}" '
                    f'r="2.4" fill="{colour}"/>'
                )


def _bar(start_s: float, end_s: float, top: float, height: float, colour: str) -> str:
    width = max(0.5, _x(end_s) - _x(start_s))
    return (
        f'<rect x="{_x(start_s):.1f}" y="{top:.1f}" width="{width:.1f}" height="{height}" '
        f'fill="{colour}"/>'
    )


def _cuts(timeline: Timeline, height: float) -> Iterator[str]:
    for frame in timeline.cuts:
        x = _x(frame / float(_SPEC.frame_rate))
        yield (
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 6}" y2="{height - 28}" stroke="#e4e4e4"/>'
        )


def _legend(rounds: int) -> Iterator[str]:
    key = (
        "grey: truth; dots: answers, yes above no; orange: belief; black: spans found; thin "
        "lines: cuts"
    )
    yield f'<text x="{_LEFT}" y="16">{key}</text>'
    for number in range(min(rounds, len(_ROUND_COLOURS))):
        more = " and later" if number == len(_ROUND_COLOURS) - 1 < rounds - 1 else ""
        x, colour = _LEFT + 5 + number * 90, _ROUND_COLOURS[number]
        yield (
            f'<circle cx="{x}" cy="29" r="3" fill="{colour}"/><text x="{x + 8}" y="33">round '
            f"{number + 1}{more}</text>"
        )


def _axis(height: float) -> Iterator[str]:
    for minute in range(int(_SPEC.duration_s // 60) + 1):
        yield (
            f'<text x="{_x(minute * 60):.1f}" y="{height - 10}" '
            f'text-anchor="middle">{minute}:00</text>'
        )


def _x(time_s: float) -> float:
    return _LEFT + _WIDTH * time_s / _SPEC.duration_s


if __name__ == "__main__":
    main()
