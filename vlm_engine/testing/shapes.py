"""Shapes of the check's test pictures, read back from pixels.

The shapes stand side by side on a light ground. A run of columns without ground between them is
one region. It is a shape if it has the colour of that shape, and covers the same part of its box.
Only proportions count: a picture stays readable when it is scaled, stretched or compressed. One
that is turned or mirrored has other outlines.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor

from vlm_engine.checkup.cards import BACKGROUND, CARD_TAGS, CARDS, COLOURS, card_jpeg

_SIDE = 192  # pixels of the longest side when reading
_BOX = 24  # cells across the box of a region when outlines are compared
_OFF_GROUND, _SAME_COLOUR = 60, 40  # differences in the channel that differs most
_LEAST_GROUND = 0.4  # of the picture
_LEAST_WIDTH, _LEAST_HEIGHT = 0.12, 0.2  # of the picture; the moon is the narrowest
_SAME_OUTLINE = 0.7  # of what either outline covers, both do

Mask = NDArray[np.bool_]
Outline = NDArray[np.float32]
"""The share of each cell of a region's box that the region covers."""
Colour = tuple[int, int, int]


def read(image: Image.Image) -> frozenset[str]:
    """Return the tags of the shapes in ``image``: any mode and size."""
    found = (_shape(outline, colour) for outline, colour in _regions(image))
    return frozenset(tag for tag in found if tag)


def _shape(outline: Outline, colour: Colour) -> str:
    """Return the shape whose outline is the most similar, if it has that colour, else ""."""
    alike = {tag: _overlap(outline, other) for tag, other in _outlines().items()}
    tag = max(alike, key=alike.__getitem__)
    off = max(abs(one - other) for one, other in zip(colour, _colours()[tag], strict=True))
    return tag if alike[tag] >= _SAME_OUTLINE and off < _SAME_COLOUR else ""


def _overlap(one: Outline, other: Outline) -> float:
    return float(np.minimum(one, other).sum() / np.maximum(one, other).sum())


def _regions(image: Image.Image) -> Iterator[tuple[Outline, Colour]]:
    """Yield the outline of each large region, and its colour, from left to right."""
    scale = _SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    small = image.resize(size, Image.Resampling.BOX, reducing_gap=2.0)
    pixels = np.asarray(small.convert("RGB"), dtype=np.int16)
    covered = np.abs(pixels - ImageColor.getrgb(BACKGROUND)).max(axis=2) > _OFF_GROUND
    if covered.mean() > 1 - _LEAST_GROUND:
        return
    for left, right in _runs(covered.any(axis=0)):
        rows = np.flatnonzero(covered[:, left:right].any(axis=1))
        top, bottom = rows[0], rows[-1] + 1
        if right - left < _LEAST_WIDTH * size[0] or bottom - top < _LEAST_HEIGHT * size[1]:
            continue
        mask = covered[top:bottom, left:right]
        box = Image.fromarray(mask).convert("L").resize((_BOX, _BOX), Image.Resampling.BOX)
        red, green, blue = np.median(pixels[top:bottom, left:right][mask], axis=0)
        yield np.asarray(box, dtype=np.float32), (int(red), int(green), int(blue))


def _runs(flags: Mask) -> list[tuple[int, int]]:
    """Return the start and end of each run of true flags."""
    edges = np.flatnonzero(np.diff(flags, prepend=False, append=False))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


@cache
def _colours() -> dict[str, Colour]:
    return {tag: ImageColor.getrgb(colour)[:3] for tag, colour in COLOURS.items()}


@cache
def _outlines() -> dict[str, Outline]:
    """Return the outline of each shape, as the cards show it."""
    outlines: dict[str, Outline] = {}
    for card in CARDS:
        tags = [tag for tag in CARD_TAGS if tag in card.tags]
        regions = _regions(Image.open(io.BytesIO(card_jpeg(card.number, 4 * _SIDE))))
        outlines |= {tag: outline for tag, (outline, _) in zip(tags, regions, strict=True)}
    return outlines
