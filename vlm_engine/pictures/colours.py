"""Any colours a file may have, as the sRGB that a viewer shows."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping
from functools import lru_cache
from io import BytesIO
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from vlm_engine.pictures.formats import AVIF, PNG, Kind, NotReadError, VideoInsideError
from vlm_engine.pictures.heif_boxes import nclx_of, profile_of, read_items
from vlm_engine.tone_mapping import CICP, shows_as_srgb, toned

_MAX_CHUNKS = 10_000
_RGB = 0  # the matrix of a picture that is stored as it is

Colours = tuple[int, int]
"""Primaries and transfer."""


def declared_colours(kind: Kind, content: IO[bytes]) -> Colours | None:
    """What goes before a colour profile in a PNG, and stands in for a missing one in an AVIF file."""
    readers = {PNG: _in_png, AVIF: _in_avif}
    if kind not in readers:
        return None
    position = content.tell()
    try:
        return readers[kind](content)
    except (ValueError, struct.error, NotReadError, VideoInsideError):
        return None  # whoever decodes it says what is wrong with it
    finally:
        content.seek(position)


def _in_png(content: IO[bytes]) -> Colours | None:
    """The chunk ``cICP``, which comes before the pixels."""
    content.seek(8)
    for _ in range(_MAX_CHUNKS):
        length, kind = struct.unpack(">I4s", content.read(8))
        if kind == b"cICP" and length == 4:
            primaries, transfer, matrix, _ = content.read(4)
            return (primaries, transfer) if matrix == _RGB else None
        if kind in {b"IDAT", b"IEND"}:
            return None
        content.seek(length + 4, os.SEEK_CUR)
    return None


def _in_avif(content: IO[bytes]) -> Colours | None:
    items = read_items(content)
    told = nclx_of(items, items.primary)
    return (
        (told.primaries, told.transfer)
        if told and profile_of(items, items.primary) is None
        else None
    )


_DIRECT = frozenset({"L", "RGB", "RGBA", "CMYK", "LAB"})
_SPACES = {"L": "GRAY", "RGB": "RGB ", "CMYK": "CMYK", "LAB": "Lab "}
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0  # of a TIFF
_SRGB_GAMMA = 1 / 2.2
_UNSEEN = 2  # of 255; a profile that changes no colour by more is taken for sRGB

Plain = Callable[[Image.Image], Image.Image]


def plain(whole: Image.Image) -> Plain:
    """What makes of any part of ``whole`` the same with 8 bits per channel: grey or RGB, with alpha or without, CMYK or Lab."""
    if whole.mode.startswith(("I", "F")):
        low, high = _range(whole)
        if getattr(whole, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
            low, high = high, low
        return lambda part: _stretched(part, low, high)
    if whole.has_transparency_data:
        return _with_alpha
    if whole.mode in _DIRECT:
        return lambda part: part
    mode = "L" if whole.mode == "1" else "RGB"
    return lambda part: part.convert(mode)


def _with_alpha(part: Image.Image) -> Image.Image:
    if part.mode in {"LA", "RGBA"}:
        return part
    told = part.info.get("transparency")
    if part.mode == "RGB" and isinstance(told, tuple) and max(told) > 255:
        part.info["transparency"] = tuple(
            value >> 8 for value in told
        )  # of a file with 16 bits per channel
    return part.convert("LA" if part.mode in {"L", "La"} else "RGBA")


def _range(image: Image.Image) -> tuple[float, float]:
    """Which values are black and white. Files of more than 8 bits do not always say it."""
    if image.mode.startswith("I;16"):
        return 0, 65535
    low, high = cast("tuple[float, float]", image.getextrema())
    whites = (1, 255, 65535) if image.mode == "F" else (65535,)
    return next(((0, white) for white in whites if low >= 0 and high <= white), (low, high))


def _stretched(part: Image.Image, low: float, high: float) -> Image.Image:
    values: NDArray[np.float32] = np.asarray(part).astype(np.float32)
    with np.errstate(invalid="ignore"):
        scaled = (values - low) * (255 / (high - low or 1e-9))
    grey = Image.fromarray(np.clip(np.rint(np.nan_to_num(scaled)), 0, 255).astype(np.uint8))
    unseen = part.info.get("transparency")
    if isinstance(unseen, int):
        grey.putalpha(Image.fromarray(np.where(values == unseen, 0, 255).astype(np.uint8)))
    return grey


def as_srgb(image: Image.Image, info: Mapping[Any, Any]) -> Image.Image:
    """``image``, plain, as grey or RGB in sRGB, with alpha where it has some. ``info``: what was read in the file: its ``CICP``
    colours, its colour profile, its gamma.

    A profile that is damaged, or made for other channels than these, is ignored, as viewers do.
    """
    if image.mode in {"LA", "RGBA"}:
        converted = as_srgb(image.convert(image.mode.removesuffix("A")), info)
        converted.putalpha(image.getchannel("A"))
        return converted
    if (told := info.get(CICP)) is not None and image.mode in {"L", "RGB"}:
        return image if shows_as_srgb(*told) else toned(image.convert("RGB"), *told)
    profile = info.get("icc_profile")
    transform = _transform(profile, image.mode) if isinstance(profile, bytes) and profile else None
    if transform is None and image.mode == "LAB":
        transform = _built(ImageCms.createProfile("LAB"), "LAB")
    if transform is not None:
        return transform.apply(image)
    if image.mode == "CMYK":
        return image.convert("RGB")
    gamma = info.get("gamma")
    if not profile and "srgb" not in info and isinstance(gamma, float) and gamma > 0:
        return _regamma(image, gamma)
    return image


def _regamma(image: Image.Image, gamma: float) -> Image.Image:
    """``gamma``: the exponent with which a PNG says it was encoded; about 1 / 2.2 where it is sRGB, and nothing changes."""
    exponent = _SRGB_GAMMA / gamma
    if abs(exponent - 1) < 0.02:
        return image
    curve = [round(255 * (value / 255) ** exponent) for value in range(256)]
    return image.point(curve * len(image.getbands()))


# Profiles are few, and building a transform from one for print takes longer than decoding a small picture.
@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """What turns colours of ``mode`` into sRGB; None where ``profile`` is no use for that, or is sRGB already."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if source.profile.xcolor_space != _SPACES[mode]:
            return None
        transform = _built(source, mode)
    except (OSError, ValueError, ImageCms.PyCMSError):  # Pillow reads its words as ASCII
        return None
    return None if mode == "RGB" and _changes_nothing(transform) else transform


def _built(source: Any, mode: str) -> ImageCms.ImageCmsTransform:
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
    return int(np.abs(changed - cube).max()) <= _UNSEEN
