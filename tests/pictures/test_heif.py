"""HEIC, and AVIF that Pillow refuses: what is sent is what a person sees of it, pixel by pixel."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from sandbox.heif import (
    ALPHA,
    Coded,
    HeifFile,
    box,
    coded,
    cropped,
    full_box,
    heic,
    mirrored,
    nclx,
    profile,
    tiled,
    turned,
)
from sandbox.stills import scene, swapped_profile
from tests.pictures.stored import SCENE, file_of, looks_like, sent
from vlm_engine.errors import MediaUnreadableError, MediaUnsupportedError
from vlm_engine.pictures import PictureReader, ViewKind
from vlm_engine.types import ImageShape

AVIF = {"codec": "libsvtav1"}
encodings = pytest.mark.parametrize("encoding", [{}, AVIF], ids=["heic", "avif"])


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p", "yuv420p10le", "yuv444p12le"])
@pytest.mark.parametrize("tile", [0, 64, 128])
def test_a_heic_is_sent_as_it_looks(pixel_format, tile):
    encoding = {"pixel_format": pixel_format}
    assert looks_like(tiled(SCENE, tile, **encoding) if tile else heic(SCENE, **encoding))


def test_an_avif_that_pillow_refuses_is_sent_as_it_looks():
    content = heic(SCENE, **AVIF)
    with pytest.raises(OSError, match="cannot identify"):
        Image.open(io.BytesIO(content))
    assert looks_like(content)
    assert looks_like(tiled(SCENE, 160, **AVIF))


@encodings
def test_what_is_transparent_in_it_lies_on_grey(encoding):
    alpha = np.full(SCENE.shape[:2], 255, np.uint8)
    alpha[:, 100:160], alpha[:, 160:220] = 0, 128
    weight = alpha[..., None] / 255
    content = heic(SCENE, alpha=alpha, **encoding)
    assert looks_like(content, SCENE * weight + 128 * (1 - weight))


@pytest.mark.parametrize("tile", [pytest.param(0, marks=pytest.mark.thorough), 64])
@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_it_is_turned_and_mirrored_once(tile, quarters, axis):
    stored = SCENE if axis is None else np.flip(SCENE, axis)
    stored = np.ascontiguousarray(np.rot90(stored, -quarters))
    properties = [turned(quarters), *([] if axis is None else [mirrored(axis)])]
    assert looks_like(tiled(stored, tile, *properties) if tile else heic(stored, *properties))


def test_it_is_cropped_before_it_is_turned():
    content = heic(SCENE, cropped(200, 100, right=10, down=20), turned(1))
    assert looks_like(content, np.rot90(SCENE[70:170, 70:270]))


def test_an_odd_size_is_kept():
    pixels = scene(321, 201)
    padded = coded(np.pad(pixels, ((0, 1), (0, 1), (0, 0)), mode="edge"))
    file = HeifFile()
    file.add(Coded(padded.kind, padded.configuration, padded.data, 321, 201))
    assert looks_like(file.content(), pixels)


def test_its_colour_profile_is_applied():
    stored = np.ascontiguousarray(SCENE[..., (1, 0, 2)])
    assert looks_like(heic(stored, profile(swapped_profile())), within=4)


def test_the_range_of_values_is_what_the_file_says():
    assert looks_like(heic(SCENE, nclx(1, 13, 6, is_full=True), pixel_format="yuvj420p"))


def test_a_large_heic_is_made_smaller_and_cut_into_parts():
    large = tiled(scene(1600, 400), 512)
    views = PictureReader(parts=4).views(large, ImageShape(400, 95))
    assert (views.kind, len(views.frames)) == (ViewKind.PARTS, 5)
    assert sent(large, max_side=400).shape == (100, 400, 3)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@encodings
def test_one_that_is_cut_off_is_named(tmp_path, share, encoding):
    content = tiled(SCENE, 160, **encoding)
    path = tmp_path / "goal.heic"
    path.write_bytes(content[: int(share * len(content))])
    reason = r"goal\.heic: a HEIF picture .* convert it to JPEG"
    with pytest.raises(MediaUnsupportedError, match=reason):
        sent(path)


def test_a_size_that_no_memory_holds_is_not_decoded():
    tile = coded(scene(64, 64))
    lying, tiles = HeifFile(), HeifFile()
    lying.add(Coded(tile.kind, tile.configuration, tile.data, 50_000, 50_000))
    tiles.add_grid((50_000, 50_000), 1, 1)
    tiles.add(tile)
    reason = "too many pixels: 50000 x 50000, and the limit for HEIF is 89 million"
    for file in (lying, tiles):
        with pytest.raises(MediaUnreadableError, match=reason):
            sent(file.content())


def test_a_picture_far_larger_than_the_file_says_is_not_decoded():
    large, file = coded(scene(1920, 1088)), HeifFile()
    file.add(Coded(large.kind, large.configuration, large.data, 160, 90))
    with pytest.raises(MediaUnsupportedError, match="a HEIF picture"):
        sent(file.content())


def test_an_unknown_kind_of_picture_is_named_with_the_remedy():
    small = coded(scene(64, 64))
    unknown, needs = HeifFile(), HeifFile()
    unknown.add(small, kind=b"vvc1")
    needs.add(small, box(b"warp", bytes(4)))
    for file, kind in ((unknown, "vvc1"), (needs, "warp")):
        with pytest.raises(MediaUnsupportedError, match=f"'{kind}'.*; convert it to JPEG or PNG"):
            sent(file.content())


def test_a_jpeg_inside_and_a_picture_that_is_another_one_turned():
    photo, other = HeifFile(), HeifFile()
    jpeg = file_of(SCENE, "JPEG", quality=95)
    photo.add(Coded(b"jpeg", box(b"jpgC"), jpeg, 320, 200))
    assert looks_like(photo.content())
    stored = coded(np.ascontiguousarray(np.rot90(SCENE, -1)))
    other.add(Coded(b"iden", stored.configuration, b"", stored.width, stored.height), turned(1))
    other.refer(1, b"dimg", other.add(stored))
    assert looks_like(other.content())


def test_colours_may_be_premultiplied_by_their_alpha():
    file = HeifFile()
    file.add(coded((SCENE * 0.5).astype(np.uint8)))
    layer = file.add(coded(np.full((200, 320), 128, np.uint8)), full_box(b"auxC", ALPHA + b"\0"))
    file.refer(layer, b"auxl", 1)
    file.refer(1, b"prem", layer)
    assert looks_like(file.content(), SCENE * 0.5 + 64)


def test_a_video_by_the_brand_of_pictures_is_a_video():
    brand = box(b"ftyp", b"hevc" + bytes(4) + b"msf1hevc")
    content = brand + box(b"mdat", bytes(100)) + box(b"moov", bytes(20))
    assert PictureReader().views(content, ImageShape()).kind is ViewKind.VIDEO
