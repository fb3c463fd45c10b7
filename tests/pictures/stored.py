"""Files put together by hand, and the pixels that are sent of a picture file."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sandbox.stills import Pixels, saved, scene
from vlm_engine.pictures import PictureReader, Source, ViewKind
from vlm_engine.types import Frame, ImageShape

SCENE = scene()
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def pixels_of(frame: Frame) -> Pixels:
    """The JPEG that goes to a model, decoded: rows x columns x RGB."""
    with Image.open(io.BytesIO(frame.jpeg)) as image:
        assert (image.format, image.mode) == ("JPEG", "RGB")
        assert image.size == (frame.width, frame.height)
        return np.asarray(image)


def sent(source: Source, max_side: int = 1024) -> Pixels:
    """Pixels that are sent of a still."""
    views = PictureReader().views(source, ImageShape(max_side, 95))
    assert views.kind is ViewKind.STILL
    (frame,) = views.frames
    return pixels_of(frame)


def differs_by(pixels: Pixels, expected: Pixels | NDArray[np.float64]) -> float:
    """On average, of 255; borders of areas, which every JPEG blurs, weigh little."""
    assert pixels.shape == expected.shape
    return float(np.abs(pixels.astype(float) - expected).mean())


def looks_like(
    source: Source, expected: Pixels | NDArray[np.float64] = SCENE, within: float = 3
) -> bool:
    """Return whether the pixels that are sent of a still are those expected."""
    return differs_by(sent(source), expected) < within


def file_of(pixels: NDArray[Any], form: str = "PNG", mode: str = "", **options: Any) -> bytes:
    """``pixels`` as a file, converted to ``mode`` before."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return saved(image.convert(mode) if mode else image, form, **options)


def in_rgb(grey: NDArray[Any]) -> NDArray[Any]:
    """Greys as RGB."""
    return grey[..., None].repeat(3, axis=-1)


def exif_of(orientation: int) -> Image.Exif:
    """EXIF data with this orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunk(png: bytes, kind: bytes, data: bytes) -> bytes:
    """The same PNG with one chunk more behind its header."""
    header_ends = png.index(b"IHDR") + 4 + 13 + 4
    return png[:header_ends] + png_chunk(kind, data) + png[header_ends:]


def png_of(
    width: int, height: int, data: bytes, *chunks: bytes, bits: int = 8, colour: int = 2
) -> bytes:
    """A PNG that says it has this size; ``data`` is compressed."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = png_chunk(b"IHDR", header), *chunks, png_chunk(b"IDAT", data), png_chunk(b"IEND", b"")
    return PNG_MAGIC + b"".join(parts)
