"""One picture of a file, as a viewer would show it: opened, decoded no larger than needed, upright, in sRGB on grey."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from io import BufferedReader, BytesIO
from typing import IO

from PIL import Image, PngImagePlugin
from PIL.ImageFile import ImageFile

from vlm_engine.errors import MediaUnreadableError, MediaUnsupportedError
from vlm_engine.files import mapped, told_by
from vlm_engine.jpeg import fitted_size, over_grey
from vlm_engine.pictures.camera_raw import main_page
from vlm_engine.pictures.colours import as_srgb, declared_colours, plain
from vlm_engine.pictures.formats import (
    HEAD_BYTES,
    HEIF,
    JPEG,
    TIFF,
    WEBP,
    Kind,
    NotReadError,
    webp_size,
)
from vlm_engine.tone_mapping import CICP
from vlm_engine.types import ImageShape
from vlm_engine.watchdog import rest

MAX_JPEG_PIXELS = 500_000_000
_BAND_PIXELS = 4_000_000
_ORIENTATION = 0x0112
_NOT_OF_VIEWERS = ("xmp", "XML:com.adobe.xmp", "Raw profile type xmp", "Raw profile type exif")
_ORIENTATION_AROUND = "orientation of the file around it"
_TILE_WIDTH, _TILE_HEIGHT = 322, 323  # of a TIFF
_LEVELS = {
    "L;2": 85,
    "L;4": 17,
}  # Pillow reads greys of few bits as 8, but not which of them is transparent
_IN_SCANS = "in several scans"
_START_OF_SCAN = b"\xff\xda"
_USUAL_SCANS = 20  # twice as many as any program was seen to write
_MOST_SCANNED = 1_000_000_000  # pixels, over all scans
_PIECE_BYTES = 1024 * 1024
_CONVERT, _TOO_MANY = "convert it to JPEG or PNG", "too many pixels"
_GAP = 1.5  # reduced by whole numbers to no less than so many times what is wanted; the rest is resampled well

# Words and profiles in a PNG may take as much memory as Pillow grants all of them; 1 MB for each would be too little for some.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Maps what Pillow, PyAV and all the others raise to ``MediaUnreadableError`` about the picture called ``name``.

    A file that is not read, and need not be damaged, becomes ``MediaUnsupportedError``.
    """
    with mapped(name, "damaged picture"):
        try:
            yield
        except NotReadError as error:
            raise MediaUnsupportedError(
                f"{name}: {error}; {_CONVERT}", reason=str(error)
            ) from error
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise MediaUnsupportedError(
                f"{name}: {_TOO_MANY}: {error}", reason=_TOO_MANY
            ) from error


def opened_as(
    kind: Kind, content: BufferedReader | BytesIO, name: str, orientation: int = 1
) -> ImageFile:
    """The file's picture, of which only the header is decoded yet; the caller closes it, inside ``explained``.

    ``orientation``: how it is turned where it does not say it itself. Raises ``MediaUnsupportedError`` for one with more pixels
    than the limit of its kind.
    """
    content.seek(0)
    head = content.read(HEAD_BYTES)
    content.seek(0)
    if (
        kind is WEBP
    ):  # its decoder takes the memory for all pixels before it tells how many there are
        _check_pixels(webp_size(head), kind.most_pixels, kind, name)
    module, _, plugin = kind.plugin.rpartition(".")
    try:
        factory = getattr(import_module(module), plugin)
    except ImportError:
        raise MediaUnreadableError(
            f"{name}: {kind.name} pictures need a newer Pillow than the one installed"
        ) from None
    image = _opened(factory, content, kind)
    image.info[_ORIENTATION_AROUND] = orientation
    if (told := declared_colours(kind, content)) is not None:
        image.info[CICP] = told
    if kind is TIFF and (page := main_page(content, head)):
        image.seek(page)
    if isinstance(unseen := image.info.get("transparency"), int) and image.tile:
        image.info["transparency"] = unseen * _LEVELS.get(str(image.tile[0].args), 1)
    if kind is JPEG:
        image.info[_IN_SCANS] = "progressive" in image.info or _comes_in_scans(image, content)
        if image.info[_IN_SCANS]:
            _check_scans(image, content, name)
    check_size(image, kind, name)
    return image


def _opened(factory: Callable[[IO[bytes]], ImageFile], content: IO[bytes], kind: Kind) -> ImageFile:
    try:
        return factory(content)
    except (SyntaxError, KeyError) as error:
        if kind is HEIF or kind.otherwise is not None:
            raise
        told = f"damaged picture: {told_by(error)}, or a kind of {kind.name} that is not read here"
        raise NotReadError(told) from error


def _comes_in_scans(image: ImageFile, content: BufferedReader | BytesIO) -> bool:
    """Whether the first scan lacks some of the channels. Such a JPEG is held in memory as a whole, as a progressive one is."""
    channels = len(image.getbands())
    length = 6 + 2 * channels
    data_at = (
        content.tell()
    )  # behind the header of the first scan, which has this length if it has all channels
    content.seek(data_at - length)
    header = content.read(3)
    content.seek(data_at)
    return header != bytes((0, length, channels))


