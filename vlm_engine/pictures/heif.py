"""HEIF pictures (HEIC, and AVIF that Pillow refuses): whole or in tiles, decoded by FFmpeg."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, TypeAlias

import av
from av.codec.codec import UnknownCodecError
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace
from PIL import Image
from PIL.ImageFile import ImageFile

from vlm_engine.pictures.formats import NotReadError
from vlm_engine.pictures.heif_boxes import Items, Nclx, nclx_of, profile_of, read_items
from vlm_engine.tone_mapping import CICP

# Decoders of each kind of item, and the property with the decoder's configuration.
_CODECS = {
    "hvc1": (("hevc",), "hvcC"),
    "hev1": (("hevc",), "hvcC"),
    "av01": (("libdav1d", "av1"), "av1C"),
    "avc1": (("h264",), "avcC"),
    "jpeg": (("mjpeg",), "jpgC"),
}
_AV1_HEADERS = 4  # bytes of av1C in front of the sequence header
_ALPHA = (
    b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha",
    b"urn:mpeg:hevc:2015:auxid:1",
    b"urn:mpeg:avc:2015:auxid:1",
)
_MAX_TILES = 4096
_UNSPECIFIED = 2
_BLOCKS = 2**16  # pixels; coded pictures are whole blocks
_MATRICES = {
    1: "ITU709",
    4: "FCC",
    5: "ITU601",
    6: "ITU601",
    7: "SMPTE240M",
    9: "BT2020",
    10: "BT2020",
}
_MIRRORS = (Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.FLIP_LEFT_RIGHT)
# Anticlockwise.
_QUARTERS = (
    None,
    Image.Transpose.ROTATE_90,
    Image.Transpose.ROTATE_180,
    Image.Transpose.ROTATE_270,
)

Box: TypeAlias = tuple[int, int, int, int]
Property: TypeAlias = tuple[str, bytes]


class HeifFile(ImageFile):
    """Primary picture of a HEIF file, as a Pillow class: ``load`` decodes it, upright.

    ``info`` has its colour profile, or else its ``CICP`` colours.
    """

    format = "HEIF"

    def _open(self) -> None:
        assert self.fp is not None
        items = read_items(self.fp)
        self._items, self._primary = items, _stored_item(items, items.primary)
        # What is done to the decoded picture, in this order.
        self._changes = [
            each
            for item in dict.fromkeys((self._primary, items.primary))
            for each in items.properties.get(item, ())
        ]
        self._alpha = _alpha_of(items, items.primary)
        self._whole = items.size(self._primary)
        self._size = _final_size(self._changes, self._whole)
        self._mode = "RGB" if self._alpha is None else "RGBA"
        self._is_decoded = False
        self._nclx = nclx_of(items, self._primary)
        if (profile := profile_of(items, self._primary)) is not None:
            self.info["icc_profile"] = profile
        elif self._nclx is not None:
            self.info[CICP] = (self._nclx.primaries, self._nclx.transfer)

    def load(self) -> Any:
        """Decode the picture. Raises ``ValueError``, ``NotReadError`` and what PyAV raises."""
        if not self._is_decoded:
            picture = self._decode(self._primary, "RGB", self._whole)
            if self._alpha is not None:
                picture = self._with_alpha(picture, self._alpha)
            for kind, content in self._changes:
                transpose = _transpose(kind, content)
                if kind == "clap":
                    picture = picture.crop(_crop(content, picture.size))
                elif transpose is not None:
                    picture = picture.transpose(transpose)
            self.im, self._size, self._mode = picture.im, picture.size, picture.mode
            self.tile, self._is_decoded = [], True
        return super().load()

    def _with_alpha(self, picture: Image.Image, alpha: int) -> Image.Image:
        layer = self._decode(alpha, "L", self._items.size(alpha))
        picture.putalpha(layer if layer.size == picture.size else layer.resize(picture.size))
        if alpha in self._items.references.get(("prem", self._items.primary), ()):
            return Image.frombytes("RGBa", picture.size, picture.tobytes()).convert("RGBA")
        return picture

    def _decode(self, item: int, mode: str, size: tuple[int, int]) -> Image.Image:
        """Decode one item of ``size``, which is coded as a whole or in tiles."""
        assert self.fp is not None
        if self._items.kinds.get(item) != "grid":
            return self._decode_whole(item, mode, size)
        tiles = self._items.references.get(("dimg", item), ())
        columns, rows, width, height = _grid(self._items.content(item, self.fp))
        fits = len(tiles) == columns * rows <= _MAX_TILES and (width, height) == size
        across, down = self._items.size(tiles[0]) if fits else (0, 0)
        if not (across * (columns - 1) < width <= across * columns) or not (
            down * (rows - 1) < height <= down * rows
        ):
            raise ValueError("its tiles do not make up the picture")
        whole = Image.new(mode, size)
        for number, tile in enumerate(tiles):
            place = (number % columns * across, number // columns * down)
            whole.paste(self._decode_whole(tile, mode, (across, down)), place)
        return whole

    def _decode_whole(self, item: int, mode: str, size: tuple[int, int]) -> Image.Image:
        assert self.fp is not None
        content = self._items.content(item, self.fp)
        frame = _decode_frame(self._items, item, content, 4 * size[0] * size[1] + _BLOCKS)
        if mode == "RGB" and self._nclx is None and "icc_profile" not in self.info:
            primaries = int(getattr(frame, "color_primaries", _UNSPECIFIED))
            self.info[CICP] = (primaries, int(frame.color_trc))
        picture = _to_image(frame, mode, nclx_of(self._items, item) if mode == "L" else self._nclx)
        if picture.width < size[0] or picture.height < size[1]:
            raise ValueError("a picture in it is smaller than it says")
        return picture if picture.size == size else picture.crop((0, 0, *size))


def _stored_item(items: Items, item: int) -> int:
    """Return the item with the pixels of ``item``, which may just be another one turned."""
    if items.kinds.get(item) == "iden":
        (item,) = items.references.get(("dimg", item), ()) or (item,)
    kind = items.kinds.get(item, "")
    if kind != "grid" and kind not in _CODECS:
        raise NotReadError(f"it is put together as {kind!r}")
    return item


def _alpha_of(items: Items, item: int) -> int | None:
    for (kind, start), targets in items.references.items():
        role = (items.property(start, "auxC") or b"")[4:].split(b"\0")[0]
        if kind == "auxl" and item in targets and role in _ALPHA:
            return start
    return None


def _grid(content: bytes) -> tuple[int, int, int, int]:
    """Return columns, rows, width and height of the whole."""
    if len(content) < 8:
        raise ValueError("the list of its tiles is cut off")
    rows, columns = content[2] + 1, content[3] + 1
    width, height = struct.unpack_from(">II" if content[1] & 1 else ">HH", content, 4)
    return columns, rows, width, height


def _decode_frame(items: Items, item: int, content: bytes, max_pixels: int) -> VideoFrame:
    kind = items.kinds.get(item, "")
    if kind not in _CODECS:
        raise NotReadError(f"it is coded as {kind!r}")
    names, configuration = _CODECS[kind]
    context = _decoder(names)
    extradata = items.property(item, configuration)
    if kind == "jpeg":
        content = (extradata or b"") + content
    elif extradata is not None:
        skipped = _AV1_HEADERS if kind == "av01" and context.codec.name != "libdav1d" else 0
        context.extradata = extradata[skipped:]
    context.options = {"max_pixels": str(max_pixels)}
    context.thread_count = 1
    try:
        frames = [*context.decode(av.Packet(content)), *context.decode(None)]
    except av.MemoryError as error:
        raise ValueError("a part of it is larger than it says") from error
    if not frames or frames[0].is_corrupt:
        raise ValueError("a part of it cannot be decoded")
    return frames[0]


def _decoder(names: tuple[str, ...]) -> VideoCodecContext:
    for name in names:
        try:
            context = av.CodecContext.create(name, "r")
        except UnknownCodecError:
            continue
        assert isinstance(context, VideoCodecContext)
        return context
    raise NotReadError(f"this FFmpeg has no decoder for {names[-1]}")


def _to_image(frame: VideoFrame, mode: str, nclx: Nclx | None) -> Image.Image:
    """Convert ``frame`` to RGB or grey with 8 bits, in the full range."""
    matrix = _MATRICES.get(nclx.matrix if nclx else int(frame.colorspace), "")
    is_full = nclx.is_full if nclx else int(frame.color_range) == int(ColorRange.JPEG)
    rgb = frame.reformat(
        format="rgb24" if mode == "RGB" else "gray",
        src_colorspace=getattr(Colorspace, matrix, None),
        src_color_range=ColorRange.JPEG if is_full else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        threads=1,
    )
    return Image.fromarray(rgb.to_ndarray())


def _crop(clap: bytes, size: tuple[int, int]) -> Box:
    """Return the box to crop to: ``clap`` has width, height and offset from the centre, as
    fractions."""
    if len(clap) < 32:
        raise ValueError("how it is cropped is cut off")
    numbers = struct.unpack_from(">8i", clap)
    if 0 in numbers[1::2]:
        raise ValueError("it is cropped to nothing")
    width, height, right, down = (
        above / below for above, below in zip(numbers[::2], numbers[1::2], strict=True)
    )
    left, upper = right + (size[0] - width) / 2, down + (size[1] - height) / 2
    box = (
        max(0, round(left)),
        max(0, round(upper)),
        min(size[0], round(left + width)),
        min(size[1], round(upper + height)),
    )
    if box[0] >= box[2] or box[1] >= box[3]:
        raise ValueError("it is cropped to nothing")
    return box


def _final_size(changes: Sequence[Property], size: tuple[int, int]) -> tuple[int, int]:
    for kind, content in changes:
        if kind == "clap":
            left, upper, right, lower = _crop(content, size)
            size = right - left, lower - upper
        elif kind == "irot" and content[:1] and content[0] & 1:
            size = size[1], size[0]
    return size


def _transpose(kind: str, content: bytes) -> Image.Transpose | None:
    number = content[0] if content else 0
    return {"irot": _QUARTERS[number & 3], "imir": _MIRRORS[number & 1]}.get(kind)
