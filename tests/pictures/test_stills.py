"""What is sent of a still is what a person sees of it, compared pixel by pixel on generated pictures."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from sandbox.stills import (
    Pixels,
    linear_grey_profile,
    odd_ink_profile,
    saved,
    scene,
    swapped_profile,
)
from vlm_engine.errors import MediaNotFoundError, MediaUnreadableError
from vlm_engine.pictures import PictureReader, Source, ViewKind, still
from vlm_engine.types import ImageShape

SCENE = scene()
GREY = (128, 128, 128)


def sent(source: Source, max_side: int = 1024) -> Pixels:
    """The JPEG that goes to a model, decoded: rows x columns x RGB."""
    looks = PictureReader().views(source, ImageShape(max_side, 95))
    assert looks.kind is ViewKind.STILL
    [frame] = looks.frames
    with Image.open(io.BytesIO(frame.jpeg)) as image:
        assert (image.format, image.mode, image.size) == (
            "JPEG",
            "RGB",
            (frame.width, frame.height),
        )
        return np.asarray(image)


def differs_by(shown: Pixels, expected: Pixels | NDArray[np.float64]) -> float:
    """On average, of 255; borders of areas, which every JPEG blurs, weigh little."""
    assert shown.shape == expected.shape
    return float(np.abs(shown.astype(float) - expected).mean())


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("JPEG", {"quality": 95}),
        ("JPEG", {"quality": 95, "progressive": True}),
        ("JPEG", {"quality": 95, "subsampling": 0}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"quality": 90}),
        ("AVIF", {"quality": 90, "speed": 10}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "jpeg", "quality": 95}),
        ("BMP", {}),
        ("GIF", {}),
        ("PPM", {}),
        ("QOI", {}),
        ("JPEG2000", {"quality_layers": [4]}),
        ("JPEG2000", {"no_jp2": True}),
        ("MPO", {"quality": 95}),
    ],
)
def test_every_format_is_sent_as_it_looks(form: str, options: dict[str, object]) -> None:
    assert differs_by(sent(saved(Image.fromarray(SCENE), form, **options)), SCENE) < (
        7 if form == "GIF" else 3
    )


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_is_turned_as_its_exif_data_says(orientation: int, form: str) -> None:
    # How a camera stores rows and columns of the scene, for each value of the tag (Exif 2.32, 4.6.4).
    stored = {
        1: SCENE,
        2: SCENE[:, ::-1],
        3: SCENE[::-1, ::-1],
        4: SCENE[::-1],
        5: SCENE.swapaxes(0, 1),
        6: SCENE.swapaxes(0, 1)[::-1],
        7: SCENE.swapaxes(0, 1)[::-1, ::-1],
        8: SCENE.swapaxes(0, 1)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95} if form in {"JPEG", "AVIF"} else {}
    assert differs_by(sent(saved(Image.fromarray(stored), form, exif=exif, **options)), SCENE) < 3


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
def test_an_orientation_that_makes_no_sense_changes_nothing() -> None:
    for told in (0, 9, 77):
        exif = Image.Exif()
        exif[0x0112] = told
        assert differs_by(sent(saved(Image.fromarray(SCENE), "PNG", exif=exif)), SCENE) < 3
    assert (
        differs_by(
            sent(saved(Image.fromarray(SCENE), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")), SCENE
        )
        < 3
    )


@pytest.mark.parametrize(
    ("mode", "form"),
    [("L", "PNG"), ("L", "JPEG"), ("L", "TIFF"), ("LA", "PNG"), ("1", "PNG"), ("1", "TIFF")],
)
def test_greys(mode: str, form: str) -> None:
    stored = Image.fromarray(SCENE).convert(mode)
    assert differs_by(sent(saved(stored, form)), np.asarray(stored.convert("RGB"))) < (
        12 if mode == "1" else 3
    )


def test_16_bits_of_grey_keep_their_shades() -> None:
    shades = np.linspace(0, 65535, 320).astype(np.uint16)[None, :].repeat(200, axis=0)
    expected = (shades / 257)[..., None].repeat(3, axis=-1)
    assert differs_by(sent(saved(Image.fromarray(shades), "PNG")), expected) < 2
    assert differs_by(sent(saved(Image.fromarray(shades), "TIFF")), expected) < 2
    assert differs_by(sent(saved(Image.fromarray(shades.astype(np.int32)), "TIFF")), expected) < 2


def test_greys_of_a_tiff_in_which_white_is_zero() -> None:
    shades = np.linspace(0, 1, 320)[None, :].repeat(200, axis=0)
    for kind in (np.uint8, np.uint16):
        stored = bytearray(
            saved(Image.fromarray((shades * np.iinfo(kind).max).astype(kind)), "TIFF")
        )
        entry = struct.pack("<HHIH", 262, 3, 1, 1)  # black is zero
        stored[stored.index(entry) + 8] = 0
        assert (
            differs_by(sent(bytes(stored)), (255 * (1 - shades))[..., None].repeat(3, axis=-1)) < 2
        )


@pytest.mark.parametrize("form", [".png", ".tiff"])
def test_16_bits_of_rgb(form: str) -> None:
    fine = SCENE[..., ::-1].astype(np.uint16) * 257
    assert differs_by(sent(cv2.imencode(form, fine)[1].tobytes()), SCENE) < 3
    see_through = np.dstack([fine, np.full(SCENE.shape[:2], 65535, np.uint16)])
    assert differs_by(sent(cv2.imencode(form, see_through)[1].tobytes()), SCENE) < 3


@pytest.mark.parametrize("white", [1.0, 255.0, 65535.0])
def test_fractional_greys(white: float) -> None:
    shades = np.linspace(0, white, 320, dtype=np.float32)[None, :].repeat(200, axis=0)
    expected = (shades * (255 / white))[..., None].repeat(3, axis=-1)
    assert differs_by(sent(saved(Image.fromarray(shades), "TIFF")), expected) < 2


def test_values_out_of_every_range_are_stretched() -> None:
    shades = np.linspace(-2e6, 3e6, 320).astype(np.int32)[None, :].repeat(200, axis=0)
    assert (
        differs_by(
            sent(saved(Image.fromarray(shades), "TIFF")),
            np.linspace(0, 255, 320)[None, :, None] * np.ones((200, 1, 3)),
        )
        < 2
    )


def test_a_palette_with_and_without_a_transparent_colour() -> None:
    stored = Image.fromarray(SCENE).quantize(64)
    assert differs_by(sent(saved(stored, "PNG")), np.asarray(stored.convert("RGB"))) < 4
    image = Image.new("P", (64, 64), 1)
    image.putpalette([200, 30, 30, 30, 30, 200])
    image.paste(0, (0, 0, 32, 64))
    for options in ({"transparency": 0}, {"transparency": b"\0\xff"}):
        shown = sent(saved(image, "PNG", **options))
        assert np.allclose(shown[32, 8], GREY, atol=4)
        assert np.allclose(shown[32, 56], (30, 30, 200), atol=12)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunk(png: bytes, kind: bytes, data: bytes) -> bytes:
    """The same PNG with one chunk more behind its header."""
    header_ends = png.index(b"IHDR") + 4 + 13 + 4
    return png[:header_ends] + png_chunk(kind, data) + png[header_ends:]


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_one_transparent_grey_of_few_or_many_bits(bits: int) -> None:
    """White, on the right; the left half is black."""
    row = b"\0" + bytes(8 * bits) + b"\xff" * (8 * bits)
    header = struct.pack(">IIBBBBB", 128, 64, bits, 0, 0, 0, 0)
    parts = (
        (b"IHDR", header),
        (b"tRNS", struct.pack(">H", 2**bits - 1)),
        (b"IDAT", zlib.compress(row * 64)),
        (b"IEND", b""),
    )
    shown = sent(b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, data) for kind, data in parts))
    assert np.allclose(shown[32, 16], (0, 0, 0), atol=4)
    assert np.allclose(shown[32, 112], GREY, atol=4)


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"tEXt"])
def test_a_png_may_hold_megabytes_of_words(kind: bytes) -> None:
    words = b"Corner kick, second half. " * 60_000
    packed = {
        b"zTXt": b"\0" + zlib.compress(words),
        b"iTXt": b"\1\0\0\0" + zlib.compress(words),
        b"tEXt": words,
    }[kind]
    assert (
        differs_by(
            sent(with_chunk(saved(Image.fromarray(SCENE), "PNG"), kind, b"story\0" + packed)), SCENE
        )
        < 3
    )


def test_an_orientation_that_only_xmp_tells_is_left_aside_as_viewers_do() -> None:
    told = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    )
    assert differs_by(sent(saved(Image.fromarray(SCENE), "JPEG", quality=95, xmp=told)), SCENE) < 3


def test_one_transparent_colour_of_rgb_and_of_16_bits() -> None:
    image = Image.new("RGB", (64, 64), (30, 30, 200))
    image.paste((200, 30, 30), (0, 0, 32, 64))
    shown = sent(saved(image, "PNG", transparency=(200, 30, 30)))
    assert np.allclose(shown[32, 8], GREY, atol=4)
    assert np.allclose(shown[32, 56], (30, 30, 200), atol=12)

    fine = np.asarray(image).astype(np.uint16) * 257
    plain = cv2.imencode(".png", fine[..., ::-1])[1].tobytes()
    told = struct.pack(">3H", *(value * 257 for value in (200, 30, 30)))
    assert np.allclose(sent(with_chunk(plain, b"tRNS", told))[32, 8], GREY, atol=4)


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "AVIF"])
def test_what_is_transparent_lies_on_grey(form: str) -> None:
    alpha = np.full(SCENE.shape[:2], 255, np.uint8)
    alpha[:, 100:160], alpha[:, 160:220] = 0, 128
    shown = sent(
        saved(
            Image.fromarray(np.dstack([SCENE, alpha])),
            form,
            **({"lossless": True} if form == "WEBP" else {}),
        )
    )
    weight = alpha[..., None] / 255
    assert differs_by(shown, SCENE * weight + 128 * (1 - weight)) < 3


def test_hidden_colours_do_not_shine_through_when_it_is_made_smaller() -> None:
    alpha = (np.indices((800, 1280)).sum(axis=0) // 3 % 2 * 255).astype(np.uint8)
    stored = np.full((800, 1280, 4), (255, 0, 255, 0), np.uint8)
    stored[alpha > 0] = (128, 128, 128, 255)
    shown = sent(saved(Image.fromarray(stored), "PNG"), max_side=320)
    assert differs_by(shown, np.full((200, 320, 3), 128, np.uint8)) < 3


def test_cmyk_is_shown_as_another_program_shows_it() -> None:
    stored = Image.fromarray(SCENE).convert("CMYK")
    jpeg = saved(stored, "JPEG", quality=95)
    assert b"Adobe" in jpeg  # which means that its inks are inverted
    other = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert differs_by(sent(jpeg), other) < 3
    assert differs_by(sent(jpeg), SCENE) < 3
    assert differs_by(sent(saved(stored, "TIFF")), SCENE) < 3


def test_the_colours_of_a_profile_are_what_it_says() -> None:
    stored = Image.fromarray(np.ascontiguousarray(SCENE[..., (1, 0, 2)]))
    profile = swapped_profile()
    for form, options in (
        ("PNG", {}),
        ("JPEG", {"quality": 95}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("AVIF", {"quality": 90}),
    ):
        assert differs_by(sent(saved(stored, form, icc_profile=profile, **options)), SCENE) < 4
    opaque = stored.convert("RGBA")
    assert differs_by(sent(saved(opaque, "PNG", icc_profile=profile)), SCENE) < 4


def test_a_profile_of_grey() -> None:
    light = np.linspace(0, 1, 320)[None, :].repeat(200, axis=0)
    encoded = np.where(
        light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055
    )
    stored = Image.fromarray(np.rint(light * 255).astype(np.uint8))
    expected = (encoded * 255)[..., None].repeat(3, axis=-1)
    profile = linear_grey_profile()
    assert differs_by(sent(saved(stored, "PNG", icc_profile=profile)), expected) < 3
    assert differs_by(sent(saved(stored.convert("LA"), "PNG", icc_profile=profile)), expected) < 3


def test_a_profile_of_cmyk() -> None:
    inks = Image.new("CMYK", (90, 64))
    inks.paste((255, 0, 0, 0), (30, 0, 60, 64))
    inks.paste((0, 0, 0, 255), (60, 0, 90, 64))
    shown = sent(saved(inks, "JPEG", quality=95, icc_profile=odd_ink_profile())).astype(int)
    paper, cyan, black = shown[32, 15], shown[32, 45], shown[32, 75]
    assert paper.min() > 245
    assert cyan[0] > cyan[1] + 60
    assert black.max() < 12


@pytest.mark.parametrize(
    "profile", [b"no profile", swapped_profile()[:200], linear_grey_profile(), odd_ink_profile()]
)
def test_a_profile_that_is_damaged_or_for_other_colours_is_ignored(profile: bytes) -> None:
    assert (
        differs_by(
            sent(saved(Image.fromarray(SCENE), "JPEG", quality=95, icc_profile=profile)), SCENE
        )
        < 3
    )


def test_a_png_that_tells_its_gamma() -> None:
    told = PngImagePlugin.PngInfo()
    told.add(b"gAMA", struct.pack(">I", 100_000))
    stored = Image.fromarray(np.rint(255 * (SCENE / 255) ** 2.2).astype(np.uint8))
    assert differs_by(sent(saved(stored, "PNG", pnginfo=told)), SCENE) < 4
    usual = PngImagePlugin.PngInfo()
    usual.add(b"gAMA", struct.pack(">I", 45_455))
    assert differs_by(sent(saved(Image.fromarray(SCENE), "PNG", pnginfo=usual)), SCENE) < 3


def test_lab() -> None:
    stored = Image.new("LAB", (64, 64), (136, 128 + 48, 128 + 40))
    expected = (
        cv2.cvtColor(np.array([[[136 / 2.55, 48, 40]]], np.float32), cv2.COLOR_LAB2RGB)[0, 0] * 255
    )
    assert np.allclose(sent(saved(stored, "TIFF"))[32, 32], expected, atol=8)


@pytest.mark.parametrize("size", [(3001, 1999), (1601, 1003), (1025, 640)])
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_large_pictures_look_the_same_when_they_are_decoded_smaller(
    size: tuple[int, int], form: str
) -> None:
    large = scene(*size)
    shown = sent(saved(Image.fromarray(large), form), max_side=400)
    expected = cv2.resize(large, shown.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert abs(shown.shape[1] / shown.shape[0] - size[0] / size[1]) < 0.01
    assert differs_by(shown, expected) < 3


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "I;16", "CMYK"])
def test_in_bands_it_is_the_same_as_at_once(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    large = Image.fromarray(scene(1203, 701))
    if mode == "I;16":
        stored = Image.fromarray(np.asarray(large.convert("L")).astype(np.uint16) * 257)
    else:
        stored = large.quantize(200) if mode == "P" else large.convert(mode)
    data = saved(stored, "TIFF")
    at_once = sent(data, max_side=200)
    monkeypatch.setattr(still, "_BAND_PIXELS", 20_000)
    assert np.array_equal(sent(data, max_side=200), at_once)


def test_small_pictures_and_strips() -> None:
    for size in ((1, 1), (3, 2), (63, 64), (1, 5000), (5000, 1), (20_000, 100)):
        shown = sent(saved(Image.new("RGB", size, (200, 30, 30)), "PNG"))
        assert min(shown.shape[:2]) >= 64
        if max(size) <= 64:
            assert np.allclose(
                shown[shown.shape[0] // 2, shown.shape[1] // 2], (200, 30, 30), atol=6
            )


def test_by_path_by_bytes_and_whatever_its_name(tmp_path: Path) -> None:
    data = saved(Image.fromarray(SCENE), "PNG")
    path = tmp_path / "Corner kick – Überblick.jpg"
    path.write_bytes(data)
    assert np.array_equal(sent(path), sent(data))
    assert np.array_equal(sent(str(path)), sent(data))


def test_only_the_first_page_of_a_document_is_shown() -> None:
    pages = [Image.fromarray(SCENE), Image.new("RGB", (320, 200))]
    assert (
        differs_by(sent(saved(pages[0], "TIFF", save_all=True, append_images=pages[1:])), SCENE) < 3
    )


def claiming(form: str, width: int, height: int) -> bytes:
    """The header of a picture of that size, and little else."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    if form == "PNG":
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        return (
            b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", header)
            + chunk(b"IDAT", zlib.compress(bytes(9999)))
            + chunk(b"IEND", b"")
        )
    small = bytearray(
        saved(Image.new("RGB", (320, 200)), form, **({"lossless": True} if form == "WEBP" else {}))
    )
    if form == "JPEG":
        at = small.index(b"\xff\xc0")
        struct.pack_into(">HH", small, at + 5, height, width)
    elif form == "GIF":
        struct.pack_into("<HH", small, 6, width, height)
    elif form == "BMP":
        struct.pack_into("<ii", small, 18, width, height)
    elif form == "WEBP":
        struct.pack_into("<I", small, 21, (width - 1) | (height - 1) << 14)
    elif form == "PPM":
        return f"P6\n{width} {height}\n255\n".encode() + bytes(1000)
    elif form == "TIFF":
        for tag, value in ((256, width), (257, height)):
            at = (
                small.index(struct.pack("<HHI", tag, 4, 1))
                if struct.pack("<HHI", tag, 4, 1) in small
                else small.index(struct.pack("<HHI", tag, 3, 1))
            )
            struct.pack_into("<HHII", small, at, tag, 4, 1, value)
    return bytes(small)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("form", "width", "height", "limit"),
    [
        ("PNG", 50_000, 50_000, 178),
        ("JPEG", 50_000, 50_000, 500),
        ("JPEG", 22_400, 22_400, 500),
        ("GIF", 50_000, 50_000, 89),
        ("BMP", 50_000, 50_000, 178),
        ("WEBP", 16_383, 16_383, 67),
        ("PPM", 50_000, 50_000, 178),
        ("TIFF", 50_000, 50_000, None),
        ("TIFF", 12_000, 12_000, 89),
    ],
)
def test_a_header_that_claims_too_many_pixels(
    form: str, width: int, height: int, limit: int | None
) -> None:
    says = "too many pixels" + (
        f": {width} x {height}, and the limit for .* is {limit} million; make it smaller"
        if limit
        else ""
    )
    with pytest.raises(MediaUnreadableError, match=says):
        sent(claiming(form, width, height))


