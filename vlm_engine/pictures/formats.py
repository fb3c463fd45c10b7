"""What a file is, told by its first bytes and not by its name. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vlm_engine.files import AsideError

HEAD_BYTES = 512
WORKING_BYTES = 2**30
"""So much memory decoding may take, over all pictures that are being decoded at once."""
MAX_FILE_BYTES = 2 * 2**30
_TAKEN_WHOLE_BYTES = 256 * 2**20  # its decoder has all of the file in memory


class NotReadError(AsideError):
    """There may be nothing wrong with a file, but it is not read here. The message says what it is, without its name."""


class VideoInsideError(AsideError):
    """A file that looks like a picture holds a video instead."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A format that is read. ``plugin``: Pillow's class for it, or one like those. ``pixel_bytes``: memory per pixel that
    decoding takes. ``otherwise``: as what a file is read that ``plugin`` refuses. ``most_bytes``: a longer file is refused."""

    name: str
    plugin: str
    pixel_bytes: int
    otherwise: Kind | None = None
    most_bytes: int = MAX_FILE_BYTES

    def moving(self) -> Kind:
        """The same as a moving picture: its frames are laid over each other, and so there several times."""
        return replace(self, name=f"moving {self.name}", pixel_bytes=16)

    @property
    def most_pixels(self) -> int:
        """A picture with more of them would not fit into ``WORKING_BYTES``."""
        return WORKING_BYTES // self.pixel_bytes


JPEG = Kind("JPEG", "PIL.JpegImagePlugin.JpegImageFile", 6)
PNG = Kind("PNG", "PIL.PngImagePlugin.PngImageFile", 6)
WEBP = Kind(
    "WebP", "PIL.WebPImagePlugin.WebPImageFile", 16, most_bytes=_TAKEN_WHOLE_BYTES
)  # several canvases
HEIF = Kind("HEIF", "vlm_engine.pictures.heif.HeifFile", 12)
AVIF = Kind(
    "AVIF", "PIL.AvifImagePlugin.AvifImageFile", 16, otherwise=HEIF, most_bytes=_TAKEN_WHOLE_BYTES
)
_GIF = Kind("GIF", "PIL.GifImagePlugin.GifImageFile", 12)
TIFF = Kind("TIFF", "PIL.TiffImagePlugin.TiffImageFile", 12)
_BMP = Kind("BMP", "PIL.BmpImagePlugin.BmpImageFile", 6)
_JPEG2000 = Kind("JPEG 2000", "PIL.Jpeg2KImagePlugin.Jpeg2KImageFile", 20)
_PPM = Kind("PPM", "PIL.PpmImagePlugin.PpmImageFile", 6)
_QOI = Kind("QOI", "PIL.QoiImagePlugin.QoiImageFile", 6)

_BY_MAGIC = (
    (b"\xff\xd8\xff", JPEG),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"GIF87a", _GIF),
    (b"GIF89a", _GIF),
    (b"II*\0", TIFF),
    (b"MM\0*", TIFF),
    (b"II+\0", TIFF),
    (b"MM\0+", TIFF),
    (b"BM", _BMP),
    (b"\0\0\0\x0cjP  \r\n\x87\n", _JPEG2000),
    (b"\xff\x4f\xff\x51", _JPEG2000),
    (b"P1", _PPM),
    (b"P2", _PPM),
    (b"P3", _PPM),
    (b"P4", _PPM),
    (b"P5", _PPM),
    (b"P6", _PPM),
    (b"qoif", _QOI),
)
_HEIF_BRANDS = frozenset(b"heic heix heim heis hevc hevx hevm hevs mif1 mif2 msf1 avci".split())
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_RAW_BRANDS = frozenset({b"crx "})
_CLIP_MAGIC = (
    b"\x1aE\xdf\xa3",
    b"FLV\x01",
    b"OggS",
    b"0&\xb2u\x8ef\xcf\x11",
    b"\0\0\x01\xba",
    b"\0\0\x01\xb3",
)
_CLIP_BOXES = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip"})
_TS_PACKETS = (188, 192)  # the longer ones begin with 4 bytes of the time

_NOT_READ = (
    (b"8BPS", "a Photoshop document"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture"),
    (b"<svg", "an SVG drawing"),
    (b"%PDF", "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"\0\0\x01\0", "a Windows icon"),
)
_NO_PICTURE = (
    (b"PK\x03\x04", "a zip, and no picture"),
    (b"Rar!", "a RAR archive, and no picture"),
    (b"7z\xbc\xaf", "a 7z archive, and no picture"),
    (b"<!doctype html", "a web page, and no picture"),
    (b"<html", "a web page, and no picture"),
)


def kind_of(head: bytes) -> Kind | None:
    """The format that a file with these first bytes has; None for one that is not read as a picture."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WEBP
    if _brands(head) & _AVIF_BRANDS:
        return AVIF
    if _brands(head) & _HEIF_BRANDS:
        return HEIF
    return next((kind for magic, kind in _BY_MAGIC if head.startswith(magic)), None)


def webp_size(head: bytes) -> tuple[int, int]:
    """Width and height of a WebP file with these first bytes; (0, 0) where they do not tell."""
    if head[12:16] == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(
        head[28:30], "little"
    ) & 0x3FFF


def is_clip(head: bytes) -> bool:
    """Whether these are the first bytes of a video, and not of a picture."""
    if kind_of(head) is not None:
        return False
    if head[4:8] == b"ftyp":
        return not _brands(head) & _RAW_BRANDS
    is_avi = head[:4] == b"RIFF" and head[8:12] == b"AVI "
    is_ts = any(head[length - 188 :: length][:2] == b"GG" for length in _TS_PACKETS)
    return is_avi or is_ts or head[4:8] in _CLIP_BOXES or head.startswith(_CLIP_MAGIC)


def what_it_is(head: bytes) -> str:
    """For a message: what a file that is not read holds. Raises ``NotReadError`` where another program may show it."""
    start = head.lstrip().lower() if head.lstrip()[:1] == b"<" else head
    for magic, name in _NO_PICTURE:
        if start.startswith(magic):
            return name
    for magic, name in _NOT_READ:
        if start.startswith(magic):
            raise NotReadError(f"{name}, which is not read")
    raise NotReadError("not a picture of a known format")


def _brands(head: bytes) -> frozenset[bytes]:
    """The brands that an ISO base media file says it fits; none for another file."""
    if head[4:8] != b"ftyp":
        return frozenset()
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return frozenset({head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4))})
