"""Black bars left and right of what was filmed upright and put into a wide video. Pure.

Cropping them lets the same pixels show three times as much. It must never take away anything else, so the bars have to be
there in several pictures, at the same places, and in each picture that is cropped.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

PICTURES = 8  # to look at, spread over the video
_NEEDED = 3  # of them must agree
_SLACK = 0.015  # of the width
_LEAST, _MOST = (
    0.03,
    0.42,
)  # of the width: what is worth it, and a little more than 9:16 within 21:9 takes
_BLACK, _NEAR_BLACK = 24, 40  # the second allows for ringing where a bar ends
_LEAST_LIT = 0.05  # of a picture, lest it is of the dark and tells nothing


def bar_share(pictures: Iterable[Pixels]) -> float:
    """The share of the width that a bar takes on either side; 0.0 where there are none.

    ``pictures``: of one video, (height, width, 3), of any size; no more are taken than are needed to see that there are none.
    """
    seen = []
    for picture in pictures:
        lit = picture.max(axis=2) > _BLACK
        if lit.mean() < _LEAST_LIT:
            continue
        columns = np.flatnonzero(lit.any(axis=0))
        sides = np.array([columns[0], lit.shape[1] - 1 - columns[-1]]) / lit.shape[1]
        if sides.min() < _LEAST:
            return 0.0
        seen.append(sides)
    if len(seen) < _NEEDED:
        return 0.0
    bars = np.min(seen, axis=0)
    agreeing = (np.abs(seen - bars) <= _SLACK).all(axis=1).sum()
    is_sure = agreeing >= _NEEDED and np.ptp(bars) <= _SLACK and bars.max() <= _MOST
    return float(bars.min()) if is_sure else 0.0


def are_black(pixels: Pixels, share: float) -> bool:
    """Whether bars of this share of the width hold nothing in this picture."""
    width = int(share * pixels.shape[1])
    return (
        not (pixels[:, :width] > _NEAR_BLACK).any()
        and not (pixels[:, pixels.shape[1] - width :] > _NEAR_BLACK).any()
    )
