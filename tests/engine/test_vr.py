from __future__ import annotations

import pytest

from vlm_engine.vr import front_box


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((1200, 600), (100, 100, 500, 500)),  # side by side: the left eye's 600 x 600
        ((600, 600), (100, 50, 500, 250)),  # one over the other: the upper eye's 600 x 300
        ((600, 1200), (100, 100, 500, 500)),
        ((720, 600), (120, 100, 600, 500)),  # one eye
    ],
)
def test_the_front_of_a_vr_frame_is_the_middle_of_one_eye(size: tuple[int, int], box: tuple[int, int, int, int]) -> None:
    assert front_box(*size) == box
