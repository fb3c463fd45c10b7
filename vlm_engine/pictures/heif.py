"""HEIF pictures (HEIC, and AVIF that Pillow refuses): single ones and grids of tiles, decoded by FFmpeg."""

from __future__ import annotations

import struct
from typing import Any

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

_CODECS = {
    "hvc1": ("hevc",),
    "hev1": ("hevc",),
    "av01": ("libdav1d", "av1"),
    "avc1": ("h264",),
    "jpeg": ("mjpeg",),
}
_CONFIGURATIONS = {"hvc1": "hvcC", "hev1": "hvcC", "av01": "av1C", "avc1": "avcC"}
_AV1_HEADERS = 4  # bytes of av1C in front of the sequence header
_ALPHA = (
    b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha",
    b"urn:mpeg:hevc:2015:auxid:1",
    b"urn:mpeg:avc:2015:auxid:1",
)
_MAX_TILES = 4096
_UNSPECIFIED = 2
_SMALL = 2**16  # coded pictures are whole blocks
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
_TURNS = (
    None,
    Image.Transpose.ROTATE_90,
    Image.Transpose.ROTATE_180,
    Image.Transpose.ROTATE_270,
)  # anticlockwise, as told

Box = tuple[int, int, int, int]
Changes = list[tuple[str, bytes]]