def _check_scans(image: ImageFile, content: BufferedReader | BytesIO, name: str) -> None:
    """Each scan goes over all pixels again, and takes a few bytes where it changes none: a small file could keep a processor busy
    for hours. Raises ``MediaUnreadableError`` for one that only such a file has."""
    position, scans, last = content.tell(), 0, b""
    content.seek(0)
    while piece := content.read(_PIECE_BYTES):
        scans += (last + piece).count(
            _START_OF_SCAN
        )  # nothing else in a picture's data looks like it
        last = piece[-1:]
    content.seek(position)
    rest()
    if scans > _USUAL_SCANS and scans * image.width * image.height > _MOST_SCANNED:
        told = f"a picture of {image.width} x {image.height} pixels in {scans} scans would take minutes to decode"
        raise MediaUnreadableError(f"{name}: {told}; save it as a plain JPEG")


def check_size(image: ImageFile, kind: Kind, name: str) -> None:
    """Raises ``MediaUnsupportedError`` when ``image`` has more pixels than the limit of its kind."""
    by_rows = kind is JPEG and not image.info[_IN_SCANS]
    _check_pixels(image.size, MAX_JPEG_PIXELS if by_rows else kind.most_pixels, kind, name)
    _check_pixels(_tile(image), kind.most_pixels, kind, name)


def _check_pixels(size: tuple[int, int], most: int, kind: Kind, name: str) -> None:
    width, height = size
    if width * height > most:
        limit = f"{width} x {height}, and the limit for {kind.name} is {most // 1_000_000} million"
        remedy = (
            "make it smaller"
            if most == MAX_JPEG_PIXELS
            else "make it smaller, or save it as a plain JPEG"
        )
        raise MediaUnsupportedError(f"{name}: {_TOO_MANY}: {limit}; {remedy}", reason=_TOO_MANY)


def _tile(image: ImageFile) -> tuple[int, int]:
    """The size of the tiles in which a TIFF lies in its file, which may be larger than the picture; (0, 0) where it has none."""
    width, height = (
        getattr(image, "tag_v2", {}).get(tag, 0) for tag in (_TILE_WIDTH, _TILE_HEIGHT)
    )
    return (width, height) if isinstance(width, int) and isinstance(height, int) else (0, 0)


def working_bytes(image: ImageFile, kind: Kind, longest: int) -> int:
    """About how much memory ``shown`` takes to decode it, in bytes."""
    pixels = image.width * image.height
    whole = pixels * kind.pixel_bytes if image.info.get(_IN_SCANS) else 0
    return (
        whole
        + math.prod(_tile(image)) * kind.pixel_bytes
        + pixels * kind.pixel_bytes // _scale(image, longest) ** 2
    )


def shown(image: ImageFile, longest: int) -> Image.Image:
    """What a viewer shows of the frame that ``image`` is at, as RGB.

    Where the file has as many, its longest side has at least ``longest`` pixels, and mostly no more than a few times as many.
    Raises what Pillow raises.
    """
    scale = _scale(image, longest)
    if scale > 1:
        image.draft(None, (image.width // scale, image.height // scale))
    image.load()
    orientation = _orientation(image)
    small = as_srgb(_reduced(image, _ample(image, longest)), image.info)
    turn = _UPRIGHT.get(orientation)
    return over_grey(small if turn is None else small.transpose(turn))


def _ample(image: Image.Image, longest: int) -> int:
    """How many times smaller ``image`` may be, and still have more pixels than are wanted."""
    width, height = fitted_size(*image.size, ImageShape(longest))
    return max(1, int(min(image.width / width, image.height / height) / _GAP))


def _scale(image: ImageFile, longest: int) -> int:
    """How many times smaller it is decoded: 1, or of a JPEG also 2, 4 or 8."""
    if image.format != JPEG.name:
        return 1
    ample, pixels = _ample(image, longest), image.width * image.height
    return next(
        (
            scale
            for scale in (8, 4, 2)
            if scale <= ample or pixels // (scale // 2) ** 2 > JPEG.most_pixels
        ),
        1,
    )


def _orientation(image: ImageFile) -> int:
    for words in _NOT_OF_VIEWERS:  # where Pillow would look for it, too, and browsers do not
        image.info.pop(words, None)
    around = image.info.get(_ORIENTATION_AROUND, 1)
    try:
        with mapped("its EXIF data"):
            told = image.getexif().get(_ORIENTATION)
    except MediaUnreadableError:
        return int(around)  # viewers show it as it lies in the file
    return told if isinstance(told, int) else int(around)


def _reduced(image: Image.Image, factor: int) -> Image.Image:
    """``image``, plain, ``factor`` times smaller; a large one in bands, so that it is never in memory twice."""
    make_plain = plain(image)
    if image.width * image.height <= _BAND_PIXELS:
        return make_plain(image).reduce(factor)
    rows = max(1, _BAND_PIXELS // (image.width * factor)) * factor
    reduced: Image.Image | None = None
    for top in range(0, image.height, rows):
        band = make_plain(image.crop((0, top, image.width, min(top + rows, image.height)))).reduce(
            factor
        )
        if reduced is None:
            reduced = Image.new(band.mode, (band.width, -(-image.height // factor)))
        reduced.paste(band, (0, top // factor))
    assert reduced is not None
    return reduced
