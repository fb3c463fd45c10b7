"""Picture formats, recognized by a file's first bytes and not by its name. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vlm_engine.files import SignalError

HEAD_BYTES = 512
WORKING_BYTES = 2**30
"""Memory that decoding may take, over all pictures that are being decoded at once."""
MAX_FILE_BYTES = 2 * 2**30
_MAX_WHOLE_BYTES = 256 * 2**20  # for decoders that have all of the file in memory


class NotReadError(SignalError):
    """The file may be fine but is not read here; the message says what it is, without its name."""


class VideoInsideError(SignalError):
    """A file that looks like a picture holds a video."""


@dataclass(frozen=True, slots=True)
class Format:
    """Picture format that is read.

    ``plugin`` is Pillow's class for it, or a similar one. ``pixel_bytes`` is the memory that
    decoding takes for each pixel. ``fallback`` is the format in which a file is read that
    ``plugin`` refuses. A file longer than ``max_bytes`` is refused.
    """

    name: str
    plugin: str
    pixel_bytes: int
    fallback: Format | None = None
    max_bytes: int = MAX_FILE_BYTES

    def animated(self) -> Format:
        """Return the format of its animations, whose frames are in memory several times."""
        return replace(self, name=f"moving {self.name}", pixel_bytes=16)

    @property
    def max_pixels(self) -> int:
        """Return how many pixels fit into ``WORKING_BYTES``."""
        return WORKING_BYTES // self.pixel_bytes


JPEG = Format("JPEG", "PIL.JpegImagePlugin.JpegImageFile", 6)
PNG = Format("PNG", "PIL.PngImagePlugin.PngImageFile", 6)
# WebP and AVIF take several canvases.
WEBP = Format("WebP", "PIL.WebPImagePlugin.WebPImageFile", 16, max_bytes=_MAX_WHOLE_BYTES)
HEIF = Format("HEIF", "vlm_engine.pictures.heif.HeifFile", 12)
AVIF = Format("AVIF", "PIL.AvifImagePlugin.AvifImageFile", 16, HEIF, _MAX_WHOLE_BYTES)
_GIF = Format("GIF", "PIL.GifImagePlugin.GifImageFile", 12)
TIFF = Format("TIFF", "PIL.TiffImagePlugin.TiffImageFile", 12)
_BMP = Format("BMP", "PIL.BmpImagePlugin.BmpImageFile", 6)
_JPEG2000 = Format("JPEG 2000", "PIL.Jpeg2KImagePlugin.Jpeg2KImageFile", 20)
_PPM = Format("PPM", "PIL.PpmImagePlugin.PpmImageFile", 6)
_QOI = Format("QOI", "PIL.QoiImagePlugin.QoiImageFile", 6)

_MAGIC: dict[Format, tuple[bytes, ...]] = {
    JPEG: (b"\xff\xd8\xff",),
    PNG: (b"\x89PNG\r\n\x1a\n",),
    _GIF: (b"GIF87a", b"GIF89a"),
    TIFF: (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    _BMP: (b"BM",),
    _JPEG2000: (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"),
    _PPM: (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6"),
    _QOI: (b"qoif",),
}
_HEIF_BRANDS = frozenset(b"heic heix heim heis hevc hevx hevm hevs mif1 mif2 msf1 avci".split())
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_RAW_BRANDS = frozenset({b"crx "})
# Matroska, FLV, Ogg, ASF, MPEG program and video streams.
_VIDEO_MAGIC = (
    b"\x1aE\xdf\xa3",
    b"FLV\x01",
    b"OggS",
    b"0&\xb2u\x8ef\xcf\x11",
    b"\0\0\x01\xba",
    b"\0\0\x01\xb3",
)
_VIDEO_BOXES = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip"})
_TS_PACKETS = (188, 192)  # the longer ones begin with 4 bytes of the time

_NOT_READ = {
    b"8BPS": "a Photoshop document",
    b"\xff\x0a": "a JPEG XL picture",
    b"\0\0\0\x0cJXL \r\n\x87\n": "a JPEG XL picture",
    b"<svg": "an SVG drawing",
    b"%PDF": "a PDF document",
    b"%!PS": "a PostScript document",
    b"\0\0\x01\0": "a Windows icon",
}
_NO_PICTURE = {
    b"PK\x03\x04": "a zip, and no picture",
    b"Rar!": "a RAR archive, and no picture",
    b"7z\xbc\xaf": "a 7z archive, and no picture",
    b"<!doctype html": "a web page, and no picture",
    b"<html": "a web page, and no picture",
}


def format_of(head: bytes) -> Format | None:
    """Return the format of a file with these first bytes; None if it is not read as a picture."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WEBP
    if _brands(head) & _AVIF_BRANDS:
        return AVIF
    if _brands(head) & _HEIF_BRANDS:
        return HEIF
    return next((each for each, magic in _MAGIC.items() if head.startswith(magic)), None)


def webp_size(head: bytes) -> tuple[int, int]:
    """Return width and height of a WebP file with these first bytes."""

    def number(start: int, end: int) -> int:
        return int.from_bytes(head[start:end], "little")

    if head[12:16] == b"VP8X":
        return number(24, 27) + 1, number(27, 30) + 1
    if head[12:16] == b"VP8L":
        bits = number(21, 25)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return number(26, 28) & 0x3FFF, number(28, 30) & 0x3FFF


def is_video(head: bytes) -> bool:
    """Return whether these are the first bytes of a video, not of a picture."""
    if format_of(head) is not None:
        return False
    if head[4:8] == b"ftyp":
        return not _brands(head) & _RAW_BRANDS
    is_avi = head[:4] == b"RIFF" and head[8:12] == b"AVI "
    is_ts = any(head[length - 188 :: length][:2] == b"GG" for length in _TS_PACKETS)
    return is_avi or is_ts or head[4:8] in _VIDEO_BOXES or head.startswith(_VIDEO_MAGIC)


def describe_unread(head: bytes) -> str:
    """Return for a message what a file holds that is no picture.

    Raises ``NotReadError`` if another program may show it as a picture.
    """
    start = head.lstrip().lower() if head.lstrip()[:1] == b"<" else head
    for magic, name in (_NO_PICTURE | _NOT_READ).items():
        if start.startswith(magic):
            if magic in _NO_PICTURE:
                return name
            raise NotReadError(f"{name}, which is not read")
    raise NotReadError("not a picture of a known format")


def _brands(head: bytes) -> frozenset[bytes]:
    """Return the brands that an ISO base media file says it fits; none for another file."""
    if head[4:8] != b"ftyp":
        return frozenset()
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return frozenset({head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4))})
