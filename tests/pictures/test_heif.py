"""HEIC, and AVIF that Pillow refuses: what is sent is what a person sees of it, pixel by pixel."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

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
from sandbox.stills import saved, scene, swapped_profile
from tests.pictures.test_stills import SCENE, differs_by, sent
from vlm_engine.errors import MediaUnreadableError, MediaUnsupportedError
from vlm_engine.pictures import PictureReader, ViewKind
from vlm_engine.types import ImageShape

AVIF = {"codec": "libsvtav1"}


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p", "yuv420p10le", "yuv444p12le"])
def test_a_heic_is_sent_as_it_looks(pixel_format: str) -> None:
    assert differs_by(sent(heic(SCENE, pixel_format=pixel_format)), SCENE) < 3


def test_all_tiles_of_a_heic_are_in_their_places() -> None:
    assert differs_by(sent(tiled(SCENE, 64)), SCENE) < 3
    assert differs_by(sent(tiled(SCENE, 128)), SCENE) < 3


def test_an_avif_that_pillow_refuses_is_sent_as_it_looks(tmp_path: Path) -> None:
    path = tmp_path / "goal.avif"
    path.write_bytes(heic(SCENE, **AVIF))
    with pytest.raises(OSError, match="cannot identify"), Image.open(path):
        pass
    assert differs_by(sent(path), SCENE) < 3
    assert differs_by(sent(tiled(SCENE, 160, **AVIF)), SCENE) < 3


@pytest.mark.parametrize("encoding", [{}, AVIF])
def test_what_is_transparent_in_it_lies_on_grey(encoding: dict[str, str]) -> None:
    alpha = np.full(SCENE.shape[:2], 255, np.uint8)
    alpha[:, 100:160], alpha[:, 160:220] = 0, 128
    weight = alpha[..., None] / 255
    assert (
        differs_by(sent(heic(SCENE, alpha=alpha, **encoding)), SCENE * weight + 128 * (1 - weight))
        < 3
    )


@pytest.mark.parametrize("tile", [0, 64])
@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_it_is_turned_and_mirrored_once(tile: int, quarters: int, axis: int | None) -> None:
    stored = SCENE if axis is None else SCENE[::-1] if axis == 0 else SCENE[:, ::-1]
    stored = np.ascontiguousarray(np.rot90(stored, -quarters))
    told = [turned(quarters), *([] if axis is None else [mirrored(axis)])]
    content = tiled(stored, tile, *told) if tile else heic(stored, *told)
    assert differs_by(sent(content), SCENE) < 3


def test_it_is_cropped_before_it_is_turned() -> None:
    content = heic(SCENE, cropped(200, 100, right=10, down=20), turned(1))
    assert differs_by(sent(content), np.rot90(SCENE[70:170, 70:270])) < 3


def test_an_odd_size_is_kept() -> None:
    pixels = scene(321, 201)
    padded = coded(np.pad(pixels, ((0, 1), (0, 1), (0, 0)), mode="edge"))
    file = HeifFile()
    file.add(type(padded)(padded.kind, padded.configuration, padded.data, 321, 201))
    assert differs_by(sent(file.content()), pixels) < 3


def test_its_colour_profile_is_applied() -> None:
    stored = np.ascontiguousarray(SCENE[..., (1, 0, 2)])
    assert differs_by(sent(heic(stored, profile(swapped_profile()))), SCENE) < 4


def test_the_range_of_values_is_what_the_file_says() -> None:
    full = heic(SCENE, nclx(1, 13, 6, is_full=True), pixel_format="yuvj420p")
    assert differs_by(sent(full), SCENE) < 3


def test_a_large_heic_is_made_smaller_and_cut_into_parts() -> None:
    large = scene(1600, 400)
    looks = PictureReader(parts=4).views(tiled(large, 512), ImageShape(400, 95))
    assert (looks.kind, len(looks.frames)) == (ViewKind.PARTS, 5)
    assert sent(tiled(large, 512), max_side=400).shape == (100, 400, 3)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("encoding", [{}, AVIF])
def test_one_that_is_cut_off_is_named(
    tmp_path: Path, share: float, encoding: dict[str, str]
) -> None:
    content = tiled(SCENE, 160, **encoding)
    path = tmp_path / "goal.heic"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(
        MediaUnsupportedError, match=r"goal\.heic: a HEIF picture .* convert it to JPEG"
    ):
        sent(path)


def test_a_size_that_no_memory_holds_is_not_decoded() -> None:
    tile = coded(scene(64, 64))
    lying = HeifFile()
    lying.add(type(tile)(tile.kind, tile.configuration, tile.data, 50_000, 50_000))
    tiles = HeifFile()
    tiles.add_grid((50_000, 50_000), 1, 1)
    tiles.add(tile)
    for file in (lying, tiles):
        with pytest.raises(
            MediaUnreadableError,
            match="too many pixels: 50000 x 50000, and the limit for HEIF is 89 million",
        ):
            sent(file.content())


def test_a_kind_of_picture_that_is_not_known_is_named_with_the_remedy() -> None:
    told = coded(scene(64, 64))
    unknown, needs = HeifFile(), HeifFile()
    unknown.add(told, kind=b"vvc1")
    needs.add(told, box(b"warp", bytes(4)))
    for file, kind in ((unknown, "vvc1"), (needs, "warp")):
        with pytest.raises(MediaUnsupportedError, match=f"'{kind}'.*; convert it to JPEG or PNG"):
            sent(file.content())


def test_a_jpeg_inside_and_a_picture_that_is_another_one_turned() -> None:
    jpeg = saved(Image.fromarray(SCENE), "JPEG", quality=95)
    photo = HeifFile()
    photo.add(Coded(b"jpeg", box(b"jpgC"), jpeg, 320, 200))
    assert differs_by(sent(photo.content()), SCENE) < 3
    stored, other = coded(np.ascontiguousarray(np.rot90(SCENE, -1))), HeifFile()
    other.add(Coded(b"iden", stored.configuration, b"", stored.width, stored.height), turned(1))
    other.refer(1, b"dimg", other.add(stored))
    assert differs_by(sent(other.content()), SCENE) < 3


def test_colours_that_are_weighed_by_their_opacity_already() -> None:
    weight = np.full((200, 320, 1), 0.5)
    file = HeifFile()
    file.add(coded((SCENE * weight).astype(np.uint8)))
    layer = file.add(coded(np.full((200, 320), 128, np.uint8)), full_box(b"auxC", ALPHA + b"\0"))
    file.refer(layer, b"auxl", 1)
    file.refer(1, b"prem", layer)
    assert differs_by(sent(file.content()), SCENE * weight + 128 * (1 - weight)) < 3


def test_a_coded_picture_far_larger_than_the_file_says_is_not_decoded() -> None:
    large, file = coded(scene(1920, 1088)), HeifFile()
    file.add(Coded(large.kind, large.configuration, large.data, 160, 90))
    with pytest.raises(MediaUnsupportedError, match="a HEIF picture"):
        sent(file.content())


def test_a_video_by_the_brand_of_pictures_is_a_clip() -> None:
    content = (
        box(b"ftyp", b"hevc" + bytes(4) + b"msf1hevc")
        + box(b"mdat", bytes(100))
        + box(b"moov", bytes(20))
    )
    assert PictureReader().views(content, ImageShape()).kind is ViewKind.VIDEO


@pytest.mark.skipif(shutil.which("heif-enc") is None, reason="heif-enc is not installed")
def test_what_another_encoder_wrote(tmp_path: Path) -> None:
    (tmp_path / "goal.png").write_bytes(saved(Image.fromarray(SCENE), "PNG"))
    for name in ("goal.heic", "goal.avif"):
        command = ["heif-enc", "-q", "95", str(tmp_path / "goal.png"), "-o", str(tmp_path / name)]
        subprocess.run(command, check=True, capture_output=True)
        assert differs_by(sent(tmp_path / name), SCENE) < 3
