"""Read one picture of a file as a viewer shows it: upright, in sRGB, on grey, no larger than
needed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from io import BufferedReader, BytesIO

from PIL import Image, PngImagePlugin
from PIL.ImageFile import ImageFile

from vlm_engine.errors import MediaUnreadableError, MediaUnsupportedError
from vlm_engine.files import describe_error, media_errors
from vlm_engine.jpeg import fitted_size, over_grey
from vlm_engine.pictures.camera_raw import main_page
from vlm_engine.pictures.colours import as_srgb, declared_colours, to_8_bits
from vlm_engine.pictures.formats import (
    HEAD_BYTES,
    HEIF,
    JPEG,
    TIFF,
    WEBP,
    Format,
    NotReadError,
    webp_size,
)
from vlm_engine.tone_mapping import CICP
from vlm_engine.types import ImageShape
from vlm_engine.watchdog import pause

MAX_JPEG_PIXELS = 500_000_000
_BAND_PIXELS = 4_000_000
_ORIENTATION = 0x0112
# Pillow also reads the orientation from these; browsers do not.
_IGNORED_INFO = ("xmp", "XML:com.adobe.xmp", "Raw profile type xmp", "Raw profile type exif")
_OUTER_ORIENTATION = "orientation of the file around it"
_TILE_WIDTH, _TILE_HEIGHT = 322, 323  # tags of a TIFF
# Pillow reads greys of few bits as 8, but not which of them is transparent.
_GREY_STEPS = {"L;2": 85, "L;4": 17}
_IN_SCANS = "in several scans"
_START_OF_SCAN = b"\xff\xda"
_USUAL_SCANS = 20  # twice as many as any program was seen to write
_MAX_SCANNED_PIXELS = 1_000_000_000  # over all scans
_CHUNK_BYTES = 1024 * 1024
_TOO_MANY = "too many pixels"
_MARGIN = 1.5  # reduced by a whole number to at least this many times the size; then resampled

# Texts and profiles in a PNG may take as much memory as Pillow grants to all of them; its 1 MB for
# each is too little for some files.
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
def picture_errors(name: str) -> Iterator[None]:
    """Translate what Pillow, PyAV and others raise into ``MediaUnreadableError`` about ``name``.

    A file that is not read, but may be sound, becomes ``MediaUnsupportedError``.
    """
    with media_errors(name, "damaged picture"):
        try:
            yield
        except NotReadError as error:
            raise MediaUnsupportedError(
                f"{name}: {error}; convert it to JPEG or PNG", reason=str(error)
            ) from error
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise MediaUnsupportedError(
                f"{name}: {_TOO_MANY}: {error}", reason=_TOO_MANY
            ) from error


def open_picture(
    form: Format, file: BufferedReader | BytesIO, name: str, orientation: int = 1
) -> ImageFile:
    """Open a picture and decode its header only; close it inside ``picture_errors``.

    ``orientation`` counts if the picture has none itself. Raises ``MediaUnsupportedError`` if it
    has more pixels than the limit of its format.
    """
    file.seek(0)
    head = file.read(HEAD_BYTES)
    file.seek(0)
    if form is WEBP:  # its decoder allocates all pixels before it tells how many there are
        _check_pixels(webp_size(head), form.max_pixels, form, name)
    module, _, plugin = form.plugin.rpartition(".")
    try:
        factory = getattr(import_module(module), plugin)
    except ImportError:
        raise MediaUnreadableError(
            f"{name}: {form.name} pictures need a newer Pillow than the one installed"
        ) from None
    try:
        image: ImageFile = factory(file)
    except (SyntaxError, KeyError) as error:
        if form is HEIF or form.fallback is not None:
            raise
        raise NotReadError(
            f"damaged picture: {describe_error(error)}, "
            f"or a kind of {form.name} that is not read here"
        ) from error
    image.info[_OUTER_ORIENTATION] = orientation
    if (colours := declared_colours(form, file)) is not None:
        image.info[CICP] = colours
    if form is TIFF and (page := main_page(file, head)):
        image.seek(page)
    if isinstance(grey := image.info.get("transparency"), int) and image.tile:
        image.info["transparency"] = grey * _GREY_STEPS.get(str(image.tile[0].args), 1)
    if form is JPEG:
        image.info[_IN_SCANS] = "progressive" in image.info or _splits_channels(image, file)
        if image.info[_IN_SCANS]:
            _check_scans(image, file, name)
    check_size(image, form, name)
    return image


def _splits_channels(image: ImageFile, file: BufferedReader | BytesIO) -> bool:
    """Return whether the first scan lacks channels; such a JPEG is in memory as a whole, too."""
    channels = len(image.getbands())
    length = 6 + 2 * channels
    data_at = file.tell()  # behind the first scan's header, so long if it has all channels
    file.seek(data_at - length)
    header = file.read(3)
    file.seek(data_at)
    return header != bytes((0, length, channels))


def _check_scans(image: ImageFile, file: BufferedReader | BytesIO, name: str) -> None:
    """Raise ``MediaUnreadableError`` if decoding all scans would take minutes.

    Each scan goes over all pixels again, but may take only a few bytes: a small file could keep a
    processor busy for hours.
    """
    position, scans, last = file.tell(), 0, b""
    file.seek(0)
    while chunk := file.read(_CHUNK_BYTES):
        scans += (last + chunk).count(_START_OF_SCAN)  # nothing else in a JPEG looks like it
        last = chunk[-1:]
    file.seek(position)
    pause()
    if scans > _USUAL_SCANS and scans * image.width * image.height > _MAX_SCANNED_PIXELS:
        raise MediaUnreadableError(
            f"{name}: a picture of {image.width} x {image.height} pixels in {scans} scans would "
            "take minutes to decode; save it as a plain JPEG"
        )


def check_size(image: ImageFile, form: Format, name: str) -> None:
    """Raise ``MediaUnsupportedError`` if ``image`` has more pixels than the limit of its format."""
    by_rows = form is JPEG and not image.info[_IN_SCANS]
    _check_pixels(image.size, MAX_JPEG_PIXELS if by_rows else form.max_pixels, form, name)
    _check_pixels(_tile(image), form.max_pixels, form, name)


def _check_pixels(size: tuple[int, int], most: int, form: Format, name: str) -> None:
    width, height = size
    if width * height > most:
        limit = f"{width} x {height}, and the limit for {form.name} is {most // 1_000_000} million"
        remedy = "" if most == MAX_JPEG_PIXELS else ", or save it as a plain JPEG"
        raise MediaUnsupportedError(
            f"{name}: {_TOO_MANY}: {limit}; make it smaller{remedy}", reason=_TOO_MANY
        )


def _tile(image: ImageFile) -> tuple[int, int]:
    """Return the size of a TIFF's tiles, which may exceed the picture; (0, 0) if it has none."""
    tags = getattr(image, "tag_v2", {})
    width, height = tags.get(_TILE_WIDTH, 0), tags.get(_TILE_HEIGHT, 0)
    return (width, height) if isinstance(width, int) and isinstance(height, int) else (0, 0)