def test_a_jpeg_that_is_held_in_memory_as_a_whole_has_the_limit_of_others() -> None:
    whole = claiming("JPEG", 20_000, 20_000)
    start = whole.index(b"\xff\xda")
    length = int.from_bytes(whole[start + 2 : start + 4], "big")
    one_channel = b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, 1, 0, 0, 63, 0)
    in_scans = whole[:start] + one_channel + whole[start + 2 + length :]
    progressive = bytearray(saved(Image.new("RGB", (320, 200)), "JPEG", progressive=True))
    struct.pack_into(">HH", progressive, progressive.index(b"\xff\xc2") + 5, 20_000, 20_000)
    for content in (in_scans, bytes(progressive)):
        with pytest.raises(
            MediaUnreadableError, match="20000 x 20000, and the limit for JPEG is 178 million"
        ):
            sent(content)
    assert sent(whole).shape == (1024, 1024, 3)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"Free throw, second half", "not a picture of a known format"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIF.*convert it to JPEG"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIF"),
        (b"8BPS\0\1", "Photoshop.*convert it"),
        (b"\xff\x0a\x00", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"  <svg xmlns=", "SVG"),
        (b"%PDF-1.7", "PDF"),
        (b"<!DOCTYPE HTML><title>404", "web page"),
        (b"PK\x03\x04", "a zip, and no picture"),
        (b"Rar!\x1a\x07", "RAR"),
        (saved(Image.fromarray(SCENE), "JPEG")[:600], "damaged"),
        (saved(Image.fromarray(SCENE), "PNG")[:1200], "damaged"),
    ],
)
def test_what_is_not_read_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(MediaUnreadableError, match=says):
        sent(content)
    path = tmp_path / "foul.jpg"
    path.write_bytes(content)
    with pytest.raises(MediaUnreadableError, match=rf"foul\.jpg: .*{says}"):
        sent(path)


def test_a_missing_picture_a_folder_and_an_impossible_name(tmp_path: Path) -> None:
    with pytest.raises(MediaNotFoundError, match="goal.png: no such file"):
        sent(tmp_path / "goal.png")
    with pytest.raises(MediaUnreadableError, match=f"{tmp_path.name}: is not a file"):
        sent(tmp_path)
    with pytest.raises(MediaNotFoundError, match="no file can have that name"):
        sent("goal\0.png")
