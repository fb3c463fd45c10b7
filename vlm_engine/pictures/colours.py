"""Convert the colours of a file to the 8-bit sRGB that a viewer shows."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping
from functools import lru_cache
from io import BytesIO
from typing import IO, Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from vlm_engine.pictures.formats import AVIF, PNG, Format, NotReadError, VideoInsideError
from vlm_engine.pictures.heif_boxes import nclx_of, profile_of, read_items
from vlm_engine.tone_mapping import CICP, is_srgb, to_srgb

_DIRECT = frozenset({"L", "RGB", "RGBA", "CMYK", "LAB"})
_SPACES = {"L": "GRAY", "RGB": "RGB ", "CMYK": "CMYK", "LAB": "Lab "}
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0  # of a TIFF
_SRGB_GAMMA = 1 / 2.2
_INVISIBLE = 2  # of 255; a profile that changes no colour by more is taken for sRGB
_MAX_CHUNKS = 10_000
_RGB_MATRIX = 0

Colours: TypeAlias = tuple[int, int]
"""Primaries and transfer, as ITU-T H.273 numbers them."""


def declared_colours(form: Format, file: IO[bytes]) -> Colours | None:
    """Return the colours that a file declares by numbers, where Pillow does not tell them.

    In a PNG they override a colour profile; in an AVIF they count only without one.
    """
    readers = {PNG: _png_colours, AVIF: _avif_colours}
    if form not in readers:
        return None
    position = file.tell()
    try:
        return readers[form](file)
    except (ValueError, struct.error, NotReadError, VideoInsideError):
        return None  # decoding will tell what is wrong with it
    finally:
        file.seek(position)


def _png_colours(file: IO[bytes]) -> Colours | None:
    """Read the chunk ``cICP``, which comes before the pixels."""
    file.seek(8)
    for _ in range(_MAX_CHUNKS):
        length, kind = struct.unpack(">I4s", file.read(8))
        if kind == b"cICP" and length == 4:
            primaries, transfer, matrix, _ = file.read(4)
            return (primaries, transfer) if matrix == _RGB_MATRIX else None
        if kind in {b"IDAT", b"IEND"}:
            return None
        file.seek(length + 4, os.SEEK_CUR)
    return None


def _avif_colours(file: IO[bytes]) -> Colours | None:
    items = read_items(file)
    nclx = nclx_of(items, items.primary)
    if nclx is None or profile_of(items, items.primary) is not None:
        return None
    return nclx.primaries, nclx.transfer


def to_8_bits(whole: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """Return a function that converts any part of ``whole`` to 8 bits per channel.

    The result is grey or RGB, with alpha or without, CMYK or Lab.
    """
    if whole.mode.startswith(("I", "F")):
        low, high = _value_range(whole)
        if getattr(whole, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
            low, high = high, low
        return lambda part: _stretch(part, low, high)
    if whole.has_transparency_data:
        return _with_alpha
    if whole.mode in _DIRECT:
        return lambda part: part
    mode = "L" if whole.mode == "1" else "RGB"
    return lambda part: part.convert(mode)


def _with_alpha(part: Image.Image) -> Image.Image:
    if part.mode in {"LA", "RGBA"}:
        return part
    colour = part.info.get("transparency")
    if part.mode == "RGB" and isinstance(colour, tuple) and max(colour) > 255:
        # The file has 16 bits per channel.
        part.info["transparency"] = tuple(value >> 8 for value in colour)
    return part.convert("LA" if part.mode in {"L", "La"} else "RGBA")


def _value_range(image: Image.Image) -> tuple[float, float]:
    """Return the values of black and white, which files of more than 8 bits do not always tell."""
    if image.mode.startswith("I;16"):
        return 0, 65535
    low, high = cast("tuple[float, float]", image.getextrema())
    whites = (1, 255, 65535) if image.mode == "F" else (65535,)
    return next(((0, white) for white in whites if low >= 0 and high <= white), (low, high))


def _stretch(part: Image.Image, low: float, high: float) -> Image.Image:
    values: NDArray[np.float32] = np.asarray(part).astype(np.float32)
    with np.errstate(invalid="ignore"):
        scaled = (values - low) * (255 / (high - low or 1e-9))
    grey = Image.fromarray(np.clip(np.rint(np.nan_to_num(scaled)), 0, 255).astype(np.uint8))
    transparent = part.info.get("transparency")
    if isinstance(transparent, int):
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


def as_srgb(image: Image.Image, info: Mapping[Any, Any]) -> Image.Image:
    """Convert an image of 8 bits to grey or RGB in sRGB, with alpha if it has some.

    ``info`` is what was read in the file: its ``CICP`` colours, its colour profile, its gamma. A
    profile that is damaged, or for other channels than these, is ignored, as viewers do.
    """
    if image.mode in {"LA", "RGBA"}:
        converted = as_srgb(image.convert(image.mode.removesuffix("A")), info)
        converted.putalpha(image.getchannel("A"))
        return converted
    if (colours := info.get(CICP)) is not None and image.mode in {"L", "RGB"}:
        return image if is_srgb(*colours) else to_srgb(image.convert("RGB"), *colours)
    profile = info.get("icc_profile")
    transform = _transform(profile, image.mode) if isinstance(profile, bytes) and profile else None
    if transform is None and image.mode == "LAB":
        transform = _build_transform(ImageCms.createProfile("LAB"), "LAB")
    if transform is not None:
        return transform.apply(image)
    if image.mode == "CMYK":
        return image.convert("RGB")
    gamma = info.get("gamma")
    if not profile and "srgb" not in info and isinstance(gamma, float) and gamma > 0:
        exponent = _SRGB_GAMMA / gamma
        if abs(exponent - 1) >= 0.02:
            curve = [round(255 * (value / 255) ** exponent) for value in range(256)]
            return image.point(curve * len(image.getbands()))
    return image


# Profiles are few, and building a transform for print takes longer than decoding a small picture.
@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the transform from ``mode`` to sRGB; None if ``profile`` does not fit or is sRGB."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if source.profile.xcolor_space != _SPACES[mode]:
            return None
        transform = _build_transform(source, mode)
    except (OSError, ValueError, ImageCms.PyCMSError):  # Pillow reads its texts as ASCII
        return None
    return None if mode == "RGB" and _changes_nothing(transform) else transform


def _build_transform(source: Any, mode: str) -> ImageCms.ImageCmsTransform:
    # Without a cache inside, threads may share it.
    flags = ImageCms.Flags.NOCACHE
    transform = ImageCms.buildTransform(
        source, ImageCms.createProfile("sRGB"), mode, "RGB", flags=flags
    )
    assert isinstance(transform, ImageCms.ImageCmsTransform)
    return transform


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(27, 27, 3)
    changed = np.asarray(transform.apply(Image.fromarray(cube))).astype(int)
    return int(np.abs(changed - cube).max()) <= _INVISIBLE
