"""A still, opened as a viewer would show it."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from vlm_engine.errors import MediaUnreadableError
from vlm_engine.picture import over_grey
from vlm_engine.pictures.source import Source, name_of, opened
from vlm_engine.pictures.zips import Zips

# What Pillow raises for damaged files depends on the format's plugin.
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, IndexError, KeyError, OverflowError)


def open_picture(source: Source, zips: Zips) -> Image.Image:
    """The picture as a viewer shows it, as RGB: turned as its EXIF data says, on neutral grey where it is
    transparent, the first frame where it moves.

    Raises ``MediaNotFoundError``, and ``MediaUnreadableError`` for what is no picture, is damaged, or has more
    pixels than Pillow's limit against decompression bombs (179 million).
    """
    name = name_of(source)
    with opened(source, zips) as content:
        try:
            with Image.open(content) as image:
                return over_grey(_eight_bit(ImageOps.exif_transpose(image)))
        except UnidentifiedImageError:
            raise MediaUnreadableError(f"{name}: not a picture of a known format") from None
        except Image.DecompressionBombError as error:
            raise MediaUnreadableError(f"{name}: too many pixels: {error}") from error
        except _UNREADABLE as error:
            raise MediaUnreadableError(f"{name}: damaged picture: {error}") from error


def _eight_bit(image: Image.Image) -> Image.Image:
    """16-bit greys by their upper byte: Pillow itself would turn all but the darkest into white."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray(np.clip(np.asarray(image) // 256, 0, 255).astype(np.uint8))
