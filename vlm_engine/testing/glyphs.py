"""Tags drawn into a picture so that a machine can read them back.

The picture is a grid of 41 x 28 cells. One row of it is the strip: a marker, 24 bits of frame
number, 8 check bits, a mirrored marker. Below it are 40 tiles of 4 x 4 cells, 8 to a row. Each
tile holds the 16-bit code of one tag, or nothing. A cell is black or white on a background between
the two, so a tile without a tag cannot be mistaken for one. Only brightness and proportions count:
a picture stays readable when it is scaled, stretched or compressed. One that is rotated, mirrored
or cropped does not, so tests notice it.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vlm_engine.names import tag_key

COLUMNS, ROWS = 41, 28
MAX_TAGS = 40
FRAME_NUMBERS = 1 << 24
BLACK, WHITE = 16, 235
DARKEST_GROUND, LIGHTEST_GROUND = 80, 170

_TILES_PER_ROW, _TILES_DOWN, _TILE = 8, 5, 4  # a tile has a cell of background on two sides
_STRIP_ROW, _FIRST_TILE_ROW = 1, 3
_MARKER = (1, 0, 1)
_FINE = 4  # samples across a cell when reading; the outer ones are blurred by scaling and left out

Plane = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Shown:
    """Contents of a picture; without a readable strip, no codes and no frame number.

    ``side``: its longest side in pixels.
    """

    codes: frozenset[int]
    frame_number: int | None
    side: int = field(default=0, compare=False)


def code(tag: str) -> int:
    """Return the 16-bit code of a tag, whatever the case and spacing of its name."""
    return int.from_bytes(hashlib.sha256(tag_key(tag).encode()).digest()[:2], "big")


def codes(tags: Iterable[str]) -> dict[str, int]:
    """Return the code of each tag. Raises ``ValueError`` for too many, or two of the same code."""
    found: dict[str, int] = {}
    owners: dict[int, str] = {}
    for tag in tags:
        number = code(tag)
        if number in owners:
            pair = f"the tags {owners[number]!r} and {tag!r}"
            raise ValueError(f"{pair} have the same code {number:#06x}: rename one")
        owners[number] = tag
        found[tag] = number
    if len(found) > MAX_TAGS:
        raise ValueError(f"a picture has room for {MAX_TAGS} tags, not {len(found)}")
    return found


def draw(plane: Plane, tiles: Sequence[int | None], frame_number: int) -> None:
    """Draw tiles and strip into ``plane`` (height x width, studio-range luma), in place.

    ``tiles``: the code in each tile, or None to leave the background as it is. Raises
    ``ValueError`` for more tiles than there are, and for a frame number of more than 24 bits.
    """
    if len(tiles) > MAX_TAGS:
        raise ValueError(f"a picture has room for {MAX_TAGS} tags, not {len(tiles)}")
    if not 0 <= frame_number < FRAME_NUMBERS:
        raise ValueError(f"a frame number has 24 bits, so {frame_number} does not fit")
    for index, number in enumerate(tiles):
        if number is not None:
            bits = np.array(_bits(number, _TILE * _TILE), dtype=bool).reshape(_TILE, _TILE)
            _paint(plane, bits, *_corner(index))
    payload = [*_bits(frame_number, 24), *_bits(_check(frame_number), 8)]
    strip = np.array([*_MARKER, *payload, *reversed(_MARKER)], dtype=bool).reshape(1, -1)
    _paint(plane, strip, _STRIP_ROW, 1)


def read(image: Image.Image) -> Shown:
    """Return the contents of ``image``: any mode and size, not cropped."""
    grey = image.convert("L").resize((COLUMNS * _FINE, ROWS * _FINE), Image.Resampling.BOX)
    fine = np.asarray(grey, dtype=np.float32).reshape(ROWS, _FINE, COLUMNS, _FINE)
    cells = fine[:, 1:-1, :, 1:-1].mean(axis=(1, 3))
    number = _read_strip(cells[_STRIP_ROW])
    if number is None:
        return Shown(frozenset(), None, max(image.size))
    return Shown(_read_tiles(cells), number, max(image.size))


def picture(
    tags: Iterable[str], width: int = 1280, height: int = 720, frame_number: int = 0
) -> Image.Image:
    """Return a picture that shows ``tags`` on a plain grey background."""
    plane = np.full((height, width), (DARKEST_GROUND + LIGHTEST_GROUND) // 2, np.uint8)
    draw(plane, list(codes(tags).values()), frame_number)
    return Image.fromarray(plane).convert("RGB")


def _corner(index: int) -> tuple[int, int]:
    row, column = divmod(index, _TILES_PER_ROW)
    return _FIRST_TILE_ROW + row * (_TILE + 1), 1 + column * (_TILE + 1)


def _bits(number: int, count: int) -> list[int]:
    return [number >> shift & 1 for shift in reversed(range(count))]


def _number(bits: NDArray[np.bool_]) -> int:
    return int("".join("1" if bit else "0" for bit in bits), 2)


def _check(frame_number: int) -> int:
    return zlib.crc32(frame_number.to_bytes(3, "big")) & 0xFF


@lru_cache(maxsize=32)
def _edges(width: int, height: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first pixel of every column and row of cells, and one past the last."""
    across = np.array([round(i * width / COLUMNS) for i in range(COLUMNS + 1)])
    down = np.array([round(i * height / ROWS) for i in range(ROWS + 1)])
    return across, down


def _paint(plane: Plane, bits: NDArray[np.bool_], row: int, column: int) -> None:
    height, width = plane.shape
    across, down = _edges(width, height)
    rows, columns = bits.shape
    across, down = across[column : column + columns + 1], down[row : row + rows + 1]
    cells = np.where(bits, np.uint8(WHITE), np.uint8(BLACK))
    pixels = cells.repeat(np.diff(down), axis=0).repeat(np.diff(across), axis=1)
    plane[down[0] : down[-1], across[0] : across[-1]] = pixels


def _are_clear(cells: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which cells (full-range luma) are clearly black or white."""
    return (cells < 50) | (cells > 205)


def _read_strip(cells: NDArray[np.float32]) -> int | None:
    strip = cells[1 : 1 + 2 * len(_MARKER) + 32]
    bits = strip > 128
    if not _are_clear(strip).all():
        return None
    if tuple(bits[:3]) != _MARKER or tuple(bits[-3:]) != _MARKER[::-1]:
        return None
    number, check = _number(bits[3:27]), _number(bits[27:35])
    return number if check == _check(number) else None


def _read_tiles(cells: NDArray[np.float32]) -> frozenset[int]:
    """Return the codes of the tiles of which each cell is clearly black or white."""
    down, across = _TILES_DOWN * (_TILE + 1), _TILES_PER_ROW * (_TILE + 1)
    area = cells[_FIRST_TILE_ROW : _FIRST_TILE_ROW + down, 1 : 1 + across]
    tiles = area.reshape(_TILES_DOWN, _TILE + 1, _TILES_PER_ROW, _TILE + 1)[:, :_TILE, :, :_TILE]
    tiles = tiles.transpose(0, 2, 1, 3).reshape(MAX_TAGS, _TILE * _TILE)
    return frozenset(_number(tile > 128) for tile in tiles[_are_clear(tiles).all(axis=1)])
