"""Draw the timeline of one tagged scene, as a run's report shows it: docs/report.svg. ``make
docs`` runs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape

from tools.example_report import EXAMPLE
from vlm_engine.types import Span

PAGE = Path(__file__).resolve().parents[1] / "docs" / "report.svg"
_LEFT, _LINE_WIDTH, _ROW, _TOP = 160, 600, 34, 62
_WIDTH = _LEFT + _LINE_WIDTH + 120


def main() -> None:
    """Write the picture."""
    PAGE.write_text(picture(), encoding="utf-8")


def picture() -> str:
    """Return the picture as SVG."""
    scene = EXAMPLE.scenes[0]
    height = _TOP + _ROW * len(scene.spans) + 34
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}"'
        ' font-family="sans-serif" font-size="14">'
    )
    card = (
        f'<rect width="{_WIDTH}" height="{height}" rx="10" fill="#ffffff" stroke="#dde1e8"/>'
        f'<text x="20" y="32" font-size="17" font-weight="bold" fill="#1c2330">'
        f"{escape(scene.title)}</text>"
    )
    rows = [
        piece
        for number, (tag, spans) in enumerate(scene.spans.items())
        for piece in _row(tag, tuple(spans), _TOP + number * _ROW, scene.duration_s)
    ]
    return "\n".join([head, card, *rows, *_axis(height, scene.duration_s), "</svg>", ""])


def _row(tag: str, spans: tuple[Span, ...], top: int, duration_s: float) -> Iterator[str]:
    yield f'<text x="20" y="{top + 15}" fill="#1c2330">{escape(tag)}</text>'
    yield (f'<rect x="{_LEFT}" y="{top}" width="{_LINE_WIDTH}" height="20" rx="3" fill="#edf0f4"/>')
    for span in spans:
        start, end = (_LINE_WIDTH * time_s / duration_s for time_s in (span.start_s, span.end_s))
        yield (
            f'<rect x="{_LEFT + start:.1f}" y="{top}" width="{max(2.0, end - start):.1f}"'
            ' height="20" fill="#12805c"/>'
        )
    times = "1 time" if len(spans) == 1 else f"{len(spans)} times"
    yield (
        f'<text x="{_WIDTH - 20}" y="{top + 15}" text-anchor="end" fill="#5b6575">{times}</text>'
    )


def _axis(height: int, duration_s: float) -> Iterator[str]:
    for quarter in range(5):
        x = _LEFT + _LINE_WIDTH * quarter / 4
        minutes, seconds = divmod(round(duration_s * quarter / 4), 60)
        yield (
            f'<text x="{x:.0f}" y="{height - 14}" text-anchor="middle" font-size="12"'
            f' fill="#5b6575">{minutes}:{seconds:02}</text>'
        )


if __name__ == "__main__":
    main()
