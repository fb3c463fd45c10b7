"""A decoded frame as the picture a player would show: upright, in its true proportions, in plain RGB."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
from av import VideoFrame
from av.sidedata.sidedata import Type as SideDataType
from av.video.reformatter import ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from vlm_engine.picture import fitted_size, over_grey
from vlm_engine.types import ImageShape
from vlm_engine.video.bars import are_black
from vlm_engine.vr import Front, Layout, front

Turn = tuple[bool, bool, bool]
Floats = NDArray[np.float64]

# By quarter turns anticlockwise.
_TURNS: tuple[Turn, ...] = ((False, False, False), (True, True, False), (False, True, True), (True, False, True))

# Reference white of HDR in cd/m2 (ITU-R BT.2408), and how much brighter than it a highlight may be before it clips.
_WHITE, _HEADROOM = 203.0, 4.0


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
            image = self._scaled(frame, (max(1, round(width * scale)), max(1, round(height * scale))), turn)
            if are_black(np.asarray(image), self._bars):
                bar = int(self._bars * image.width)
                return image.crop((bar, 0, image.width - bar, image.height))
        return self._scaled(frame, fitted_size(width, height, shape), turn)

    def _part(self, frame: VideoFrame, part: Front, size: tuple[int, int], shape: ImageShape, turn: Turn) -> Image.Image:
        """``part`` of a frame of ``size``, in its true proportions."""
        width, height = (part.right - part.left) * size[0], (part.lower - part.upper) * size[1]
        shown = max(width, height * part.aspect), max(height, width / part.aspect)
        sent = fitted_size(max(1, round(shown[0])), max(1, round(shown[1])), shape)
        whole = max(sent[0], round(size[0] * sent[0] / width)), max(sent[1], round(size[1] * sent[1] / height))
        image = self._scaled(frame, whole, turn)
        left, upper = min(int(part.left * whole[0]), whole[0] - sent[0]), min(int(part.upper * whole[1]), whole[1] - sent[1])
        return image.crop((left, upper, left + sent[0], upper + sent[1]))

    def _scaled(self, frame: VideoFrame, size: tuple[int, int], turn: Turn) -> Image.Image:
        width, height = reversed(size) if turn[0] else size
        see_through = any(component.is_alpha for component in frame.format.components) or frame.format.has_palette
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
        light = _LIGHT.get(frame.color_trc)
        return picture.point(_toned(light) * 3) if light else picture


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
    except ValueError:  # there is some that is newer than PyAV's list; the angle it tells without that
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
    unspecified = 2
    return Colorspace.ITU709 if frame.colorspace == unspecified and max(frame.width, frame.height) >= 1280 else None


def _pq(signal: Floats) -> Floats:
    """Light in cd/m2 of each value of an HDR picture (PQ, SMPTE ST 2084)."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    root = signal ** (1 / m2)
    light: Floats = 10_000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    return light


def _hlg(signal: Floats) -> Floats:
    """The same for hybrid log-gamma (ARIB STD-B67), on a screen of 1000 cd/m2 (ITU-R BT.2100)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    light: Floats = 1000 * scene**1.2
    return light


_LIGHT: dict[int, Callable[[Floats], Floats]] = {ColorTrc.SMPTE2084: _pq, ColorTrc.ARIB_STD_B67: _hlg}


@cache
def _toned(light: Callable[[Floats], Floats]) -> list[int]:
    """What each 8-bit value of an HDR picture becomes on an ordinary screen.

    Highlights are compressed by the extended Reinhard operator; sRGB encodes the rest.
    """
    bright = light(np.linspace(0, 1, 256)) / _WHITE
    toned = np.minimum(bright * (1 + bright / _HEADROOM**2) / (1 + bright), 1)
    encoded = np.where(toned <= 0.0031308, 12.92 * toned, 1.055 * np.maximum(toned, 1e-9) ** (1 / 2.4) - 0.055)
    return [round(float(value) * 255) for value in encoded]
