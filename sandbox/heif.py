"""HEIF files (HEIC, AVIF) put together box by box, with pictures that PyAV's encoders have made."""

from __future__ import annotations

import io
import os
import struct
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import av
import numpy as np
from av.video.stream import VideoStream

from sandbox.stills import Pixels

ALPHA = b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha"
_IN_FILE, _IN_IDAT = 0, 1
_DISPENSABLE = frozenset(
    {b"ispe", b"colr", b"auxC"}
)  # readers that do not know others must not show the picture


def box(kind: bytes, content: bytes = b"") -> bytes:
    """One box."""
    return struct.pack(">I4s", 8 + len(content), kind) + content


def full_box(kind: bytes, content: bytes = b"", version: int = 0, flags: int = 0) -> bytes:
    """One box with a version and flags."""
    return box(kind, struct.pack(">I", version << 24 | flags) + content)


def turned(quarters: int) -> bytes:
    """Return the property that turns a picture anticlockwise."""
    return box(b"irot", bytes([quarters]))


def mirrored(axis: int) -> bytes:
    """Return the property that exchanges top and bottom (0), or left and right (1)."""
    return box(b"imir", bytes([axis]))


def cropped(width: int, height: int, right: int = 0, down: int = 0) -> bytes:
    """Return the property that leaves ``width`` x ``height`` pixels, whose centre is so far from
    that of the picture.
    """
    return box(b"clap", struct.pack(">8i", width, 1, height, 1, right, 1, down, 1))


def nclx(primaries: int, transfer: int, matrix: int, *, is_full: bool) -> bytes:
    """Return the property that tells colours by numbers."""
    return box(b"colr", b"nclx" + struct.pack(">HHHB", primaries, transfer, matrix, is_full << 7))


def profile(icc: bytes) -> bytes:
    """Return the property that holds a colour profile."""
    return box(b"colr", b"prof" + icc)


@dataclass(frozen=True)
class Coded:
    """One picture as an encoder makes it.

    ``kind`` of the item; ``configuration``: the property that the decoder needs.
    """

    kind: bytes
    configuration: bytes
    data: bytes
    width: int
    height: int


def coded(
    pixels: Pixels, codec: str = "libx265", pixel_format: str = "yuv420p", **options: str
) -> Coded:
    """``pixels`` (rows x columns, grey or RGB), encoded well."""
    kind, configuration, defaults = {
        "libx265": (
            b"hvc1",
            b"hvcC",
            {"x265-params": "log-level=none:info=0:bframes=0", "crf": "4", "preset": "ultrafast"},
        ),
        "libsvtav1": (b"av01", b"av1C", {"crf": "5", "preset": "10", "svtav1-params": "avif=1"}),
    }[codec]
    os.environ.setdefault("SVT_LOG", "1")  # it would tell all of its settings
    height, width = pixels.shape[:2]
    written = io.BytesIO()
    with closing(av.open(written, "w", format="mp4")) as container:
        stream = container.add_stream(codec, rate=1, options={**defaults, **options})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        source = av.VideoFrame.from_ndarray(pixels, format="gray" if pixels.ndim == 2 else "rgb24")
        frame = source.reformat(format=pixel_format)
        frame.pts = 0
        container.mux([*stream.encode(frame), *stream.encode(None)])
    content = written.getvalue()
    at = content.index(configuration) - 4
    (length,) = struct.unpack_from(">I", content, at)
    with closing(av.open(io.BytesIO(content), "r")) as made:
        data = next(bytes(packet) for packet in made.demux(video=0) if packet.size)
    return Coded(kind, content[at : at + length], data, width, height)


@dataclass
class _Item:
    kind: bytes
    data: bytes
    properties: list[bytes] = field(default_factory=list)
    references: list[tuple[bytes, list[int]]] = field(default_factory=list)


