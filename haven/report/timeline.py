"""A scene's timeline: a line for each tag, with what was found and which markers changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from haven.report.markup import clock, name, stretch
from haven.report.values import ItemReport

_WIDTH = 10_000
_MOST_TIMES = 300
_KINDS = {"new": "new marker", "old": "found, no new marker", "off": "marker removed"}
_SIGNS = {"new": "+", "old": "=", "off": "−"}


class _Bar(NamedTuple):
    """One stretch of a tag's line. Without an end it is a point in time."""

    kind: str
    start_s: float
    end_s: float | None
    confidence: float | None = None


def timeline(scene: ItemReport) -> str:
    """Return the lines, their legend and all times; "" where nothing was found or changed."""
    lines = _lines(scene)
    if not lines:
        return ""
    bars = [bar for line in lines.values() for bar in line]
    length_s = max(scene.duration_s, *(bar.end_s or bar.start_s for bar in bars))
    gaps = _path("gap", scene.gaps_s, length_s)
    rows = "\n".join(_row(tag, line, length_s, gaps) for tag, line in lines.items())
    kinds = {kind: text for kind, text in _KINDS.items() if any(bar.kind == kind for bar in bars)}
    if scene.gaps_s:
        kinds["gap"] = "could not be read"
    legend = "".join(
        f'<span class="key"><i class="{kind}"></i>{text}</span>' for kind, text in kinds.items()
    )
    return (
        f'<div class="lines">\n{rows}\n{_axis(length_s)}\n</div>\n'
        f'<p class="legend">{legend}</p>\n{_times(lines)}'
    )


def _lines(scene: ItemReport) -> Mapping[str, Sequence[_Bar]]:
    lines: dict[str, list[_Bar]] = defaultdict(list)
    change = scene.change
    added = {_place(marker.title, marker.start_s) for marker in change.markers_added}
    drawn = set()
    for tag, spans in scene.spans.items():
        for span in spans:
            place = _place(tag, span.start_s)
            drawn.add(place)
            kind = "new" if place in added else "old"
            lines[tag.strip()].append(_Bar(kind, span.start_s, span.end_s, span.confidence))
    for kind, markers in (("new", change.markers_added), ("off", change.markers_removed)):
        for marker in markers:
            if kind == "off" or _place(marker.title, marker.start_s) not in drawn:
                lines[marker.title.strip()].append(_Bar(kind, marker.start_s, marker.end_s))
    return lines


def _place(tag: str, start_s: float) -> tuple[str, float]:
    return tag.strip(), round(start_s, 3)


def _row(tag: str, line: Sequence[_Bar], length_s: float, gaps: str) -> str:
    drawn = "".join(
        _path(kind, ((bar.start_s, bar.end_s) for bar in line if bar.kind == kind), length_s)
        for kind in _KINDS
    )
    found = [bar for bar in line if bar.kind != "off"]
    total_s = sum(bar.end_s - bar.start_s for bar in found if bar.end_s is not None)
    total = f"{len(found):,} × · {clock(round(total_s))}" if found else f"{len(line):,} removed"
    return (
        f'<div class="tag">{name(tag)}</div><div class="total">{total}</div>'
        f'<svg viewBox="0 0 {_WIDTH} 10" preserveAspectRatio="none" aria-hidden="true">'
        f"{gaps}{drawn}</svg>"
    )


def _path(kind: str, stretches: Iterable[tuple[float, float | None]], length_s: float) -> str:
    """Return all bars of one kind as one path. Bars that touch are merged: a path stays small."""
    top, bottom = (7, 10) if kind == "off" else (0, 10)
    bars: list[tuple[int, int]] = []
    for start, end in sorted(
        (_x(start_s, length_s), _x(start_s if end_s is None else end_s, length_s))
        for start_s, end_s in stretches
    ):
        if bars and start <= bars[-1][1]:
            bars[-1] = bars[-1][0], max(end, bars[-1][1])
        else:
            bars.append((start, end))
    drawn = "".join(f"M{start} {top}H{end}V{bottom}H{start}z" for start, end in bars)
    return f'<path class="{kind}" d="{drawn}"/>' if drawn else ""


def _x(time_s: float, length_s: float) -> int:
    return round(min(1.0, max(0.0, time_s / length_s)) * _WIDTH) if length_s > 0 else 0


def _axis(length_s: float) -> str:
    ticks = (f"<span>{clock(round(length_s * quarter / 4))}</span>" for quarter in range(5))
    return f'<div class="axis" aria-hidden="true">{"".join(ticks)}</div>'


def _times(lines: Mapping[str, Sequence[_Bar]]) -> str:
    rows = "\n".join(f"<dt>{name(tag)}</dt><dd>{_listed(line)}</dd>" for tag, line in lines.items())
    return f'<details class="times"><summary>All times</summary>\n<dl>\n{rows}\n</dl>\n</details>'


def _listed(line: Sequence[_Bar]) -> str:
    times = [
        f'<span class="time"><b class="{bar.kind}">{_SIGNS[bar.kind]}</b> '
        f"{stretch(bar.start_s, bar.end_s)}"
        + (f" <small>{bar.confidence:.2f}</small>" if bar.confidence is not None else "")
        + "</span>"
        for bar in sorted(line, key=lambda bar: bar.start_s)[:_MOST_TIMES]
    ]
    if len(line) > _MOST_TIMES:
        times.append(f"and {len(line) - _MOST_TIMES:,} more in the JSON file")
    return " ".join(times)
