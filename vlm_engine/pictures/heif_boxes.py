"""Parse the boxes of a HEIF file (HEIC, AVIF): items, their properties and where they are.

ISO 14496-12 and 23008-12. Nothing is decoded here. A faulty file raises ``ValueError``, one that
may only be unknown here ``NotReadError``.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, NamedTuple

from vlm_engine.pictures.formats import NotReadError, VideoInsideError

_MAX_META_BYTES = 16 * 2**20
_MAX_ITEM_BYTES = 256 * 2**20
_MAX_BOXES = 1000
_KNOWN = frozenset(
    "ispe pixi hvcC av1C avcC jpgC irot imir clap colr pasp auxC clli mdcv cclv amve a1op a1lx "
    "lsel rloc udes".split()
)
_IN_FILE, _IN_IDAT = 0, 1


class Place(NamedTuple):
    """Place of an item's bytes: in the file, or in the box ``idat``.

    ``extents`` are offset and length of each part; length 0 stands for all the rest.
    """

    method: int
    extents: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Items:
    """Content of the ``meta`` box, by the numbers of the items.

    ``properties`` are kind and content, in the order in which they apply. ``references`` are by
    kind and the item that they start from.
    """

    primary: int
    kinds: Mapping[int, str]
    places: Mapping[int, Place]
    properties: Mapping[int, Sequence[tuple[str, bytes]]]
    references: Mapping[tuple[str, int], Sequence[int]]
    idat: bytes

    def all_properties(self, item: int, kind: str) -> list[bytes]:
        """Return the contents of the item's properties of that kind."""
        return [content for name, content in self.properties.get(item, ()) if name == kind]

    def property(self, item: int, kind: str) -> bytes | None:
        """Return the first property of that kind."""
        return next(iter(self.all_properties(item, kind)), None)

    def size(self, item: int) -> tuple[int, int]:
        """Return width and height in pixels, before the item is turned or cropped."""
        content = self.property(item, "ispe")
        if content is None:
            raise ValueError("a picture in it has no size")
        width, height = struct.unpack_from(">II", content, 4)
        return width, height

    def content(self, item: int, file: IO[bytes]) -> bytes:
        """Return all bytes of the item."""
        place = self.places.get(item)
        if place is None:
            raise ValueError("a picture in it has no data")
        if place.method not in {_IN_FILE, _IN_IDAT}:
            raise NotReadError("its parts lie inside each other")
        parts, size = [], 0
        for offset, length in place.extents:
            if place.method == _IN_IDAT:
                part = self.idat[offset : offset + length if length else None]
            else:
                file.seek(offset)
                part = file.read(min(length or _MAX_ITEM_BYTES + 1, _MAX_ITEM_BYTES + 1))
            size += len(part)
            if len(part) < length or size > _MAX_ITEM_BYTES:
                raise ValueError("the file is cut off, or lies about its length")
            parts.append(part)
        return b"".join(parts)


class Nclx(NamedTuple):
    """Colours by the numbers of ITU-T H.273; ``is_full``: the whole range of values is used."""

    primaries: int
    transfer: int
    matrix: int
    is_full: bool


def read_items(file: IO[bytes]) -> Items:
    """Parse the file's ``meta`` box. Raises ``VideoInsideError`` if there is a video instead."""
    inside = dict(_boxes(_meta(file)[4:]))
    if not {"pitm", "iinf", "iloc", "iprp"} <= inside.keys():
        raise ValueError("its list of pictures is incomplete")
    primary = _Cursor(inside["pitm"])
    return Items(
        primary.number(4 if primary.version() else 2),
        dict(_kinds(inside["iinf"])),
        dict(_places(inside["iloc"])),
        _properties(inside["iprp"]),
        dict(_references(inside["iref"])) if "iref" in inside else {},
        inside.get("idat", b""),
    )


def nclx_of(items: Items, item: int) -> Nclx | None:
    """Return the colours of an item as numbers."""
    for content in _colours(items, item):
        if content[:4] == b"nclx" and len(content) >= 11:
            primaries, transfer, matrix = struct.unpack_from(">HHH", content, 4)
            return Nclx(primaries, transfer, matrix, bool(content[10] & 0x80))
    return None


def profile_of(items: Items, item: int) -> bytes | None:
    """Return the colour profile of an item."""
    contents = _colours(items, item)
    return next((each[4:] for each in contents if each[:4] in {b"prof", b"rICC"}), None)


