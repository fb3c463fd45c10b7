"""What one eye sees ahead in a frame that holds the views of two. Pure."""

from __future__ import annotations

_SIDE_BY_SIDE, _OVER_UNDER = 1.5, 1.1
_FRONT_SHARE = 2 / 3


def front_box(width: int, height: int) -> tuple[int, int, int, int]:
    """Where in a VR frame lies what one eye sees ahead: left, upper, right and lower edge, in pixels.

    A frame at least 1.5 times as wide as high holds the eyes side by side, and the left one is taken; a frame at most
    1.1 times as wide as high holds one over the other, and the upper one is taken; any other is one eye
    already. Of that eye, the middle two thirds in both directions are the front.
    """
    aspect = width / height
    eye_width = width / 2 if aspect >= _SIDE_BY_SIDE else width
    eye_height = height / 2 if aspect <= _OVER_UNDER else height
    margin_x, margin_y = eye_width * (1 - _FRONT_SHARE) / 2, eye_height * (1 - _FRONT_SHARE) / 2
    left, upper = int(margin_x), int(margin_y)
    return left, upper, max(left + 1, round(eye_width - margin_x)), max(upper + 1, round(eye_height - margin_y))
