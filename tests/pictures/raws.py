"""Camera raw files as cameras write them: a TIFF that begins with a thumbnail."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence

from PIL import Image

from sandbox.stills import saved, scene
from tests.pictures.stored import exif_of

Tags = dict[int, Sequence[int] | bytes]
Size = tuple[int, int]

SENSOR = 32803


class Tiff:
    """TIFF that is put together directory by directory."""

    def __init__(self, magic: bytes = b"MM\0*") -> None:
        self._order = "<" if magic.startswith(b"II") else ">"
        self._content = bytearray(
            magic + bytes(4) + (b"CR\2\0" + bytes(4) if magic.endswith(b"CR") else b"")
        )

    def data(self, content: bytes) -> int:
        """Add data, and return where it is."""
        at = len(self._content)
        self._content += content + bytes(-len(content) % 2)
        return at

    def directory(self, values: Tags, following: int = 0) -> int:
        """Add a directory, and return where it is; numbers are LONG, bytes UNDEFINED."""
        entries = []
        for tag, value in sorted(values.items()):
            kind, packed = 7, value
            if not isinstance(value, bytes):
                kind, packed = 4, struct.pack(f"{self._order}{len(value)}I", *value)
            place = packed.ljust(4, b"\0")
            if len(packed) > 4:
                place = struct.pack(f"{self._order}I", self.data(packed))
            entries.append(struct.pack(f"{self._order}HHI", tag, kind, len(value)) + place)
        head = struct.pack(f"{self._order}H", len(entries))
        return self.data(head + b"".join(entries) + struct.pack(f"{self._order}I", following))

    def content(self, first: int) -> bytes:
        """The file whose first directory is there."""
        self._content[4:8] = struct.pack(f"{self._order}I", first)
        return bytes(self._content)


def thumbnail(tiff: Tiff, side: tuple[int, int] = (160, 120)) -> Tags:
    """The values of a small picture, green all over, as it lies in the file."""
    pixels = Image.new("RGB", side, (0, 200, 0)).tobytes()
    return described(side, 1, 2, 3) | {254: [1]} | strip(tiff, pixels)


def sensor(tiff: Tiff, size: tuple[int, int]) -> Tags:
    """The values of what the sensor saw."""
    return described(size, 7, SENSOR, 1) | {254: [0], 258: [16]} | strip(tiff, bytes(100))


def described(size: Size, compression: int, photometric: int, channels: int) -> Tags:
    """The values that say how a picture is stored."""
    width, height = size
    return {
        256: [width],
        257: [height],
        258: [8] * channels,
        259: [compression],
        262: [photometric],
        277: [channels],
        278: [height],
    }


def strip(tiff: Tiff, content: bytes) -> Tags:
    """The values of one strip of data."""
    return {273: [tiff.data(content)], 279: [len(content)]}


def jpeg(tiff: Tiff, content: bytes) -> Tags:
    """The values of a JPEG that is no strip."""
    return {513: [tiff.data(content)], 514: [len(content)]}


def preview(size: tuple[int, int]) -> bytes:
    """The camera's own JPEG of the scene."""
    return saved(Image.fromarray(scene(*size)), "JPEG", quality=95)


def nef(content: bytes | None, size: Size = (6000, 4000), orientation: int = 1) -> bytes:
    """Nikon: a thumbnail, and in directories inside it a JPEG and the sensor's data."""
    tiff = Tiff(b"MM\0*")
    inner = [tiff.directory(sensor(tiff, size))]
    if content is not None:
        inner.insert(0, tiff.directory({254: [1], 259: [6], **jpeg(tiff, content)}))
    more: Tags = {271: b"NIKON CORPORATION\0", 274: [orientation], 330: inner}
    return tiff.content(tiff.directory({**thumbnail(tiff), **more}))


def dng(content: bytes | None, size: Size = (6000, 4000), orientation: int = 1) -> bytes:
    """Adobe: the same, with the JPEG in a strip."""
    tiff = Tiff(b"II*\0")
    inner = [tiff.directory(sensor(tiff, size))]
    if content is not None:
        inner.append(tiff.directory({254: [1], 259: [7], 262: [6], **strip(tiff, content)}))
    more: Tags = {274: [orientation], 330: inner, 50706: bytes((1, 4, 0, 0))}
    return tiff.content(tiff.directory({**thumbnail(tiff, (256, 171)), **more}))


def arw(content: bytes | None, size: Size = (6000, 4000), orientation: int = 1) -> bytes:
    """Sony: a JPEG, a smaller one behind it, the sensor's data inside."""
    tiff, small = Tiff(b"II*\0"), preview((160, 120))
    inner = [tiff.directory(sensor(tiff, size))]
    second = tiff.directory({254: [1], 259: [6], **jpeg(tiff, small)})
    more: Tags = {254: [1], 259: [6], 274: [orientation], 330: inner}
    return tiff.content(tiff.directory({**more, **jpeg(tiff, content or small)}, second))


def cr2(content: bytes | None, size: Size = (6000, 4000), orientation: int = 1) -> bytes:
    """Canon: a JPEG, a thumbnail, and the sensor's data packed as a lossless JPEG."""
    tiff, small = Tiff(b"II*\0\x10\0\0\0CR"), preview((160, 120))
    lossless = small.replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc3\x00\x11\x0e", 1)
    last = tiff.directory({259: [6], **strip(tiff, lossless)})
    second = tiff.directory(jpeg(tiff, small), last)
    first: Tags = {256: [size[0]], 257: [size[1]], 259: [6], 274: [orientation]}
    return tiff.content(tiff.directory({**first, **strip(tiff, content or small)}, second))


def raf(content: bytes | None, size: Size = (6000, 4000), orientation: int = 1) -> bytes:
    """Fujifilm, which is no TIFF: its head points to the JPEG, which has the orientation itself."""
    with Image.open(io.BytesIO(content or preview((160, 120)))) as image:
        inner = saved(image, "JPEG", quality=95, exif=exif_of(orientation))
    head = b"FUJIFILMCCD-RAW 0201".ljust(84, b"\0") + struct.pack(">II", 160, len(inner))
    return head.ljust(160, b"\0") + inner


MAKERS = {"goal.nef": nef, "goal.dng": dng, "goal.arw": arw, "goal.cr2": cr2, "goal.raf": raf}