def working_bytes(image: ImageFile, form: Format, longest: int) -> int:
    """Return about how much memory ``render`` takes, in bytes."""
    pixels = image.width * image.height
    whole = pixels if image.info.get(_IN_SCANS) else 0
    tile, scaled = math.prod(_tile(image)), pixels * form.pixel_bytes // _scale(image, longest) ** 2
    return (whole + tile) * form.pixel_bytes + scaled


def render(image: ImageFile, longest: int) -> Image.Image:
    """Return what a viewer shows of the current frame of ``image``, as RGB.

    If the file has them, its longest side has at least ``longest`` pixels, and mostly no more than
    a few times as many. Raises what Pillow raises.
    """
    scale = _scale(image, longest)
    if scale > 1:
        image.draft(None, (image.width // scale, image.height // scale))
    image.load()
    orientation = _orientation(image)
    small = as_srgb(_reduce(image, _reduction(image, longest)), image.info)
    transpose = _UPRIGHT.get(orientation)
    return over_grey(small if transpose is None else small.transpose(transpose))


def _reduction(image: Image.Image, longest: int) -> int:
    """Return by which whole number ``image`` may be reduced and still have pixels to spare."""
    width, height = fitted_size(*image.size, ImageShape(longest))
    return max(1, int(min(image.width / width, image.height / height) / _MARGIN))


def _scale(image: ImageFile, longest: int) -> int:
    """Return how many times smaller it is decoded: 1, or for a JPEG also 2, 4 or 8."""
    if image.format != JPEG.name:
        return 1
    reduction, pixels = _reduction(image, longest), image.width * image.height
    return next(
        (
            scale
            for scale in (8, 4, 2)
            if scale <= reduction or pixels // (scale // 2) ** 2 > JPEG.max_pixels
        ),
        1,
    )


def _orientation(image: ImageFile) -> int:
    for key in _IGNORED_INFO:
        image.info.pop(key, None)
    outer = int(image.info.get(_OUTER_ORIENTATION, 1))
    try:
        with media_errors("its EXIF data"):
            inner = image.getexif().get(_ORIENTATION)
    except MediaUnreadableError:
        return outer  # viewers show it as it is in the file
    return inner if isinstance(inner, int) else outer


def _reduce(image: Image.Image, factor: int) -> Image.Image:
    """Return ``image`` with 8 bits, ``factor`` times smaller.

    A large one is processed in bands, so that it is never in memory twice.
    """
    convert = to_8_bits(image)
    rows = image.height
    if image.width * image.height > _BAND_PIXELS:
        rows = max(1, _BAND_PIXELS // (image.width * factor)) * factor
    if rows >= image.height:
        return convert(image).reduce(factor)
    reduced: Image.Image | None = None
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        band = convert(band).reduce(factor)
        reduced = reduced or Image.new(band.mode, (band.width, -(-image.height // factor)))
        reduced.paste(band, (0, top // factor))
    assert reduced is not None
    return reduced
