"""A still is sent as a person sees it, compared pixel by pixel."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from sandbox.stills import linear_grey_profile, odd_ink_profile, saved, scene, swapped_profile
from tests.pictures.bad_files import claiming
from tests.pictures.stored import (
    SCENE,
    differs_by,
    exif_of,
    file_of,
    in_rgb,
    looks_like,
    png_chunk,
    png_of,
    sent,
    with_chunk,
)
from vlm_engine.errors import MediaNotFoundError, MediaUnreadableError

GREY, RED, BLUE = (128, 128, 128), (200, 30, 30), (30, 30, 200)
RAMP = np.linspace(0, 1, 320)[None, :].repeat(200, axis=0)
JPEG_95 = {"quality": 95}


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("JPEG", JPEG_95),
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
        ("MPO", JPEG_95),
        *((form, {"mode": "L"}) for form in ("PNG", "JPEG", "TIFF")),
        ("PNG", {"mode": "LA"}),
        *((form, {"mode": "1"}) for form in ("PNG", "TIFF")),
    ],
)
def test_every_format_is_sent_as_it_looks(form, options):
    mode = options.get("mode", "RGB")
    expected = np.asarray(Image.fromarray(SCENE).convert(mode).convert("RGB"))
    within = 12 if mode == "1" else 7 if form == "GIF" else 3
    assert looks_like(file_of(SCENE, form, **options), expected, within)


@pytest.mark.parametrize("form", ["JPEG", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_is_turned_as_its_exif_data_says(orientation, form):
    # How a camera stores the scene, for each value of the tag (Exif 2.32, 4.6.4).
    turned = SCENE.swapaxes(0, 1)
    stored = [
        *(SCENE, SCENE[:, ::-1], SCENE[::-1, ::-1], SCENE[::-1]),
        *(turned, turned[::-1], turned[::-1, ::-1], turned[:, ::-1]),
    ][orientation - 1]
    assert looks_like(file_of(stored, form, exif=exif_of(orientation), **JPEG_95))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
@pytest.mark.parametrize(
    "exif", [exif_of(0), exif_of(9), exif_of(77), b"Exif\0\0II*\0\xff\xff\xff\xff"]
)
def test_an_orientation_that_makes_no_sense_changes_nothing(exif):
    assert looks_like(file_of(SCENE, exif=exif))


def test_an_orientation_in_xmp_or_png_text_is_ignored():
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    assert looks_like(file_of(SCENE, "JPEG", quality=95, xmp=xmp))
    words = (b"Exif\0\0" + exif_of(6).tobytes().removeprefix(b"Exif\0\0")).hex()
    lines = "\n".join(words[start : start + 72] for start in range(0, len(words), 72))
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(words) // 2:8}\n{lines}\n", zip=True)
    assert looks_like(file_of(SCENE, pnginfo=info))


@pytest.mark.parametrize(
    ("kind", "white", "form"),
    [
        (np.uint16, 65535, "PNG"),
        (np.uint16, 65535, "TIFF"),
        (np.int32, 65535, "TIFF"),
        (np.float32, 1, "TIFF"),
        (np.float32, 255, "TIFF"),
        (np.float32, 65535, "TIFF"),
    ],
)
def test_greys_of_more_than_8_bits_keep_their_shades(kind, white, form):
    content = file_of((RAMP * white).astype(kind), form)
    assert looks_like(content, in_rgb(255 * RAMP), within=2)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_greys_of_a_tiff_in_which_white_is_zero(kind):
    stored = bytearray(file_of((RAMP * np.iinfo(kind).max).astype(kind), "TIFF"))
    entry = struct.pack("<HHIH", 262, 3, 1, 1)  # black is zero
    stored[stored.index(entry) + 8] = 0
    assert looks_like(bytes(stored), in_rgb(255 * (1 - RAMP)), within=2)


def test_values_out_of_every_range_are_stretched():
    content = file_of((RAMP * 5e6 - 2e6).astype(np.int32), "TIFF")
    assert looks_like(content, in_rgb(255 * RAMP), within=2)


@pytest.mark.parametrize("form", [".png", ".tiff"])
def test_16_bits_of_rgb(form):
    fine = SCENE[..., ::-1].astype(np.uint16) * 257
    opaque = np.full(SCENE.shape[:2], 65535, np.uint16)
    for stored in (fine, np.dstack([fine, opaque])):
        assert looks_like(cv2.imencode(form, stored)[1].tobytes())


def is_grey_left_of_blue(content: bytes) -> bool:
    pixels = sent(content)
    return np.allclose(pixels[32, 8], GREY, atol=4) and np.allclose(pixels[32, 56], BLUE, atol=12)


def test_a_palette_with_and_without_a_transparent_colour():
    stored = Image.fromarray(SCENE).quantize(64)
    assert looks_like(saved(stored, "PNG"), np.asarray(stored.convert("RGB")), within=4)
    image = Image.new("P", (64, 64), 1)
    image.putpalette([*RED, *BLUE])
    image.paste(0, (0, 0, 32, 64))
    for transparency in (0, b"\0\xff"):
        assert is_grey_left_of_blue(saved(image, "PNG", transparency=transparency))


def test_one_transparent_colour_of_rgb_and_of_16_bits():
    image = Image.new("RGB", (64, 64), BLUE)
    image.paste(RED, (0, 0, 32, 64))
    assert is_grey_left_of_blue(saved(image, "PNG", transparency=RED))
    fine = np.asarray(image).astype(np.uint16) * 257
    plain = cv2.imencode(".png", fine[..., ::-1])[1].tobytes()
    colour = struct.pack(">3H", *(value * 257 for value in RED))
    assert is_grey_left_of_blue(with_chunk(plain, b"tRNS", colour))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_one_transparent_grey_of_few_or_many_bits(bits):
    """White, on the right; the left half is black."""
    rows = 64 * (b"\0" + bytes(8 * bits) + b"\xff" * (8 * bits))
    white = png_chunk(b"tRNS", struct.pack(">H", 2**bits - 1))
    pixels = sent(png_of(128, 64, zlib.compress(rows), white, bits=bits, colour=0))
    assert np.allclose(pixels[32, 16], (0, 0, 0), atol=4)
    assert np.allclose(pixels[32, 112], GREY, atol=4)


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "AVIF"])
def test_what_is_transparent_lies_on_grey(form):
    alpha = np.full(SCENE.shape[:2], 255, np.uint8)
    alpha[:, 100:160], alpha[:, 160:220] = 0, 128
    options = {"lossless": True} if form == "WEBP" else {}
    weight = alpha[..., None] / 255
    content = file_of(np.dstack([SCENE, alpha]), form, **options)
    assert looks_like(content, SCENE * weight + 128 * (1 - weight))


def test_hidden_colours_stay_hidden_in_a_smaller_picture():
    alpha = (np.indices((800, 1280)).sum(axis=0) // 3 % 2 * 255).astype(np.uint8)
    stored = np.full((800, 1280, 4), (255, 0, 255, 0), np.uint8)
    stored[alpha > 0] = (*GREY, 255)
    pixels = sent(file_of(stored), max_side=320)
    assert differs_by(pixels, np.full((200, 320, 3), 128, np.uint8)) < 3


def test_a_png_may_hold_megabytes_of_words():
    words = b"Corner kick, second half. " * 60_000
    assert looks_like(with_chunk(file_of(SCENE), b"zTXt", b"story\0\0" + zlib.compress(words)))


def test_cmyk_is_shown_as_another_program_shows_it():
    jpeg = file_of(SCENE, "JPEG", "CMYK", quality=95)
    assert b"Adobe" in jpeg  # which means that its inks are inverted
    other = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert looks_like(jpeg, other)
    assert looks_like(jpeg)
    assert looks_like(file_of(SCENE, "TIFF", "CMYK"))


@pytest.mark.parametrize(
    ("form", "mode", "options"),
    [
        ("PNG", "", {}),
        ("PNG", "RGBA", {}),
        ("JPEG", "", JPEG_95),
        ("WEBP", "", {"lossless": True}),
        ("TIFF", "", {}),
        ("AVIF", "", {"quality": 90}),
    ],
)
def test_the_colours_of_a_profile_are_what_it_says(form, mode, options):
    stored = SCENE[..., (1, 0, 2)]
    content = file_of(stored, form, mode, icc_profile=swapped_profile(), **options)
    assert looks_like(content, within=4)


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_a_profile_of_grey(mode):
    bent = 1.055 * np.maximum(RAMP, 1e-9) ** (1 / 2.4) - 0.055
    encoded = np.where(RAMP <= 0.0031308, 12.92 * RAMP, bent)
    light = np.rint(RAMP * 255).astype(np.uint8)
    content = file_of(light, "PNG", mode, icc_profile=linear_grey_profile())
    assert looks_like(content, in_rgb(encoded * 255))


def test_a_profile_of_cmyk():
    inks = Image.new("CMYK", (90, 64))
    inks.paste((255, 0, 0, 0), (30, 0, 60, 64))
    inks.paste((0, 0, 0, 255), (60, 0, 90, 64))
    pixels = sent(saved(inks, "JPEG", quality=95, icc_profile=odd_ink_profile())).astype(int)
    paper, cyan, black = pixels[32, 15], pixels[32, 45], pixels[32, 75]
    assert paper.min() > 245
    assert cyan[0] > cyan[1] + 60
    assert black.max() < 12


@pytest.mark.parametrize(
    "profile", [b"no profile", swapped_profile()[:200], linear_grey_profile(), odd_ink_profile()]
)
def test_a_profile_that_is_damaged_or_does_not_fit_is_ignored(profile):
    assert looks_like(file_of(SCENE, "JPEG", quality=95, icc_profile=profile))


@pytest.mark.parametrize(("gamma", "exponent"), [(100_000, 2.2), (45_455, 1)])
def test_a_png_that_tells_its_gamma(gamma, exponent):
    stored = np.rint(255 * (SCENE / 255) ** exponent).astype(np.uint8)
    content = with_chunk(file_of(stored), b"gAMA", struct.pack(">I", gamma))
    assert looks_like(content, within=4)


def test_lab():
    stored = Image.new("LAB", (64, 64), (136, 128 + 48, 128 + 40))
    lab = np.array([[[136 / 2.55, 48, 40]]], np.float32)
    expected = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)[0, 0] * 255
    assert np.allclose(sent(saved(stored, "TIFF"))[32, 32], expected, atol=8)


@pytest.mark.parametrize("size", [(3001, 1999), (1025, 640)])
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_large_pictures_look_the_same_decoded_smaller(size, form):
    large = scene(*size)
    pixels = sent(file_of(large, form), max_side=400)
    expected = cv2.resize(large, pixels.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert abs(pixels.shape[1] / pixels.shape[0] - size[0] / size[1]) < 0.01
    assert differs_by(pixels, expected) < 3


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (63, 64), (1, 5000), (5000, 1), (20_000, 100)])
def test_small_pictures_and_strips(size):
    pixels = sent(saved(Image.new("RGB", size, RED), "PNG"))
    height, width = pixels.shape[:2]
    assert min(height, width) >= 64
    assert max(size) > 64 or np.allclose(pixels[height // 2, width // 2], RED, atol=6)


def test_a_source_is_a_path_or_bytes_whatever_its_name(tmp_path):
    path = tmp_path / "Corner kick – Überblick.jpg"
    path.write_bytes(file_of(SCENE))
    assert looks_like(path)
    assert looks_like(str(path))


def test_of_a_document_only_the_first_page_is_shown():
    assert looks_like(
        file_of(SCENE, "TIFF", save_all=True, append_images=[Image.new("RGB", (320, 200))])
    )


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("form", "width", "height", "limit"),
    [
        ("PNG", 50_000, 50_000, 178),
        ("JPEG", 22_400, 22_400, 500),
        ("GIF", 50_000, 50_000, 89),
        ("BMP", 50_000, 50_000, 178),
        ("WEBP", 16_383, 16_383, 67),
        ("PPM", 50_000, 50_000, 178),
        ("TIFF", 12_000, 12_000, 89),
    ],
)
def test_a_header_that_claims_too_many_pixels(form, width, height, limit):
    size = f"{width} x {height}"
    reason = f"too many pixels: {size}, and the limit for .* is {limit} million; make it smaller"
    with pytest.raises(MediaUnreadableError, match=reason):
        sent(claiming(form, width, height))


def test_a_jpeg_in_memory_as_a_whole_has_the_limit_of_others():
    whole = claiming("JPEG", 20_000, 20_000)
    start = whole.index(b"\xff\xda")
    length = int.from_bytes(whole[start + 2 : start + 4], "big")
    one_channel = b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, 1, 0, 0, 63, 0)
    in_scans = whole[:start] + one_channel + whole[start + 2 + length :]
    progressive = bytearray(saved(Image.new("RGB", (320, 200)), "JPEG", progressive=True))
    struct.pack_into(">HH", progressive, progressive.index(b"\xff\xc2") + 5, 20_000, 20_000)
    reason = "20000 x 20000, and the limit for JPEG is 178 million"
    for content in (in_scans, bytes(progressive)):
        with pytest.raises(MediaUnreadableError, match=reason):
            sent(content)
    assert sent(whole).shape == (1024, 1024, 3)


@pytest.mark.parametrize(
    ("content", "reason"),
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
        (file_of(SCENE, "JPEG")[:600], "damaged"),
        (file_of(SCENE)[:1200], "damaged"),
    ],
)
def test_what_is_not_read_is_named(tmp_path, content, reason):
    path = tmp_path / "foul.jpg"
    path.write_bytes(content)
    with pytest.raises(MediaUnreadableError, match=rf"foul\.jpg: .*{reason}"):
        sent(path)


def test_a_missing_picture_a_folder_and_an_impossible_name(tmp_path):
    with pytest.raises(MediaNotFoundError, match="goal.png: no such file"):
        sent(tmp_path / "goal.png")
    with pytest.raises(MediaUnreadableError, match=f"{tmp_path.name}: is not a file"):
        sent(tmp_path)
    with pytest.raises(MediaNotFoundError, match="no file can have that name"):
        sent("goal\0.png")
