"""Camera raw files as cameras lay them out: a TIFF whose first picture is a thumbnail, with the sensor's data further on."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping, Sequence

from PIL import Image

from sandbox.stills import saved, scene

Values = Mapping[int, Sequence[int] | bytes]

SENSOR = 32803


class Tiff:
    """A TIFF that is put together directory by directory; each gets the place of its data where it says so."""

    def __init__(self, magic: bytes = b"MM\0*") -> None:
        self._order = "<" if magic.startswith(b"II") else ">"
        self._content = bytearray(
            magic + bytes(4) + (b"CR\2\0" + bytes(4) if magic.endswith(b"CR") else b"")
        )

    def data(self, content: bytes) -> int:
        """Where ``content`` lies from now on."""
        at = len(self._content)
        self._content += content + bytes(-len(content) % 2)
        return at

    def directory(self, values: Values, following: int = 0) -> int:
        """Where the directory with these values lies; a number is a LONG, bytes are UNDEFINED."""
        entries = []
        for tag, told in sorted(values.items()):
            kind, count = (7, len(told)) if isinstance(told, bytes) else (4, len(told))
            packed = (
                told if isinstance(told, bytes) else struct.pack(f"{self._order}{count}I", *told)
            )
            place = (
                packed.ljust(4, b"\0")
                if len(packed) <= 4
                else struct.pack(f"{self._order}I", self.data(packed))
            )
            entries.append(struct.pack(f"{self._order}HHI", tag, kind, count) + place)
        head = struct.pack(f"{self._order}H", len(entries))
        return self.data(head + b"".join(entries) + struct.pack(f"{self._order}I", following))

    def content(self, first: int) -> bytes:
        """The file, whose first directory lies there."""
        self._content[4:8] = struct.pack(f"{self._order}I", first)
        return bytes(self._content)


def thumbnail(tiff: Tiff, side: tuple[int, int] = (160, 120)) -> dict[int, Sequence[int] | bytes]:
    """The values of a small picture, green all over, as it lies in the file."""
    pixels = Image.new("RGB", side, (0, 200, 0)).tobytes()
    sizes = {
        254: [1],
        256: [side[0]],
        257: [side[1]],
        258: [8, 8, 8],
        259: [1],
        262: [2],
        277: [3],
        278: [side[1]],
    }
    return {**sizes, 273: [tiff.data(pixels)], 279: [len(pixels)]}


def sensor(tiff: Tiff, size: tuple[int, int]) -> dict[int, Sequence[int] | bytes]:
    """The values of what the sensor saw."""
    told = {
        254: [0],
        256: [size[0]],
        257: [size[1]],
        258: [16],
        259: [7],
        262: [SENSOR],
        277: [1],
        278: [size[1]],
    }
    return {**told, 273: [tiff.data(bytes(100))], 279: [100]}


def preview(size: tuple[int, int]) -> bytes:
    """The camera's own JPEG of the scene."""
    return saved(Image.fromarray(scene(*size)), "JPEG", quality=95)


def nef(shown: bytes | None, size: tuple[int, int] = (6000, 4000), orientation: int = 1) -> bytes:
    """Nikon: a thumbnail, and in directories inside it a JPEG and the sensor's data."""
    tiff = Tiff(b"MM\0*")
    inner = [tiff.directory(sensor(tiff, size))]
    if shown is not None:
        inner.insert(
            0, tiff.directory({254: [1], 259: [6], 513: [tiff.data(shown)], 514: [len(shown)]})
        )
    return tiff.content(
        tiff.directory(
            {**thumbnail(tiff), 271: b"NIKON CORPORATION\0", 274: [orientation], 330: inner}
        )
    )


def dng(shown: bytes | None, size: tuple[int, int] = (6000, 4000), orientation: int = 1) -> bytes:
    """Adobe: the same, with the JPEG in a strip."""
    tiff = Tiff(b"II*\0")
    inner = [tiff.directory(sensor(tiff, size))]
    if shown is not None:
        inner.append(
            tiff.directory(
                {254: [1], 259: [7], 262: [6], 273: [tiff.data(shown)], 279: [len(shown)]}
            )
        )
    first = {
        **thumbnail(tiff, (256, 171)),
        274: [orientation],
        330: inner,
        50706: bytes((1, 4, 0, 0)),
    }
    return tiff.content(tiff.directory(first))


def arw(shown: bytes | None, size: tuple[int, int] = (6000, 4000), orientation: int = 1) -> bytes:
    """Sony: a JPEG, a smaller one behind it, the sensor's data inside."""
    tiff, small = Tiff(b"II*\0"), preview((160, 120))
    inner = [tiff.directory(sensor(tiff, size))]
    second = tiff.directory({254: [1], 259: [6], 513: [tiff.data(small)], 514: [len(small)]})
    jpeg = shown or small
    first = {
        254: [1],
        259: [6],
        274: [orientation],
        330: inner,
        513: [tiff.data(jpeg)],
        514: [len(jpeg)],
    }
    return tiff.content(tiff.directory(first, second))


def cr2(shown: bytes | None, size: tuple[int, int] = (6000, 4000), orientation: int = 1) -> bytes:
    """Canon: a JPEG, a thumbnail, and the sensor's data packed as a lossless JPEG."""
    tiff, small = Tiff(b"II*\0\x10\0\0\0CR"), preview((160, 120))
    lossless = small.replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc3\x00\x11\x0e", 1)
    last = tiff.directory({259: [6], 273: [tiff.data(lossless)], 279: [len(lossless)]})
    second = tiff.directory({513: [tiff.data(small)], 514: [len(small)]}, last)
    jpeg = shown or small
    first = {
        256: [size[0]],
        257: [size[1]],
        259: [6],
        274: [orientation],
        273: [tiff.data(jpeg)],
        279: [len(jpeg)],
    }
    return tiff.content(tiff.directory(first, second))


def raf(shown: bytes | None, size: tuple[int, int] = (6000, 4000), orientation: int = 1) -> bytes:
    """Fujifilm, which is no TIFF: where the JPEG lies is told at the beginning. It says by itself how it is turned."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    jpeg = preview((160, 120)) if shown is None else shown
    with Image.open(io.BytesIO(jpeg)) as image:
        jpeg = saved(image, "JPEG", quality=95, exif=exif)
    head = b"FUJIFILMCCD-RAW 0201".ljust(84, b"\0") + struct.pack(">II", 160, len(jpeg))
    return head.ljust(160, b"\0") + jpeg


MAKERS = {"goal.nef": nef, "goal.dng": dng, "goal.arw": arw, "goal.cr2": cr2, "goal.raf": raf}
