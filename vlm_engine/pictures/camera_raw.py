"""Camera raw files: find the largest rendering of the picture (a JPEG) that the camera put into
them.

Most raw files are TIFFs whose first picture is a small thumbnail. Whatever is wrong with a file
ends the search without an error.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import IO, TypeAlias

from PIL.JpegImagePlugin import JpegImageFile

from vlm_engine.errors import MediaUnreadableError
from vlm_engine.files import media_errors
from vlm_engine.pictures.formats import NotReadError

# Tags of a TIFF.
_SUBFILE, _WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC = 254, 256, 257, 259, 262
_STRIPS, _ORIENTATION, _STRIP_BYTES, _SUB_IFDS = 273, 274, 279, 330
_JPEG, _JPEG_BYTES, _DNG_VERSION, _RW2_JPEG = 513, 514, 50706, 46
_SENSOR = frozenset({32803, 34892})  # photometric interpretations: CFA, LinearRaw
_JPEG_COMPRESSIONS = frozenset({6, 7})
_TIFF_COMPRESSIONS = frozenset({1, 5, 8, 32773, 32946})
_VALUE_FORMATS = {1: "B", 3: "H", 4: "I", 13: "I"}
_MAX_IFDS, _MAX_ENTRIES, _MAX_VALUES = 50, 1000, 64
_MAX_PREVIEW_BYTES = 256 * 2**20
_TIFF_MAGIC = (b"II*\0", b"MM\0*")
_RW2_MAGIC = b"IIU\0"
_RAW_MAGIC = (b"IIRO", b"IIRS", b"MMOR", _RW2_MAGIC)  # Olympus, Panasonic
_FUJI_MAGIC, _FUJI_JPEG_AT = b"FUJIFILMCCD-RAW", 84
_LEAST_SIDE = 640  # as large as the thumbnails that Stash makes
_NEARLY = 0.9

Tags: TypeAlias = Mapping[int, tuple[int, ...]]
Place: TypeAlias = tuple[int, int]
"""Offset and length in bytes."""


@dataclass(frozen=True, slots=True)
class Preview:
    """JPEG inside another file, and the orientation that the file gives it."""

    jpeg: bytes
    orientation: int


def is_raw(head: bytes) -> bool:
    """Return whether a file with these first bytes is a raw file that does not look like a TIFF."""
    return head.startswith((*_RAW_MAGIC, _FUJI_MAGIC)) or head[4:12] == b"ftypcrx "


def find_preview(file: IO[bytes], head: bytes) -> Preview | None:
    """Return the largest rendering in a camera raw file; None if the file is an ordinary TIFF.

    Raises ``NotReadError`` for a raw file that has none, or only a thumbnail.
    """
    if head.startswith(_FUJI_MAGIC):
        return _largest(file, [struct.unpack_from(">II", head, _FUJI_JPEG_AT)], {}, 0)
    if not head.startswith((*_TIFF_MAGIC, *_RAW_MAGIC)):
        if is_raw(head):
            raise NotReadError("a camera raw file of a kind that is not read here")
        return None
    ifds = list(_ifds(file, head))
    if not ifds:
        return None
    main = ifds[0]
    has_sensor = _DNG_VERSION in main or any(_one(ifd, _PHOTOMETRIC) in _SENSOR for ifd in ifds)
    if not (head.startswith(_RAW_MAGIC) or head[8:10] == b"CR" or has_sensor):
        return None
    side = max(max(_size(ifd)) for ifd in ifds)
    is_rendered = _one(main, _PHOTOMETRIC) not in _SENSOR
    is_readable = is_rendered and _one(main, _COMPRESSION) in _TIFF_COMPRESSIONS
    if is_readable and _is_large(_size(main), side):
        return None
    places = [place for ifd in ifds for place in _jpegs(ifd, is_rw2=head.startswith(_RW2_MAGIC))]
    return _largest(file, places, main, side)


def main_page(file: IO[bytes], head: bytes) -> int:
    """Return the page of an ordinary TIFF to show.

    It is the first, unless that is a reduced copy: then the largest.
    """
    if not head.startswith(_TIFF_MAGIC):
        return 0
    pages = list(_ifds(file, head, inner=False))
    if not pages or not _one(pages[0], _SUBFILE) & 1:
        return 0
    return max(range(len(pages)), key=lambda page: _size(pages[page])[0] * _size(pages[page])[1])


def _one(ifd: Tags, tag: int) -> int:
    return ifd.get(tag, (0,))[0]


def _size(ifd: Tags) -> tuple[int, int]:
    return _one(ifd, _WIDTH), _one(ifd, _HEIGHT)


def _jpegs(ifd: Tags, *, is_rw2: bool) -> Iterator[Place]:
    if _JPEG in ifd and _JPEG_BYTES in ifd:
        yield _one(ifd, _JPEG), _one(ifd, _JPEG_BYTES)
    is_jpeg = (
        _one(ifd, _COMPRESSION) in _JPEG_COMPRESSIONS and _one(ifd, _PHOTOMETRIC) not in _SENSOR
    )
    if is_jpeg and len(ifd.get(_STRIPS, ())) == len(ifd.get(_STRIP_BYTES, ())) == 1:
        yield _one(ifd, _STRIPS), _one(ifd, _STRIP_BYTES)
    if is_rw2 and len(ifd.get(_RW2_JPEG, ())) == 2:
        yield ifd[_RW2_JPEG][0], ifd[_RW2_JPEG][1]


def _largest(file: IO[bytes], places: list[Place], main: Tags, side: int) -> Preview:
    """Return the largest JPEG. ``side`` is the longest that the file declares for any picture."""
    sizes = {place: _jpeg_size(file, place) for place in places}
    place = max(sizes, key=lambda each: sizes[each][0] * sizes[each][1], default=(0, 0))
    size = sizes.get(place, (0, 0))
    if size == (0, 0):
        raise NotReadError("a camera raw file without a rendering of its picture")
    if not _is_large(size, side):
        raise NotReadError(
            f"a camera raw file with no more than a thumbnail of {size[0]} x {size[1]} pixels"
        )
    file.seek(place[0])
    return Preview(file.read(place[1]), _one(main, _ORIENTATION))


def _is_large(size: tuple[int, int], side: int) -> bool:
    return max(size) >= min(_LEAST_SIDE, _NEARLY * side or _LEAST_SIDE)


def _jpeg_size(file: IO[bytes], place: Place) -> tuple[int, int]:
    """Return (0, 0) for what is no ordinary JPEG: sensor data may be compressed as one, too."""
    offset, length = place
    if not 0 < length <= _MAX_PREVIEW_BYTES:
        return 0, 0
    file.seek(offset)
    if file.read(3) != b"\xff\xd8\xff":
        return 0, 0
    file.seek(offset)
    try:
        with (
            media_errors("a picture in it"),
            JpegImageFile(BytesIO(file.read(length))) as image,
        ):
            return image.size if image.mode in {"L", "RGB", "CMYK"} else (0, 0)
    except MediaUnreadableError:
        return 0, 0


def _ifds(file: IO[bytes], head: bytes, *, inner: bool = True) -> Iterator[Tags]:
    """Yield the directories (IFD) of a TIFF: the chain of them first, then those inside."""
    order = "<" if head[:2] == b"II" else ">"
    file.seek(0, os.SEEK_END)
    size = file.tell()
    file.seek(4)
    waiting, seen = [_number(file.read(4), order)], set[int]()
    while waiting and len(seen) < _MAX_IFDS:
        at = waiting.pop(0)
        if at in seen or not 0 < at < size:
            continue
        seen.add(at)
        tags, following = _ifd(file, at, order)
        waiting.insert(0, following)
        waiting += tags.get(_SUB_IFDS, ()) if inner else ()
        yield tags


def _number(data: bytes, order: str) -> int:
    return int(struct.unpack(f"{order}I", data)[0]) if len(data) == 4 else 0


def _ifd(file: IO[bytes], at: int, order: str) -> tuple[dict[int, tuple[int, ...]], int]:
    """Return a directory's numbers by their tags, and where the next one begins."""
    file.seek(at)
    head = file.read(2)
    count = int(struct.unpack(f"{order}H", head)[0]) if len(head) == 2 else 0
    entries = file.read(12 * min(count, _MAX_ENTRIES))
    following = _number(file.read(4), order)
    tags: dict[int, tuple[int, ...]] = {}
    for start in range(0, len(entries) - 11, 12):
        tag, kind, number = struct.unpack_from(f"{order}HHI", entries, start)
        data = entries[start + 8 : start + 12]
        if tag == _RW2_JPEG:
            tags[tag] = (_number(data, order), number)
        elif kind in _VALUE_FORMATS and 0 < number <= _MAX_VALUES:
            values = struct.Struct(f"{order}{number}{_VALUE_FORMATS[kind]}")
            if values.size > 4:
                file.seek(_number(data, order))
                data = file.read(values.size)
            if len(data) >= values.size:
                tags[tag] = values.unpack_from(data)
    return tags, following
