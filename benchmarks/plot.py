"""Model seconds per hour of video against F1, as a picture that needs nothing to be drawn with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

from benchmarks.deployments import Deployment
from benchmarks.scores import Summary

_WIDTH, _HEIGHT = 760, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 20, 34, 52
_TICKS = (20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
_STYLE = "text{font:13px sans-serif;fill:#333}.grid{stroke:#ddd}.line{fill:none;stroke-width:2}"


class _Axes:
    """Positions in the picture: seconds on a logarithmic scale, F1 on a linear one."""

    def __init__(self, points: Sequence[Summary]) -> None:
        seconds = [_seconds(point) for point in points]
        self.low, self.high = min(seconds) / 1.25, max(seconds) * 1.7
        self.floor = math.floor(10 * min(point.f1 for point in points)) / 10

    def x(self, seconds: float) -> float:
        share = math.log(seconds / self.low) / math.log(self.high / self.low)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(self, f1: float) -> float:
        return _HEIGHT - _BOTTOM - (f1 - self.floor) / (1 - self.floor) * (_HEIGHT - _TOP - _BOTTOM)

    def grid(self) -> list[str]:
        drawn = []
        bottom = _HEIGHT - _BOTTOM
        for seconds in (tick for tick in _TICKS if self.low <= tick <= self.high):
            x = self.x(seconds)
            drawn.append(
                f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>'
            )
            drawn.append(
                f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{seconds}</text>'
            )
        for tenth in range(round(10 * self.floor), 11):
            y = self.y(tenth / 10)
            drawn.append(
                f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" '
                f'y1="{y:.1f}" y2="{y:.1f}"/>'
            )
            drawn.append(
                f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tenth / 10:.1f}</text>'
            )
        return drawn


def frontier_plot(
    search: Sequence[Summary], calibrated: Sequence[Summary], others: Mapping[str, Summary]
) -> str:
    """Return an SVG: the search over its efforts as a line, the default first; the same with
    ``calibrated`` confidences; everybody else a point with a name.
    """
    axes = _Axes([*search, *calibrated, *others.values()])
    marks = _line(axes, search, "#0a6", "search") + _line(
        axes, calibrated, "#06a", "with confidences"
    )
    for name, point in others.items():
        is_over_another = any(_is_just_below(axes, other, point) for other in others.values())
        marks += [_dot(axes, point, 5, "#c50"), _label(axes, point, name, above=is_over_another)]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">'
    titles = [
        f"<title>Model seconds per hour of video against F1</title><style>{_STYLE}</style>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="20">F1 at a temporal IoU of .5, all noise levels together</text>',
        f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 10}" text-anchor="end">'
        f"model seconds per hour of video, {Deployment.GAMING_PC}</text>",
    ]
    return "\n".join([head, *titles, *axes.grid(), *marks, "</svg>", ""])


def _line(axes: _Axes, points: Sequence[Summary], colour: str, name: str) -> list[str]:
    default, *_ = points
    path = " ".join(
        f"{axes.x(_seconds(point)):.1f},{axes.y(point.f1):.1f}"
        for point in sorted(points, key=_seconds)
    )
    return [
        f'<polyline class="line" stroke="{colour}" points="{path}"/>',
        *(_dot(axes, point, 6 if point is default else 3, colour) for point in points),
        _label(axes, default, name, above=True),
    ]


def _seconds(point: Summary) -> float:
    return point.seconds_per_hour[Deployment.GAMING_PC]


def _is_just_below(axes: _Axes, point: Summary, upper: Summary) -> bool:
    """Return True if a point is where the name of a higher one would be written below it."""
    aside = axes.x(_seconds(point)) - axes.x(_seconds(upper))
    return abs(aside) < 80 and 0 < axes.y(point.f1) - axes.y(upper.f1) < 40


def _dot(axes: _Axes, point: Summary, radius: int, colour: str) -> str:
    x, y = axes.x(_seconds(point)), axes.y(point.f1)
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}"/>'


def _label(axes: _Axes, point: Summary, name: str, *, above: bool) -> str:
    """Beside the point, and on the side where there is room."""
    x, y = axes.x(_seconds(point)), axes.y(point.f1) + (-12 if above else 20)
    anchor = "end" if x > 0.7 * _WIDTH else "middle"
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(name)}</text>'
