"""Camera raw files are never sent as their thumbnail; and a page that is a copy of another is not the one to show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from sandbox.stills import saved, scene
from tests.pictures.raws import MAKERS, Tiff, preview, sensor, thumbnail
from tests.pictures.test_stills import SCENE, differs_by, sent
from vlm_engine.errors import MediaUnsupportedError

LARGE = scene(960, 640)
Make = Callable[..., bytes]
makers = pytest.mark.parametrize(("name", "make"), MAKERS.items(), ids=MAKERS)


@makers
@pytest.mark.parametrize("orientation", [1, 6])
def test_the_cameras_own_rendering_is_sent_upright(name: str, make: Make, orientation: int) -> None:
    stored = LARGE if orientation == 1 else np.ascontiguousarray(LARGE.swapaxes(0, 1)[::-1])
    shown = saved(Image.fromarray(stored), "JPEG", quality=95)
    assert differs_by(sent(make(shown, orientation=orientation)), LARGE) < 3


@makers
def test_a_raw_file_with_only_a_thumbnail_is_refused(tmp_path: Path, name: str, make: Make) -> None:
    path = tmp_path / name
    for shown in (None, preview((320, 240))):
        path.write_bytes(make(shown))
        with pytest.raises(
            MediaUnsupportedError,
            match=rf"{name}: a camera raw file with.*; convert it to JPEG or PNG",
        ):
            sent(path)


def test_a_preview_as_large_as_the_sensor_is_no_thumbnail() -> None:
    small = MAKERS["goal.dng"](preview((320, 200)), size=(328, 208))
    assert differs_by(sent(small), SCENE) < 3


@pytest.mark.parametrize(
    "content",
    [b"FUJIFILMCCD-RAW", b"IIU\0", b"IIRO\x08\0\0\0", b"\0\0\0\x18ftypcrx \0\0\0\1crx isom"],
)
def test_kinds_of_raw_files_that_are_not_read_are_named(content: bytes) -> None:
    with pytest.raises(MediaUnsupportedError, match="convert it to JPEG or PNG"):
        sent(content + bytes(200))


def test_directories_that_lead_nowhere_or_in_a_circle_end() -> None:
    for inner in ([2**31], [8], [0]):
        tiff = Tiff()
        first = tiff.directory({**sensor(tiff, (600, 400)), 330: inner}, following=8)
        with pytest.raises(MediaUnsupportedError, match="a camera raw file without a rendering"):
            sent(tiff.content(first))


def test_of_a_tiff_that_begins_with_a_reduced_copy_the_page_itself_is_sent() -> None:
    tiff, pixels = Tiff(b"II*\0"), SCENE.tobytes()
    told = {256: [320], 257: [200], 258: [8, 8, 8], 259: [1], 262: [2], 277: [3], 278: [200]}
    page = tiff.directory({**told, 273: [tiff.data(pixels)], 279: [len(pixels)]})
    assert (
        differs_by(sent(tiff.content(tiff.directory(thumbnail(tiff, (80, 50)), page))), SCENE) < 3
    )


def test_exif_data_as_text_in_a_png_turn_nothing_as_in_browsers() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    words = (b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")).hex()
    lines = "\n".join(words[start : start + 72] for start in range(0, len(words), 72))
    told = PngImagePlugin.PngInfo()
    told.add_text("Raw profile type exif", f"\nexif\n{len(words) // 2:8}\n{lines}\n", zip=True)
    content = saved(Image.fromarray(SCENE), "PNG", pnginfo=told)
    assert differs_by(sent(content), SCENE) < 3
