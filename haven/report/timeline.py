"""A scene's timeline: a line for each tag, with what was found and which markers came and went."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from haven.report.markup import clock, name, number, stretch
from haven.report.values import MarkerChange, SceneReport
from vlm_engine import Span

_UNITS = 10_000
_MOST_TIMES = 300
_KINDS = {"new": "new marker", "old": "found, no new marker", "off": "marker removed"}
_SIGNS = {"new": "+", "old": "=", "off": "−"}


@dataclass(slots=True)
class _Line:
    """One tag: (start, end, confidence) of what there is of each kind. An end of None is a point in time."""

    of: dict[str, list[tuple[float, float | None, float | None]]] = field(
        default_factory=lambda: {kind: [] for kind in _KINDS}
    )

    def found(self) -> Iterator[tuple[float, float | None, float | None]]:
        yield from self.of["new"]
        yield from self.of["old"]


def timeline(scene: SceneReport) -> str:
    """The lines, their legend, and all times below. Empty where nothing was found or changed."""
    lines = _lines(scene)
    if not lines:
        return ""
    length_s = max([scene.duration_s, *_ends(scene)])
    gaps = _path("gap", scene.gaps_s, length_s)
    rows = "\n".join(_row(tag, line, length_s, gaps) for tag, line in lines.items())
    kinds = {
        kind: text for kind, text in _KINDS.items() if any(line.of[kind] for line in lines.values())
    }
    legend = [_key(kind, text) for kind, text in kinds.items()]
    legend += [_key("gap", "could not be read")] if scene.gaps_s else []
    return f'<div class="lines">\n{rows}\n{_axis(length_s)}\n</div>\n<p class="legend">{"".join(legend)}</p>\n{_times(lines)}'


def _key(kind: str, text: str) -> str:
    return f'<span class="key"><i class="{kind}"></i>{text}</span>'


def _lines(scene: SceneReport) -> dict[str, _Line]:
    lines: dict[str, _Line] = {}
    added = {_place(marker.title, marker) for marker in scene.change.markers_added}
    for tag, spans in scene.spans.items():
        for span in spans:
            kind = "new" if _place(tag, span) in added else "old"
            lines.setdefault(tag.strip(), _Line()).of[kind].append(
                (span.start_s, span.end_s, span.confidence)
            )
    drawn = {_place(tag, span) for tag, spans in scene.spans.items() for span in spans}
    for kind, markers in (
        ("new", scene.change.markers_added),
        ("off", scene.change.markers_removed),
    ):
        for marker in markers:
            if kind == "off" or _place(marker.title, marker) not in drawn:
                lines.setdefault(marker.title.strip(), _Line()).of[kind].append(
                    (marker.start_s, marker.end_s, None)
                )
    return lines


def _place(tag: str, at: Span | MarkerChange) -> tuple[str, float]:
    return tag.strip(), round(at.start_s, 3)


def _ends(scene: SceneReport) -> Iterator[float]:
    for changed in (*scene.change.markers_added, *scene.change.markers_removed):
        yield changed.end_s or changed.start_s
    for spans in scene.spans.values():
        yield from (span.end_s for span in spans)


def _row(tag: str, line: _Line, length_s: float, gaps: str) -> str:
    bars = "".join(
        _path(kind, ((start, end) for start, end, _ in bars), length_s)
        for kind, bars in line.of.items()
    )
    found = list(line.found())
    total_s = sum(end - start for start, end, _ in found if end is not None)
    told = (
        f"{number(len(found))} × · {clock(round(total_s))}"
        if found
        else f"{number(len(line.of['off']))} removed"
    )
    return (
        f'<div class="tag">{name(tag)}</div><div class="total">{told}</div>'
        f'<svg viewBox="0 0 {_UNITS} 10" preserveAspectRatio="none" aria-hidden="true">{gaps}{bars}</svg>'
    )


def _path(kind: str, stretches: Iterable[tuple[float, float | None]], length_s: float) -> str:
    """All bars of one kind as one path. Those that touch on the screen are one, so a path has an upper size."""
    top, bottom = (7, 10) if kind == "off" else (0, 10)
    bars: list[tuple[int, int]] = []
    for start, end in sorted(
        (_unit(start, length_s), _unit(end if end is not None else start, length_s))
        for start, end in stretches
    ):
        if bars and start <= bars[-1][1]:
            bars[-1] = bars[-1][0], max(end, bars[-1][1])
        else:
            bars.append((start, end))
    drawn = "".join(f"M{start} {top}H{end}V{bottom}H{start}z" for start, end in bars)
    return f'<path class="{kind}" d="{drawn}"/>' if drawn else ""


def _unit(time_s: float, length_s: float) -> int:
    return round(min(1.0, max(0.0, time_s / length_s)) * _UNITS) if length_s > 0 else 0


def _axis(length_s: float) -> str:
    ticks = (f"<span>{clock(round(length_s * quarter / 4))}</span>" for quarter in range(5))
    return f'<div class="axis" aria-hidden="true">{"".join(ticks)}</div>'


def _times(lines: dict[str, _Line]) -> str:
    rows = "\n".join(f"<dt>{name(tag)}</dt><dd>{_listed(line)}</dd>" for tag, line in lines.items())
    return f'<details class="times"><summary>All times</summary>\n<dl>\n{rows}\n</dl>\n</details>'


def _listed(line: _Line) -> str:
    every = sorted(
        ((*bar, kind) for kind, bars in line.of.items() for bar in bars), key=lambda bar: bar[0]
    )
    shown = [
        f'<span class="time"><b class="{kind}">{_SIGNS[kind]}</b> {stretch(start, end)}'
        + (f" <small>{confidence:.2f}</small>" if confidence is not None else "")
        + "</span>"
        for start, end, confidence, kind in every[:_MOST_TIMES]
    ]
    more = len(every) - len(shown)
    return " ".join(
        [*shown, f"and {number(more)} more in the JSON file" if more > 0 else ""]
    ).strip()
