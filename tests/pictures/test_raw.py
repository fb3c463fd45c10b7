"""Camera raw files are never sent as their thumbnail; nor is a page that is a copy of another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from sandbox.stills import scene
from tests.pictures.raws import MAKERS, Tiff, described, preview, sensor, strip, thumbnail
from tests.pictures.stored import SCENE, file_of, looks_like, sent
from vlm_engine.errors import MediaUnsupportedError

LARGE = scene(960, 640)
Make = Callable[..., bytes]
makers = pytest.mark.parametrize(("name", "make"), MAKERS.items(), ids=MAKERS)


@makers
@pytest.mark.parametrize("orientation", [1, 6])
def test_the_cameras_own_rendering_is_sent_upright(name, make, orientation):
    stored = LARGE if orientation == 1 else LARGE.swapaxes(0, 1)[::-1]
    content = make(file_of(stored, "JPEG", quality=95), orientation=orientation)
    assert looks_like(content, LARGE)


@makers
def test_a_raw_file_with_only_a_thumbnail_is_refused(tmp_path, name, make):
    path = tmp_path / name
    reason = rf"{name}: a camera raw file with.*; convert it to JPEG or PNG"
    for content in (None, preview((320, 240))):
        path.write_bytes(make(content))
        with pytest.raises(MediaUnsupportedError, match=reason):
            sent(path)


def test_a_preview_as_large_as_the_sensor_is_no_thumbnail():
    assert looks_like(MAKERS["goal.dng"](preview((320, 200)), size=(328, 208)))


@pytest.mark.parametrize(
    "content",
    [b"FUJIFILMCCD-RAW", b"IIU\0", b"IIRO\x08\0\0\0", b"\0\0\0\x18ftypcrx \0\0\0\1crx isom"],
)
def test_kinds_of_raw_files_that_are_not_read_are_named(content):
    with pytest.raises(MediaUnsupportedError, match="convert it to JPEG or PNG"):
        sent(content + bytes(200))


@pytest.mark.parametrize("inner", [2**31, 8, 0])
def test_directories_that_lead_nowhere_or_in_a_circle_end(inner):
    tiff = Tiff()
    first = tiff.directory({**sensor(tiff, (600, 400)), 330: [inner]}, following=8)
    with pytest.raises(MediaUnsupportedError, match="a camera raw file without a rendering"):
        sent(tiff.content(first))


def test_a_tiff_is_not_sent_as_the_reduced_copy_it_begins_with():
    tiff = Tiff(b"II*\0")
    values = described((320, 200), 1, 2, 3) | strip(tiff, np.ascontiguousarray(SCENE).tobytes())
    page = tiff.directory(values)
    assert looks_like(tiff.content(tiff.directory(thumbnail(tiff, (80, 50)), page)))
