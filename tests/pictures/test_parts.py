"""A still with more detail than one view can show is also sent in parts."""

from __future__ import annotations

import numpy as np
import pytest

from sandbox.stills import scene
from tests.pictures.stored import SCENE, exif_of, file_of, pixels_of
from vlm_engine.pictures import PictureReader, ViewKind
from vlm_engine.pictures.reader import boxes, grid
from vlm_engine.types import ImageShape


@pytest.mark.parametrize(
    ("size", "most", "cut"),
    [
        ((4000, 3000), 0, (1, 1)),
        ((1400, 1000), 9, (1, 1)),  # the whole shows it nearly as well
        ((4000, 3000), 4, (2, 2)),
        ((4000, 3000), 3, (2, 1)),
        ((4000, 3000), 16, (4, 3)),
        ((12000, 1500), 6, (6, 1)),
        ((800, 9000), 16, (1, 9)),  # more would not show more
        ((2000, 2000), 16, (2, 2)),
        ((4000, 3000), 1, (1, 1)),
    ],
)
def test_a_still_is_cut_where_that_shows_more(size, most, cut):
    assert grid(*size, 1024, most) == cut


def test_parts_cover_everything_and_overlap():
    found = boxes(1000, 600, 2, 3)
    assert len(found) == 6
    seen = np.zeros((600, 1000), int)
    for left, upper, right, lower in found:
        assert (0 <= left < right <= 1000) and (0 <= upper < lower <= 600)
        seen[upper:lower, left:right] += 1
    assert seen.min() == 1
    assert (seen[:, 500] >= 2).all() and (seen[200] >= 2).all()


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(("form", "options"), [("JPEG", {"quality": 95}), ("TIFF", {})])
def test_parts_show_details_that_the_whole_does_not(form, options, orientation):
    upright = scene(1800, 400)
    upright[::2, 1200:] = 255 - upright[::2, 1200:]  # lines too fine for the whole
    stored = upright if orientation == 1 else np.rot90(upright)
    content = file_of(stored, form, exif=exif_of(orientation), **options)
    views = PictureReader(parts=3).views(content, ImageShape(600, 95))
    assert (views.kind, views.layout, len(views.frames)) == (ViewKind.PARTS, "3x1", 4)
    whole, *parts = views.frames
    assert [frame.time_s for frame in views.frames] == [0, 1, 2, 3]
    assert (whole.width, whole.height) == (600, 133)
    assert all(part.width <= 600 and part.height > 300 for part in parts)
    first, *_, last = (pixels_of(part).astype(int) for part in parts)
    flat, lined = (np.abs(np.diff(each[100:-100, -150:], axis=0)).mean() for each in (first, last))
    assert lined > 5 * flat
    assert np.allclose(first[5, 5], (200, 40, 40), atol=12)


def test_a_small_still_stays_whole():
    views = PictureReader(parts=16).views(file_of(SCENE), ImageShape(1024))
    assert (views.kind, len(views.frames)) == (ViewKind.STILL, 1)
