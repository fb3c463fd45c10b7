"""Camera raw files: where they hold a rendering of the picture. Most are TIFFs whose first picture is a small thumbnail.

Whatever is wrong with a file ends the search; nothing is raised for it. Pure, but for reading.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import IO

from PIL.JpegImagePlugin import JpegImageFile

from vlm_engine.errors import MediaUnreadableError
from vlm_engine.files import mapped
from vlm_engine.pictures.formats import NotReadError

_SUBFILE, _WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC, _STRIPS, _STRIP_BYTES = (
    254,
    256,
    257,
    259,
    262,
    273,
    279,
)
_ORIENTATION, _SUB_IFDS, _JPEG, _JPEG_BYTES, _DNG_VERSION, _RW2_JPEG = 274, 330, 513, 514, 50706, 46
_SENSOR = frozenset({32803, 34892})  # CFA, LinearRaw
_IN_JPEG = frozenset({6, 7})
_READ_AS_TIFF = frozenset({1, 5, 8, 32773, 32946})
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 7: 1, 13: 4}
_FORMATS = {1: "B", 3: "H", 4: "I", 13: "I"}
_MAX_IFDS, _MAX_ENTRIES, _MAX_VALUES = 50, 1000, 64
_MAX_PREVIEW_BYTES = 256 * 2**20
_TIFF_MAGICS = (b"II*\0", b"MM\0*")
_RAW_MAGICS = (b"IIRO", b"IIRS", b"MMOR", b"IIU\0")  # Olympus, Panasonic
_FUJI, _FUJI_JPEG = b"FUJIFILMCCD-RAW", 84
_LEAST_SIDE = 640  # as large as the thumbnails that Stash makes
_NEARLY = 0.9

Tags = Mapping[int, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Preview:
    """A JPEG inside another file, and how the file says that it is turned."""

    jpeg: bytes
    orientation: int


def is_raw(head: bytes) -> bool:
    """Whether a file with these first bytes is a camera raw file that does not look like a TIFF."""
    return head.startswith((*_RAW_MAGICS, _FUJI)) or head[4:12] == b"ftypcrx "


def preview_of(file: IO[bytes], head: bytes) -> Preview | None:
    """The largest rendering that a camera raw file holds. None where the file is none, but an ordinary TIFF.

    Raises ``NotReadError`` for a raw file that has none, or only a thumbnail.
    """
    if head.startswith(_FUJI):
        return _largest(file, [struct.unpack_from(">II", head, _FUJI_JPEG)], {}, 0)
    if not head.startswith((*_TIFF_MAGICS, *_RAW_MAGICS)):
        if is_raw(head):
            raise NotReadError("a camera raw file of a kind that is not read here")
        return None
    order = "<" if head[:2] == b"II" else ">"
    ifds = list(_ifds(file, order))
    if not ifds or not (head.startswith(_RAW_MAGICS) or head[8:10] == b"CR" or _is_of_sensor(ifds)):
        return None
    side = max(max(_size(ifd)) for ifd in ifds)
    if _compression(ifds[0]) in _READ_AS_TIFF and _is_large(_size(ifds[0]), side):
        return None
    places = [place for ifd in ifds for place in _jpegs(ifd, is_rw2=head.startswith(b"IIU\0"))]
    return _largest(file, places, ifds[0], side)


def main_page(file: IO[bytes], head: bytes) -> int:
    """Which page of an ordinary TIFF to show: the first, unless that is only a reduced copy of a larger one."""
    if not head.startswith(_TIFF_MAGICS):
        return 0
    pages = list(_ifds(file, "<" if head[:2] == b"II" else ">", inner=False))
    if not pages or not _is_reduced(pages[0]):
        return 0
    return max(range(len(pages)), key=lambda page: _size(pages[page])[0] * _size(pages[page])[1])


def _is_of_sensor(ifds: list[Tags]) -> bool:
    return _DNG_VERSION in ifds[0] or any(_one(ifd, _PHOTOMETRIC) in _SENSOR for ifd in ifds)


def _is_reduced(ifd: Tags) -> bool:
    return bool(_one(ifd, _SUBFILE) & 1)


def _one(ifd: Tags, tag: int) -> int:
    return ifd.get(tag, (0,))[0]


def _size(ifd: Tags) -> tuple[int, int]:
    return _one(ifd, _WIDTH), _one(ifd, _HEIGHT)


def _jpegs(ifd: Tags, *, is_rw2: bool) -> Iterator[tuple[int, int]]:
    if _JPEG in ifd and _JPEG_BYTES in ifd:
        yield _one(ifd, _JPEG), _one(ifd, _JPEG_BYTES)
    if (
        _compression(ifd) in _IN_JPEG
        and len(ifd.get(_STRIPS, ())) == len(ifd.get(_STRIP_BYTES, ())) == 1
    ):
        yield _one(ifd, _STRIPS), _one(ifd, _STRIP_BYTES)
    if is_rw2 and len(ifd.get(_RW2_JPEG, ())) == 2:
        yield ifd[_RW2_JPEG][0], ifd[_RW2_JPEG][1]


def _largest(file: IO[bytes], places: list[tuple[int, int]], main: Tags, side: int) -> Preview:
    """``side``: the longest that the file tells of any picture."""
    found = [
        (size, place)
        for place in dict.fromkeys(places)
        if (size := _jpeg_size(file, place)) != (0, 0)
    ]
    if not found:
        raise NotReadError("a camera raw file without a rendering of its picture")
    size, (offset, length) = max(found, key=lambda one: one[0][0] * one[0][1])
    if not _is_large(size, side):
        raise NotReadError(
            f"a camera raw file with no more than a thumbnail of {size[0]} x {size[1]} pixels"
        )
    file.seek(offset)
    return Preview(file.read(length), _one(main, _ORIENTATION))


def _is_large(size: tuple[int, int], side: int) -> bool:
    return max(size) >= min(_LEAST_SIDE, _NEARLY * side or _LEAST_SIDE)


def _compression(ifd: Tags) -> int:
    """0 for what the sensor saw."""
    return 0 if _one(ifd, _PHOTOMETRIC) in _SENSOR else _one(ifd, _COMPRESSION)


def _jpeg_size(file: IO[bytes], place: tuple[int, int]) -> tuple[int, int]:
    """(0, 0) for what is no JPEG of an ordinary kind: a sensor's data may be packed in one, too."""
    offset, length = place
    if not 0 < length <= _MAX_PREVIEW_BYTES:
        return 0, 0
    file.seek(offset)
    if file.read(3) != b"\xff\xd8\xff":
        return 0, 0
    file.seek(offset)
    try:
        with mapped("a picture in it"), JpegImageFile(BytesIO(file.read(length))) as image:
            return image.size if image.mode in {"L", "RGB", "CMYK"} else (0, 0)
    except MediaUnreadableError:
        return 0, 0