class HeifFile(ImageFile):
    """The primary picture of a HEIF file as Pillow's classes are: opened by its header, decoded by ``load``; upright then.

    ``info`` has its colour profile, else its ``CICP`` colours.
    """

    format = "HEIF"

    def _open(self) -> None:
        assert self.fp is not None
        items = read_items(self.fp)
        self._items, self._primary = items, _shown_item(items, items.primary)
        self._changes = _changes(items, self._primary)
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
        """Decodes. Raises ``ValueError``, ``NotReadError`` and what PyAV raises."""
        if not self._is_decoded:
            picture = self._picture(self._primary, "RGB", self._whole)
            if self._alpha is not None:
                picture = self._see_through(picture, self._alpha)
            picture = _transformed(picture, self._changes)
            self.im, self._size, self._mode, self.tile, self._is_decoded = (
                picture.im,
                picture.size,
                picture.mode,
                [],
                True,
            )
        return super().load()

    def _see_through(self, picture: Image.Image, alpha: int) -> Image.Image:
        layer = self._picture(alpha, "L", self._items.size(alpha))
        picture.putalpha(layer if layer.size == picture.size else layer.resize(picture.size))
        if alpha in self._items.references.get(("prem", self._items.primary), ()):
            return Image.frombytes("RGBa", picture.size, picture.tobytes()).convert("RGBA")
        return picture

    def _picture(self, item: int, mode: str, size: tuple[int, int]) -> Image.Image:
        """One item, coded as a whole or in tiles, of ``size``."""
        assert self.fp is not None
        if self._items.kinds.get(item) != "grid":
            return self._coded(item, mode, size)
        tiles = self._items.references.get(("dimg", item), ())
        columns, rows, width, height = _grid(self._items.content(item, self.fp))
        if len(tiles) != columns * rows or len(tiles) > _MAX_TILES or (width, height) != size:
            raise ValueError("its tiles do not make up the picture")
        across, down = self._items.size(tiles[0])
        if (
            across * columns < width
            or down * rows < height
            or across * (columns - 1) >= width
            or down * (rows - 1) >= height
        ):
            raise ValueError("its tiles do not make up the picture")
        whole = Image.new(mode, size)
        for number, tile in enumerate(tiles):
            place = (number % columns * across, number // columns * down)
            whole.paste(self._coded(tile, mode, (across, down)), place)
        return whole

    def _coded(self, item: int, mode: str, size: tuple[int, int]) -> Image.Image:
        assert self.fp is not None
        frame = _decoded(
            self._items,
            item,
            self._items.content(item, self.fp),
            most_pixels=4 * size[0] * size[1] + _SMALL,
        )
        if mode == "RGB" and self._nclx is None and "icc_profile" not in self.info:
            self.info[CICP] = (
                int(getattr(frame, "color_primaries", _UNSPECIFIED)),
                int(frame.color_trc),
            )
        picture = _converted(frame, mode, nclx_of(self._items, item) if mode == "L" else self._nclx)
        if picture.width < size[0] or picture.height < size[1]:
            raise ValueError("a picture in it is smaller than it says")
        return picture if picture.size == size else picture.crop((0, 0, *size))


def _shown_item(items: Items, item: int) -> int:
    """The one that holds the pixels of ``item``, which may be another one that is only turned."""
    if items.kinds.get(item) == "iden":
        (item,) = items.references.get(("dimg", item), ()) or (item,)
    kind = items.kinds.get(item, "")
    if kind != "grid" and kind not in _CODECS:
        raise NotReadError(f"it is put together as {kind!r}")
    return item


def _alpha_of(items: Items, item: int) -> int | None:
    for (kind, start), targets in items.references.items():
        told = items.property(start, "auxC") or b""
        if kind == "auxl" and item in targets and told[4:].split(b"\0")[0] in _ALPHA:
            return start
    return None


def _grid(content: bytes) -> tuple[int, int, int, int]:
    """Columns, rows, width and height of the whole."""
    if len(content) < 8:
        raise ValueError("the list of its tiles is cut off")
    rows, columns = content[2] + 1, content[3] + 1
    width, height = struct.unpack_from(">II" if content[1] & 1 else ">HH", content, 4)
    return columns, rows, width, height


def _decoded(items: Items, item: int, content: bytes, *, most_pixels: int) -> VideoFrame:
    kind = items.kinds.get(item, "")
    if kind not in _CODECS:
        raise NotReadError(f"it is coded as {kind!r}")
    context = _context(_CODECS[kind])
    told = items.property(item, _CONFIGURATIONS[kind]) if kind in _CONFIGURATIONS else None
    if told is not None:
        context.extradata = (
            told[_AV1_HEADERS:] if kind == "av01" and context.codec.name != "libdav1d" else told
        )
    context.options = {"max_pixels": str(most_pixels)}
    context.thread_count = 1
    headers = items.property(item, "jpgC") or b"" if kind == "jpeg" else b""
    try:
        frames = [*context.decode(av.Packet(headers + content)), *context.decode(None)]
    except av.MemoryError as error:
        raise ValueError("a part of it is larger than it says") from error
    if not frames or frames[0].is_corrupt:
        raise ValueError("a part of it cannot be decoded")
    return frames[0]


def _context(names: tuple[str, ...]) -> VideoCodecContext:
    for name in names:
        try:
            context = av.CodecContext.create(name, "r")
        except UnknownCodecError:
            continue
        assert isinstance(context, VideoCodecContext)
        return context
    raise NotReadError(f"this FFmpeg has no decoder for {names[-1]}")


def _converted(frame: VideoFrame, mode: str, told: Nclx | None) -> Image.Image:
    """``frame`` in RGB or grey with 8 bits, all of them used."""
    matrix = _MATRICES.get(told.matrix if told else int(frame.colorspace), "")
    is_full = told.is_full if told else int(frame.color_range) == int(ColorRange.JPEG)
    rgb = frame.reformat(
        format="rgb24" if mode == "RGB" else "gray",
        src_colorspace=getattr(Colorspace, matrix, None),
        src_color_range=ColorRange.JPEG if is_full else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        threads=1,
    )
    return Image.fromarray(rgb.to_ndarray())


def _crop(told: bytes, size: tuple[int, int]) -> Box:
    """``clap``: eight numbers, of width, height and the way from the picture's centre, each over another one."""
    if len(told) < 32:
        raise ValueError("how it is cropped is cut off")
    numbers = struct.unpack_from(">8i", told)
    if any(below == 0 for below in numbers[1::2]):
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


def _changes(items: Items, shown: int) -> Changes:
    """What is done to the decoded picture, in this order."""
    return [
        told
        for item in dict.fromkeys((shown, items.primary))
        for told in items.properties.get(item, ())
    ]


def _final_size(changes: Changes, size: tuple[int, int]) -> tuple[int, int]:
    for kind, content in changes:
        if kind == "clap":
            left, upper, right, lower = _crop(content, size)
            size = right - left, lower - upper
        elif kind == "irot" and content[:1] and content[0] & 1:
            size = size[1], size[0]
    return size


def _transformed(picture: Image.Image, changes: Changes) -> Image.Image:
    """Cropped, turned and mirrored."""
    for kind, content in changes:
        turn = _turn(kind, content)
        if kind == "clap":
            picture = picture.crop(_crop(content, picture.size))
        elif turn is not None:
            picture = picture.transpose(turn)
    return picture


def _turn(kind: str, content: bytes) -> Image.Transpose | None:
    told = content[0] if content else 0
    return {"irot": _TURNS[told & 3], "imir": _MIRRORS[told & 1]}.get(kind)
