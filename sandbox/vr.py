"""Frames as VR cameras leave them: the eyes in their places, what is ahead in the middle of each,
something else around it.

The first eye shows the truth ahead. Beside it, behind it, and ahead of the second eye is its
contrary, so that who looks anywhere else reads something wrong, and who looks at too much or too
little reads nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vlm_engine.testing import glyphs

AHEAD_DEGREES = 120

Plane = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Arrangement:
    """Eyes in a row and in a column, and how many degrees each shows across and down."""

    beside: int
    below: int
    across: int
    down: int


_ARRANGEMENTS: Mapping[str, _Arrangement] = {
    "mono-180": _Arrangement(1, 1, 180, 180),
    "mono-360": _Arrangement(1, 1, 360, 180),
    "sbs-180": _Arrangement(2, 1, 180, 180),
    "sbs-360": _Arrangement(2, 1, 360, 180),
    "sbs-fisheye200": _Arrangement(2, 1, 200, 200),
    "sbs-flat": _Arrangement(2, 1, AHEAD_DEGREES, AHEAD_DEGREES),
    "tb-180": _Arrangement(1, 2, 180, 180),
    "tb-360": _Arrangement(1, 2, 360, 180),
    "tb-flat": _Arrangement(1, 2, AHEAD_DEGREES, AHEAD_DEGREES),
}
LAYOUTS = tuple(_ARRANGEMENTS)


def draw(
    plane: Plane, layout: str, truth: Sequence[int | None], codes: Sequence[int], frame_number: int
) -> None:
    """Draw a VR frame into ``plane`` (height x width), which is changed in place.

    ``truth``: for each tile the code that is shown, or None, of all the ``codes`` there are.
    """
    contrary = [code if other is None else None for code, other in zip(codes, truth, strict=True)]
    for number, eye in enumerate(_eyes(plane, _ARRANGEMENTS[layout])):
        ahead, *around = _windows(eye, _ARRANGEMENTS[layout])
        glyphs.draw(ahead, contrary if number else truth, frame_number)
        for window in around:
            glyphs.draw(window, contrary, frame_number)


def _eyes(plane: Plane, arrangement: _Arrangement) -> Iterator[Plane]:
    height, width = plane.shape[0] // arrangement.below, plane.shape[1] // arrangement.beside
    yield plane[:height, :width]
    if plane.shape != (height, width):
        yield plane[-height:, -width:]


def _windows(eye: Plane, arrangement: _Arrangement) -> Iterator[Plane]:
    """Return the part ahead, and those left and right of it, where there is room for a picture."""
    height, width = eye.shape
    left, upper = (
        round(side * (1 - AHEAD_DEGREES / span) / 2)
        for side, span in ((width, arrangement.across), (height, arrangement.down))
    )
    yield eye[upper : height - upper, left : width - left]
    if left >= 2 * glyphs.COLUMNS:
        yield eye[upper : height - upper, :left]
        yield eye[upper : height - upper, width - left :]