def _colours(items: Items, item: int) -> list[bytes]:
    """Return the colours of the item, or else of its first tile."""
    tiles = items.references.get(("dimg", item), ())
    found = items.all_properties(item, "colr")
    return found or [each for tile in tiles[:1] for each in items.all_properties(tile, "colr")]


def _meta(file: IO[bytes]) -> bytes:
    file.seek(0)
    has_video = False
    for _ in range(_MAX_BOXES):
        head = file.read(8)
        if len(head) < 8:
            break
        size, kind = struct.unpack(">I4s", head)
        length = int.from_bytes(file.read(8), "big") - 16 if size == 1 else size - 8
        if kind == b"meta" and 0 <= length <= _MAX_META_BYTES:
            return file.read(length)
        has_video = has_video or kind == b"moov"
        if length < 0:
            break
        file.seek(length, os.SEEK_CUR)
    if has_video:
        raise VideoInsideError
    raise ValueError("there is no list of its pictures")


class _Cursor:
    """Reads numbers from bytes, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0
        self.flags = 0

    def number(self, length: int) -> int:
        return int.from_bytes(self.take(length), "big")

    def take(self, length: int) -> bytes:
        part = self._data[self._at : self._at + length]
        if len(part) < length:
            raise ValueError("a box in it is cut off")
        self._at += length
        return part

    def version(self) -> int:
        """Read the version of a full box, and keep its flags."""
        version, self.flags = self.number(1), self.number(3)
        return version

    def rest(self) -> bytes:
        return self._data[self._at :]


def _boxes(data: bytes) -> Iterator[tuple[str, bytes]]:
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        size = size or len(data) - at
        if size < head or at + size > len(data):
            raise ValueError("a box in it is cut off")
        yield kind.decode("latin-1"), data[at + head : at + size]
        at += size


def _kinds(data: bytes) -> Iterator[tuple[int, str]]:
    cursor = _Cursor(data)
    cursor.number(4 if cursor.version() else 2)
    for kind, content in _boxes(cursor.rest()):
        entry = _Cursor(content)
        version = entry.version()
        if kind == "infe" and version >= 2:
            item = entry.number(4 if version > 2 else 2)
            entry.number(2)
            yield item, entry.take(4).decode("latin-1")


def _places(data: bytes) -> Iterator[tuple[int, Place]]:
    cursor = _Cursor(data)
    version, sizes = cursor.version(), cursor.number(2)
    offset_size, length_size, base_size, index_size = (
        sizes >> shift & 15 for shift in (12, 8, 4, 0)
    )
    wide = 4 if version > 1 else 2
    for _ in range(cursor.number(wide)):
        item = cursor.number(wide)
        method = cursor.number(2) & 15 if version else _IN_FILE
        is_elsewhere = cursor.number(2) != 0
        base = cursor.number(base_size)
        extents = []
        for _ in range(cursor.number(2)):
            cursor.number(index_size if version else 0)
            extents.append((base + cursor.number(offset_size), cursor.number(length_size)))
        if not is_elsewhere:
            yield item, Place(method, tuple(extents))


def _properties(data: bytes) -> dict[int, list[tuple[str, bytes]]]:
    inside = list(_boxes(data))
    known = [box for kind, content in inside if kind == "ipco" for box in _boxes(content)]
    found: dict[int, list[tuple[str, bytes]]] = {}
    for content in (content for kind, content in inside if kind == "ipma"):
        for item, index, is_essential in _associations(content):
            if not 0 < index <= len(known):
                continue
            if is_essential and known[index - 1][0] not in _KNOWN:
                raise NotReadError(f"it needs {known[index - 1][0]!r}, which is not known here")
            found.setdefault(item, []).append(known[index - 1])
    return found


def _associations(data: bytes) -> Iterator[tuple[int, int, bool]]:
    """Yield an item, the number of its property, and whether readers must know the property."""
    cursor = _Cursor(data)
    wide = 4 if cursor.version() else 2
    bits = 15 if cursor.flags & 1 else 7
    for _ in range(cursor.number(4)):
        item = cursor.number(wide)
        for _ in range(cursor.number(1)):
            number = cursor.number((bits + 1) // 8)
            yield item, number & (1 << bits) - 1, bool(number >> bits)


def _references(data: bytes) -> Iterator[tuple[tuple[str, int], tuple[int, ...]]]:
    cursor = _Cursor(data)
    wide = 4 if cursor.version() else 2
    for kind, content in _boxes(cursor.rest()):
        entry = _Cursor(content)
        start = entry.number(wide)
        yield (kind, start), tuple(entry.number(wide) for _ in range(entry.number(2)))
