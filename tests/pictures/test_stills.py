from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vlm_engine import pictures
from vlm_engine.errors import MediaNotFoundError, MediaUnreadableError
from vlm_engine.pictures import Source, Zips

RED, BLUE = (200, 30, 30), (30, 30, 200)


def open_picture(source: Source) -> Image.Image:
    return pictures.open_picture(source, Zips())


def two_colours(width: int = 200, height: int = 100) -> Image.Image:
    image = Image.new("RGB", (width, height), RED)
    image.paste(BLUE, (width // 2, 0, width, height))
    return image


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    written = io.BytesIO()
    image.save(written, form, **options)
    return written.getvalue()


def colour(image: Image.Image, x: float, y: float) -> tuple[int, ...]:
    pixel = image.getpixel((int(x * image.width), int(y * image.height)))
    assert isinstance(pixel, tuple)
    return pixel


def about(expected: tuple[int, ...], tolerance: int = 12) -> object:
    return pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_as_its_exif_data_says(orientation: int) -> None:
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = two_colours() if undo is None else two_colours().transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    shown = open_picture(saved(stored, "JPEG", exif=exif, quality=95))
    assert shown.size == (200, 100)
    assert colour(shown, 0.2, 0.5) == about(RED)
    assert colour(shown, 0.8, 0.5) == about(BLUE)


def test_transparent_parts_are_grey_and_half_transparent_ones_mixed() -> None:
    image = Image.new("RGBA", (90, 30), (*RED, 255))
    image.paste((*RED, 0), (30, 0, 60, 30))
    image.paste((255, 255, 255, 128), (60, 0, 90, 30))
    shown = open_picture(saved(image, "PNG"))
    assert shown.mode == "RGB"
    assert [colour(shown, x, 0.5) for x in (0.1, 0.5, 0.9)] == [RED, (128, 128, 128), (192, 192, 192)]


def test_a_palette_with_a_transparent_colour() -> None:
    image = Image.new("P", (64, 64), 1)
    image.putpalette([*RED, *BLUE])
    image.paste(0, (0, 0, 32, 64))
    shown = open_picture(saved(image, "PNG", transparency=0))
    assert (colour(shown, 0.2, 0.5), colour(shown, 0.8, 0.5)) == ((128, 128, 128), BLUE)


@pytest.mark.parametrize(("mode", "form"), [("L", "PNG"), ("1", "PNG"), ("CMYK", "JPEG"), ("LA", "PNG"), ("RGB", "WEBP")])
def test_every_mode_becomes_rgb(mode: str, form: str) -> None:
    assert open_picture(saved(two_colours().convert(mode), form)).mode == "RGB"


def test_a_16_bit_picture_keeps_its_shades() -> None:
    shades = np.linspace(0, 65535, 256).astype(np.uint16)[None, :].repeat(64, axis=0)
    shown = open_picture(saved(Image.fromarray(shades), "PNG"))
    assert [colour(shown, x, 0.5)[0] for x in (0.0, 0.5, 0.999)] == [0, 128, 255]


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_shown(form: str) -> None:
    frames = [Image.new("RGB", (64, 64), each) for each in (RED, BLUE)]
    data = saved(frames[0], form, save_all=True, append_images=frames[1:], duration=100)
    assert colour(open_picture(data), 0.5, 0.5) == about(RED)


def test_a_picture_is_opened_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "Corner kick – Überblick.png"
    path.write_bytes(saved(two_colours(), "PNG"))
    assert open_picture(path).size == open_picture(str(path)).size == (200, 100)


def bomb() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"Free throw, second half", "not a picture"),
        (saved(two_colours(), "JPEG")[:600], "damaged"),
        (saved(two_colours(), "PNG")[:120], "damaged"),
        (bomb(), "too many"),
    ],
)
def test_what_is_no_picture_is_refused_by_name(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "foul.jpg"
    path.write_bytes(content)
    with pytest.raises(MediaUnreadableError, match=rf"foul\.jpg.*{says}"):
        open_picture(path)
    with pytest.raises(MediaUnreadableError, match=says):
        open_picture(content)


def test_a_missing_picture_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(MediaNotFoundError, match="goal.png"):
        open_picture(tmp_path / "goal.png")
    with pytest.raises(MediaUnreadableError, match=tmp_path.name):
        open_picture(tmp_path)
