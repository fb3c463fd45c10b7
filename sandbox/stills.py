"""Pictures of every kind for tests: files that show what is known, and colour profiles whose effect
is known.
"""

from __future__ import annotations

import io
import struct
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

_RED, _GREEN, _BLUE = (
    (0.4360747, 0.2225045, 0.0139322),
    (0.3850649, 0.7168786, 0.0971045),
    (0.1430804, 0.0606169, 0.7141733),
)
"""The primaries of sRGB as a profile writes them, adapted to D50."""
_WHITE = (0.9642, 1.0, 0.8249)


def scene(width: int = 320, height: int = 200) -> Pixels:
    """Return a picture in which every corner, every edge and every channel differs: rows x columns
    x RGB.
    """
    across = np.linspace(0, 1, width)[None, :]
    down = np.linspace(0, 1, height)[:, None]
    red = 40 + 170 * across * np.ones_like(down)
    green = 60 + 150 * down * np.ones_like(across)
    blue = 50 + 140 * (1 - across) * (1 - down)
    pixels = np.stack([red, green, blue], axis=-1)
    pixels[: height // 4, : width // 4] = (200, 40, 40)
    pixels[-height // 5 :, -width // 3 :] = (30, 50, 190)
    return np.rint(pixels).astype(np.uint8)


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    """``image`` as a file of the format that Pillow calls ``form``."""
    written = io.BytesIO()
    image.save(written, form, **options)
    return written.getvalue()


@cache
def swapped_profile() -> bytes:
    """Return a profile of RGB in which red and green have changed places; otherwise sRGB, as nearly
    as a gamma of 2.2 is.
    """
    curve = _curve(2.2)
    tags = {
        b"rXYZ": _xyz(_GREEN),
        b"gXYZ": _xyz(_RED),
        b"bXYZ": _xyz(_BLUE),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    return _profile(b"RGB ", b"XYZ ", b"mntr", tags)


@cache
def linear_grey_profile() -> bytes:
    """Return a profile of grey whose values are light itself: 55 of 255 is shown as the grey that
    sRGB calls 128.
    """
    return _profile(b"GRAY", b"XYZ ", b"mntr", {b"kTRC": _curve(1.0)})


@cache
def odd_ink_profile() -> bytes:
    """Return a profile of CMYK for a press whose cyan ink is red; the other inks are grey, and
    black is black.
    """
    corners = []
    for number in range(16):
        cyan, magenta, yellow, black = (number >> shift & 1 for shift in (3, 2, 1, 0))
        lightness = 0 if black else 255 - 60 * (magenta + yellow) - 100 * cyan
        corners.append(
            (
                max(0, lightness),
                128 + (60 if cyan and not black else 0),
                128 + (40 if cyan and not black else 0),
            )
        )
    straight = bytes(range(256))
    identity = struct.pack(">9i", *(65536 if n % 4 == 0 else 0 for n in range(9)))
    lut = (
        b"mft1"
        + bytes(4)
        + bytes((4, 3, 2, 0))
        + identity
        + straight * 4
        + bytes(v for c in corners for v in c)
        + straight * 3
    )
    return _profile(b"CMYK", b"Lab ", b"prtr", {b"A2B0": lut})


def _xyz(values: tuple[float, float, float]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))


def _curve(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))


def _text(kind: bytes, words: bytes) -> bytes:
    if kind == b"text":
        return b"text" + bytes(4) + words + b"\0"
    return (
        b"desc"
        + bytes(4)
        + struct.pack(">I", len(words) + 1)
        + words
        + b"\0"
        + bytes(4 + 4 + 2 + 1 + 67)
    )


def _profile(space: bytes, connection: bytes, device: bytes, tags: dict[bytes, bytes]) -> bytes:
    """Return an ICC profile of version 2."""
    common = {
        b"desc": _text(b"desc", b"test"),
        b"cprt": _text(b"text", b"none"),
        b"wtpt": _xyz(_WHITE),
    }
    everything = {**common, **tags}
    at = 128 + 4 + 12 * len(everything)
    table, data = struct.pack(">I", len(everything)), b""
    for name, content in everything.items():
        padded = content + bytes(-len(content) % 4)
        table += struct.pack(">4sII", name, at + len(data), len(content))
        data += padded
    white = struct.pack(">3i", *(round(value * 65536) for value in _WHITE))
    header = struct.pack(
        ">I4sI4s4s4s", at + len(data), b"\0" * 4, 0x02100000, device, space, connection
    )
    header += (
        struct.pack(">6H", 2025, 1, 1, 0, 0, 0) + b"acsp" + bytes(4 + 4 + 4 + 4 + 8 + 4) + white
    )
    return header.ljust(128, b"\0") + table + data