def _ifds(file: IO[bytes], order: str, *, inner: bool = True) -> Iterator[Tags]:
    """The directories of a TIFF: those in a row first, then those inside them."""
    file.seek(0, os.SEEK_END)
    size = file.tell()
    file.seek(4)
    waiting, seen = [_number(file.read(4), order)], set[int]()
    while waiting and len(seen) < _MAX_IFDS:
        at = waiting.pop(0)
        if at in seen or not 0 < at < size:
            continue
        seen.add(at)
        tags, following = _directory(file, at, order)
        waiting.insert(0, following)
        waiting += tags.get(_SUB_IFDS, ()) if inner else ()
        yield tags


def _number(data: bytes, order: str) -> int:
    return int(struct.unpack(f"{order}I", data)[0]) if len(data) == 4 else 0


def _directory(file: IO[bytes], at: int, order: str) -> tuple[dict[int, tuple[int, ...]], int]:
    """Its numbers by their tags, and where the next one begins."""
    file.seek(at)
    head = file.read(2)
    count = int(struct.unpack(f"{order}H", head)[0]) if len(head) == 2 else 0
    entries = file.read(12 * min(count, _MAX_ENTRIES))
    following = _number(file.read(4), order)
    tags: dict[int, tuple[int, ...]] = {}
    for start in range(0, len(entries) - 11, 12):
        tag, kind, number = struct.unpack_from(f"{order}HHI", entries, start)
        if tag == _RW2_JPEG:
            tags[tag] = (_number(entries[start + 8 : start + 12], order), number)
        elif (
            kind in _FORMATS
            and 0 < number <= _MAX_VALUES
            and (values := _values(file, entries[start : start + 12], order))
        ):
            tags[tag] = values
    return tags, following


def _values(file: IO[bytes], entry: bytes, order: str) -> tuple[int, ...]:
    _, kind, number = struct.unpack_from(f"{order}HHI", entry)
    length, data = number * _SIZES[kind], entry[8:]
    if length > 4:
        file.seek(_number(data, order))
        data = file.read(length)
    if len(data) < length:
        return ()
    return tuple(
        int(value) for value in struct.unpack_from(f"{order}{number}{_FORMATS[kind]}", data)
    )
