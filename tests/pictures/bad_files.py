"""A corpus of files as nobody wants them, made anew each time: by name, their content."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from PIL import Image

from sandbox.heif import tiled
from sandbox.stills import linear_grey_profile, odd_ink_profile, saved, scene, swapped_profile
from tests.pictures.raws import Tags, Tiff, nef
from tests.pictures.stored import exif_of, png_of

FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    "jpeg": ("JPEG", {"icc_profile": swapped_profile()}),
    "progressive": ("JPEG", {"progressive": True}),
    "cmyk": ("JPEG", {"icc_profile": odd_ink_profile()}),
    "png": ("PNG", {"icc_profile": swapped_profile()}),
    "grey": ("PNG", {"icc_profile": linear_grey_profile()}),
    "palette": ("PNG", {}),
    "webp": ("WEBP", {}),
    "lossless": ("WEBP", {"lossless": True}),
    "avif": ("AVIF", {"speed": 10}),
    "gif": ("GIF", {}),
    "tiff": ("TIFF", {}),
    "lzw": ("TIFF", {"compression": "tiff_lzw"}),
    "bmp": ("BMP", {}),
    "jp2": ("JPEG2000", {}),
    "ppm": ("PPM", {}),
    "qoi": ("QOI", {}),
    "mpo": ("MPO", {}),
}
MODES = {"cmyk": "CMYK", "grey": "L", "palette": "P"}
MOVING: dict[str, dict[str, Any]] = {"GIF": {}, "PNG": {}, "WEBP": {}, "AVIF": {"speed": 10}}


def good_files(width: int = 120, height: int = 80) -> Iterator[tuple[str, bytes]]:
    """One valid file of every kind, still and moving, with EXIF data where its kind takes them."""
    image = Image.fromarray(scene(width, height))
    for name, (form, options) in FORMATS.items():
        has_exif = form in {"JPEG", "PNG", "WEBP", "AVIF", "TIFF"}
        more = options | ({"exif": exif_of(6)} if has_exif else {})
        yield f"goal.{name}", saved(image.convert(MODES.get(name, "RGB")), form, **more)
    yield "goal.heic", tiled(np.asarray(image), 64)
    yield "goal.nef", nef(saved(image, "JPEG"), size=(width, height))
    frames = [image, *(image.rotate(angle) for angle in (90, 180, 270))]
    for form, options in MOVING.items():
        yield (
            f"moving.{form.lower()}",
            saved(
                frames[0], form, save_all=True, append_images=frames[1:], duration=100, **options
            ),
        )


def lying_files() -> Iterator[tuple[str, bytes]]:
    """Headers that claim too much, names that claim another kind, and what is no picture at all."""
    for side in (5_000, 50_000, 2**31 - 1):
        for form in ("PNG", "PPM", "BMP", "QOI", "TIFF"):
            yield f"claims-{side}.{form.lower()}", claiming(form, side, side)
        yield f"claims-{side}-in-a-tile.tiff", tiff_header(100, 100, tile=side)
    for side in (5_000, 50_000):
        yield f"claims-{side}.jpg", claiming("JPEG", side, side)
        yield f"claims-{side}.gif", claiming("GIF", side, side)
    yield "claims.webp", claiming("WEBP", 16_383, 16_383)
    yield "bomb.png", png_of(12_000, 12_000, zlib.compress(bytes(12_000 * 3 * 400)))
    yield (
        "scans.jpg",
        with_scans(
            saved(Image.fromarray(scene()).resize((4000, 3000)), "JPEG", progressive=True), 5_000
        ),
    )
    yield "words.jpg", b"Corner kick, second half" * 50
    yield "empty.jpg", b""
    yield "noughts.jpg", bytes(10_000)
    yield "noise.jpg", np.random.default_rng(7).integers(0, 256, 10_000, np.uint8).tobytes()
    yield "page.jpg", b"<!DOCTYPE html><html><body>404</body></html>"
    yield "photo.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(1000)
    yield "clip.mp4", b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + bytes(1000)
    yield "inner.zip", zipped({"goal.jpg": b"x"})
    content = dict(good_files())
    yield "really-png.jpg", content["goal.png"]
    yield "really-gif.webp", content["moving.gif"]


def claiming(form: str, width: int, height: int) -> bytes:
    """The header of a picture of that size, and little else."""
    if form == "PNG":
        return png_of(width, height, zlib.compress(bytes(9999)))
    if form == "QOI":
        return b"qoif" + struct.pack(">IIBB", width, height, 3, 0) + bytes(100)
    if form == "TIFF":
        return tiff_header(width, height)
    if form == "PPM":
        return f"P6\n{width} {height}\n255\n".encode() + bytes(1000)
    options = {"lossless": True} if form == "WEBP" else {}
    small = bytearray(saved(Image.new("RGB", (320, 200)), form, **options))
    if form == "JPEG":
        struct.pack_into(">HH", small, small.index(b"\xff\xc0") + 5, height, width)
    elif form == "GIF":
        struct.pack_into("<HH", small, 6, width, height)
    elif form == "BMP":
        struct.pack_into("<ii", small, 18, width, height)
    elif form == "WEBP":
        struct.pack_into("<I", small, 21, (width - 1) | (height - 1) << 14)
    return bytes(small)


def with_scans(jpeg: bytes, count: int) -> bytes:
    """A progressive JPEG with ``count`` more last scans, empty ones, which take as long."""
    at = jpeg.rindex(b"\xff\xda")
    header_ends = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return jpeg[:-2] + count * (jpeg[at:header_ends] + bytes(8)) + jpeg[-2:]


def tiff_header(width: int, height: int, *, tile: int = 0) -> bytes:
    """A TIFF that says it has this size: in one strip, or in one packed tile of ``tile`` pixels."""
    values: Tags = {256: [width], 257: [height], 258: [8], 259: [8 if tile else 1]}
    values |= {262: [1], 277: [1], 278: [height]}
    values |= {322: [tile], 323: [tile], 324: [8], 325: [100]} if tile else {273: [8], 279: [100]}
    tiff = Tiff(b"II*\0")
    tiff.data(bytes(100))
    return tiff.content(tiff.directory(values))


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip with these files."""
    written = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(written, "w", method) as archive:
        warnings.simplefilter("ignore")  # names that are there twice
        for name, content in files.items():
            archive.writestr(name, content)
    return written.getvalue()


def zipped_raw(files: Mapping[bytes, bytes], *, utf8: bool = False) -> bytes:
    """A zip with these names, of 3 bytes or more. ``utf8``: it says that they are UTF-8."""
    stand_ins = {f"{number:03}".ljust(len(name), "x"): name for number, name in enumerate(files)}
    contents = zip(stand_ins, files.values(), strict=True)
    content = zipped(dict(contents), zipfile.ZIP_STORED)
    for stand_in, name in stand_ins.items():
        assert len(stand_in) == len(name)
        content = content.replace(stand_in.encode(), name)
    return flagged(content, 0x800) if utf8 else content


def flagged(content: bytes, flag: int) -> bytes:
    """The zip with a flag set in every entry, in both places where it stands."""
    changed = bytearray(content)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(signature)
        while at >= 0:
            (flags,) = struct.unpack_from("<H", content, at + offset)
            struct.pack_into("<H", changed, at + offset, flags | flag)
            at = content.find(signature, at + 4)
    return bytes(changed)