class HeifFile:
    """Items of one file; the first that is added is the one to show."""

    def __init__(self, brand: bytes = b"heic") -> None:
        self._brand = brand
        self._items: list[_Item] = []

    def add(self, picture: Coded, *properties: bytes, kind: bytes | None = None) -> int:
        """Return a coded picture. Returns its number."""
        size = full_box(b"ispe", struct.pack(">II", picture.width, picture.height))
        return self._add(
            _Item(kind or picture.kind, picture.data, [size, picture.configuration, *properties])
        )

    def add_grid(self, size: tuple[int, int], columns: int, rows: int, *properties: bytes) -> int:
        """Return a picture of ``size``, made of tiles that are added next, row by row.

        Returns its number.
        """
        payload = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, *size)
        tiles = list(range(len(self._items) + 2, len(self._items) + 2 + columns * rows))
        shape = full_box(b"ispe", struct.pack(">II", *size))
        return self._add(_Item(b"grid", payload, [shape, *properties], [(b"dimg", tiles)]))

    def refer(self, item: int, kind: bytes, *targets: int) -> None:
        """Add a reference from one item to others."""
        self._items[item - 1].references.append((kind, list(targets)))

    def _add(self, item: _Item) -> int:
        self._items.append(item)
        return len(self._items)

    def content(self) -> bytes:
        """Return the whole file: the pictures in ``mdat``, the lists of tiles in ``idat``."""
        brand = box(b"ftyp", self._brand + bytes(4) + b"mif1" + self._brand)
        data = b"".join(item.data for item in self._items if item.kind != b"grid")
        start = len(brand) + len(self._meta(0)) + 8
        return brand + self._meta(start) + box(b"mdat", data)

    def _meta(self, start: int) -> bytes:
        inside = (
            full_box(b"hdlr", bytes(4) + b"pict" + bytes(13)),
            full_box(b"pitm", struct.pack(">H", 1)),
            self._list(),
            self._references(),
            self._properties(),
            self._places(start),
            box(b"idat", b"".join(item.data for item in self._items if item.kind == b"grid")),
        )
        return full_box(b"meta", b"".join(inside))

    def _list(self) -> bytes:
        entries = (
            full_box(b"infe", struct.pack(">HH4sx", number, 0, item.kind), version=2)
            for number, item in enumerate(self._items, start=1)
        )
        return full_box(b"iinf", struct.pack(">H", len(self._items)) + b"".join(entries))

    def _references(self) -> bytes:
        entries = (
            box(kind, struct.pack(f">HH{len(targets)}H", number, len(targets), *targets))
            for number, item in enumerate(self._items, start=1)
            for kind, targets in item.references
        )
        return full_box(b"iref", b"".join(entries))

    def _properties(self) -> bytes:
        known: list[bytes] = list(
            dict.fromkeys(payload for item in self._items for payload in item.properties)
        )
        entries = b""
        for number, item in enumerate(self._items, start=1):
            indices = [
                known.index(payload) + 1 | (0 if payload[4:8] in _DISPENSABLE else 0x80)
                for payload in item.properties
            ]
            entries += struct.pack(f">HB{len(indices)}B", number, len(indices), *indices)
        associations = full_box(b"ipma", struct.pack(">I", len(self._items)) + entries)
        return box(b"iprp", box(b"ipco", b"".join(known)) + associations)

    def _places(self, start: int) -> bytes:
        at = {_IN_FILE: start, _IN_IDAT: 0}
        entries = b""
        for number, item in enumerate(self._items, start=1):
            method = _IN_IDAT if item.kind == b"grid" else _IN_FILE
            entries += struct.pack(">HHHHII", number, method, 0, 1, at[method], len(item.data))
            at[method] += len(item.data)
        return full_box(b"iloc", struct.pack(">HH", 0x4400, len(self._items)) + entries, version=1)


def heic(pixels: Pixels, *properties: bytes, alpha: Pixels | None = None, **encoding: Any) -> bytes:
    """Return a HEIC, or an AVIF by its codec, with one picture; ``alpha``: how much of each pixel
    is seen.
    """
    picture = coded(pixels, **encoding)
    file = HeifFile(b"avif" if picture.kind == b"av01" else b"heic")
    file.add(picture, *properties)
    if alpha is not None:
        layer = file.add(coded(alpha, **encoding), full_box(b"auxC", ALPHA + b"\0"))
        file.refer(layer, b"auxl", 1)
    return file.content()


def tiled(pixels: Pixels, tile: int, *properties: bytes, **encoding: Any) -> bytes:
    """Return the same in square tiles, of which those at the right and lower edge hang over."""
    height, width = pixels.shape[:2]
    columns, rows = -(-width // tile), -(-height // tile)
    whole = np.pad(
        pixels, ((0, rows * tile - height), (0, columns * tile - width), (0, 0)), mode="edge"
    )
    tiles = [
        coded(
            np.ascontiguousarray(
                whole[row * tile : (row + 1) * tile, column * tile : (column + 1) * tile]
            ),
            **encoding,
        )
        for row in range(rows)
        for column in range(columns)
    ]
    file = HeifFile(b"avif" if tiles[0].kind == b"av01" else b"heic")
    file.add_grid((width, height), columns, rows, *properties)
    for picture in tiles:
        file.add(picture)
    return file.content()
