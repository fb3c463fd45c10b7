"""Pictures in and out: a still opened as a viewer would show it, and the JPEG that goes to a model."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from vlm_engine.errors import MediaNotFoundError, MediaUnreadableError
from vlm_engine.types import ImageShape

__all__ = ["encode", "fitted_size", "open_picture", "over_grey", "read_file"]

MIN_SIDE = 64  # models with 28-pixel patches refuse pictures that are only a patch or two high
_GREY = (128, 128, 128)

# What Pillow raises for damaged files depends on the format's plugin.
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, IndexError, KeyError, OverflowError)


def open_picture(source: str | Path | bytes, name: str = "picture in memory") -> Image.Image:
    """The picture as a viewer shows it, as RGB: turned as its EXIF data says, on neutral grey where it is
    transparent, the first frame where it moves. ``source``: a path, or the content of a file, which messages call ``name``.

    Raises ``MediaNotFoundError``, and ``MediaUnreadableError`` for what is no picture, is damaged, or has more
    pixels than Pillow's limit against decompression bombs (179 million).
    """
    name = name if isinstance(source, bytes) else str(source)
    content = source if isinstance(source, bytes) else read_file(source)
    if not content:
        raise MediaUnreadableError(f"{name}: the file is empty")
    try:
        with Image.open(BytesIO(content)) as image:
            return over_grey(_eight_bit(ImageOps.exif_transpose(image)))
    except UnidentifiedImageError:
        raise MediaUnreadableError(f"{name}: not a picture of a known format") from None
    except Image.DecompressionBombError as error:
        raise MediaUnreadableError(f"{name}: too many pixels: {error}") from error
    except _UNREADABLE as error:
        raise MediaUnreadableError(f"{name}: damaged picture: {error}") from error


def read_file(path: str | Path) -> bytes:
    """The content of a file. Raises ``MediaNotFoundError`` and ``MediaUnreadableError``."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise MediaNotFoundError(f"{path}: no such file") from None
    except OSError as error:
        raise MediaUnreadableError(f"{path}: {error.strerror or error}") from error


def _eight_bit(image: Image.Image) -> Image.Image:
    """16-bit greys by their upper byte: Pillow itself would turn all but the darkest into white."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray(np.clip(np.asarray(image) // 256, 0, 255).astype(np.uint8))


def over_grey(image: Image.Image) -> Image.Image:
    """``image`` as RGB, laid on neutral grey where it is transparent."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    ground = Image.new("RGB", image.size, _GREY)
    ground.paste(layer, mask=layer.getchannel("A"))
    return ground


def fitted_size(width: int, height: int, shape: ImageShape) -> tuple[int, int]:
    """The size, in the same proportions, at which a picture is sent.

    The longest side is at most ``shape.max_side``. Nothing is enlarged but what has a side under 64
    pixels, and that only until the shorter side reaches 64 or the longer one ``max_side``.
    """
    longest, shortest = max(width, height), min(width, height)
    fits = shape.max_side / longest
    scale = min(fits, max(1.0, MIN_SIDE / shortest))
    return max(1, round(width * scale)), max(1, round(height * scale))


def encode(image: Image.Image, shape: ImageShape) -> tuple[bytes, int, int]:
    """``image`` as a JPEG of ``fitted_size``, with its width and height in pixels.

    A strip so long that one side would still be under 64 pixels gets grey bars along it.
    """
    size = fitted_size(image.width, image.height, shape)
    scaled = over_grey(image)
    if size != scaled.size:
        scaled = scaled.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    if min(size) < MIN_SIDE:
        scaled = _with_bars(scaled)
    written = BytesIO()
    scaled.save(written, "JPEG", quality=shape.quality)
    return written.getvalue(), scaled.width, scaled.height


def _with_bars(image: Image.Image) -> Image.Image:
    room = Image.new("RGB", (max(MIN_SIDE, image.width), max(MIN_SIDE, image.height)), _GREY)
    room.paste(image, ((room.width - image.width) // 2, (room.height - image.height) // 2))
    return room
