"""A decoded frame as the picture a player would show: upright, in its true proportions, in plain RGB."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np
from av import VideoFrame
from av.sidedata.sidedata import Type as SideDataType
from av.video.reformatter import ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from vlm_engine.jpeg import fitted_size, over_grey
from vlm_engine.tone_mapping import toned
from vlm_engine.types import ImageShape
from vlm_engine.vr import Front, Layout, front

Pixels = NDArray[np.uint8]

PICTURES = 8  # to look at, spread over the video
_NEEDED = 3  # of them must agree
_SLACK = 0.015  # of the width
_LEAST, _MOST = (
    0.03,
    0.42,
)  # of the width: what is worth it, and a little more than 9:16 within 21:9 takes
_BLACK, _NEAR_BLACK = 24, 40  # the second allows for ringing where a bar ends
_LEAST_LIT = 0.05  # of a picture, lest it is of the dark and tells nothing


def bar_share(pictures: Iterable[Pixels]) -> float:
    """The share of the width that a bar takes on either side; 0.0 where there are none.

    ``pictures``: of one video, (height, width, 3), of any size; no more are taken than are needed to see that there are none.
    """
    seen = []
    for picture in pictures:
        lit = picture.max(axis=2) > _BLACK
        if lit.mean() < _LEAST_LIT:
            continue
        columns = np.flatnonzero(lit.any(axis=0))
        sides = np.array([columns[0], lit.shape[1] - 1 - columns[-1]]) / lit.shape[1]
        if sides.min() < _LEAST:
            return 0.0
        seen.append(sides)
    if len(seen) < _NEEDED:
        return 0.0
    bars = np.min(seen, axis=0)
    agreeing = (np.abs(seen - bars) <= _SLACK).all(axis=1).sum()
    is_sure = agreeing >= _NEEDED and np.ptp(bars) <= _SLACK and bars.max() <= _MOST
    return float(bars.min()) if is_sure else 0.0


def are_black(pixels: Pixels, share: float) -> bool:
    """Whether bars of this share of the width hold nothing in this picture."""
    width = int(share * pixels.shape[1])
    return (
        not (pixels[:, :width] > _NEAR_BLACK).any()
        and not (pixels[:, pixels.shape[1] - width :] > _NEAR_BLACK).any()
    )


Turn = tuple[bool, bool, bool]

# By quarter turns anticlockwise.
_TURNS: tuple[Turn, ...] = (
    (False, False, False),
    (True, True, False),
    (False, True, True),
    (True, False, True),
)
_HDR = (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)
_UNSPECIFIED = 2


class Painter:
    """Makes pictures of one stream's frames, each scaled straight to its size: no full-size RGB is made.

    ``vr``: how the eyes lie in a frame; they show what one of them sees ahead. ``bars``: the share of the width that a black
    bar takes on either side; they are cropped where they are black.
    """

    def __init__(self, stream: VideoStream, *, vr: Layout | None = None, bars: float = 0.0) -> None:
        self._pixel_aspect = pixel_aspect(stream)
        self._vr = vr
        self._bars = bars
        self._scaler = VideoReformatter()
        self._turn: Turn | None = None

    def paint(self, frame: VideoFrame, shape: ImageShape) -> Image.Image:
        """What is wanted of ``frame``, at the size in which ``shape`` sends it."""
        turn = self._turn = self._turn or turn_of(frame)
        width, height = displayed_size(frame, self._pixel_aspect, turn)
        if self._vr:
            return self._part(frame, front(self._vr, width, height), (width, height), shape, turn)
        if self._bars:
            bar = int(self._bars * width)
            scale = fitted_size(width - 2 * bar, height, shape)[0] / (width - 2 * bar)
            image = self._scaled(
                frame, (max(1, round(width * scale)), max(1, round(height * scale))), turn
            )
            if are_black(np.asarray(image), self._bars):
                bar = int(self._bars * image.width)
                return image.crop((bar, 0, image.width - bar, image.height))
        return self._scaled(frame, fitted_size(width, height, shape), turn)

    def _part(
        self, frame: VideoFrame, part: Front, size: tuple[int, int], shape: ImageShape, turn: Turn
    ) -> Image.Image:
        """``part`` of a frame of ``size``, in its true proportions."""
        width, height = (part.right - part.left) * size[0], (part.lower - part.upper) * size[1]
        shown = max(width, height * part.aspect), max(height, width / part.aspect)
        sent = fitted_size(max(1, round(shown[0])), max(1, round(shown[1])), shape)
        whole = (
            max(sent[0], round(size[0] * sent[0] / width)),
            max(sent[1], round(size[1] * sent[1] / height)),
        )
        image = self._scaled(frame, whole, turn)
        left, upper = (
            min(int(part.left * whole[0]), whole[0] - sent[0]),
            min(int(part.upper * whole[1]), whole[1] - sent[1]),
        )
        return image.crop((left, upper, left + sent[0], upper + sent[1]))

    def _scaled(self, frame: VideoFrame, size: tuple[int, int], turn: Turn) -> Image.Image:
        width, height = reversed(size) if turn[0] else size
        see_through = (
            any(component.is_alpha for component in frame.format.components)
            or frame.format.has_palette
        )
        rgb = self._scaler.reformat(
            frame,
            width,
            height,
            "rgba" if see_through else "rgb24",
            src_colorspace=_colours(frame),
            interpolation=Interpolation.AREA,
            threads=1,
        )
        pixels = np.asarray(rgb.to_ndarray(), np.uint8)
        upright = Image.fromarray(np.ascontiguousarray(_turned(pixels, turn)))
        picture = over_grey(upright)
        if frame.color_trc not in _HDR:
            return picture
        return toned(
            picture, int(getattr(frame, "color_primaries", _UNSPECIFIED)), int(frame.color_trc)
        )


def pixel_aspect(stream: VideoStream) -> Fraction:
    """Width of a pixel over its height."""
    return stream.sample_aspect_ratio or Fraction(1)


def displayed_size(frame: VideoFrame, pixel_aspect: Fraction, turn: Turn) -> tuple[int, int]:
    """Width and height in square pixels after the frame was turned upright."""
    width, height = max(1, round(frame.width * pixel_aspect)), frame.height
    return (height, width) if turn[0] else (width, height)


def turn_of(frame: VideoFrame) -> Turn:
    """How to turn the stored picture: whether rows and columns change places, and then whether each is reversed."""
    tiny = _tiny(frame)
    try:
        matrix = _side_data(tiny).get(SideDataType.DISPLAYMATRIX)
    except (
        ValueError
    ):  # there is some that is newer than PyAV's list; the angle it tells without that
        return _TURNS[round(tiny.rotation / 90) % 4]
    if matrix is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    # A point (x, y) is shown at (ax + cy, bx + dy); y points down.
    return (True, b < 0, c < 0) if abs(b) > abs(a) else (False, d < 0, a < 0)


def lacks_base_layer(frame: VideoFrame) -> bool:
    """Whether this is Dolby Vision of a kind whose pictures only its own decoders can show: full range tells it from others."""
    if frame.color_range != ColorRange.JPEG:
        return False
    try:
        return _side_data(_tiny(frame)).get(SideDataType.DOVI_RPU_BUFFER) is not None
    except ValueError:  # newer than PyAV's list, as in turn_of
        return False


def _tiny(frame: VideoFrame) -> VideoFrame:
    """A frame whose side data were looked at is in a cycle, and waits for the garbage collector: let that be a tiny one."""
    return VideoReformatter().reformat(frame, 2, 2, "gray", interpolation=Interpolation.POINT)


def _side_data(frame: VideoFrame) -> Any:  # its stub knows of motion vectors only
    return frame.side_data


def _turned(pixels: NDArray[np.uint8], turn: Turn) -> NDArray[np.uint8]:
    transpose, flip_rows, flip_columns = turn
    pixels = pixels.swapaxes(0, 1) if transpose else pixels
    return pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]


def _colours(frame: VideoFrame) -> Colorspace | None:
    """The colour matrix where the file does not tell it: players take HD for BT.709. None: as the frame says."""
    return (
        Colorspace.ITU709
        if frame.colorspace == _UNSPECIFIED and max(frame.width, frame.height) >= 1280
        else None
    )
