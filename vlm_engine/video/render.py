"""Render a decoded frame as a player shows it: upright, in true proportions, as 8-bit sRGB.

Black bars left and right of what was filmed upright are cropped: the same pixels then show three
times as much. To take away nothing else, the bars have to be in several pictures, at the same
places, and in each picture that is cropped.
"""

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
from vlm_engine.tone_mapping import to_srgb
from vlm_engine.types import ImageShape
from vlm_engine.vr import Front, Layout, front

Pixels = NDArray[np.uint8]
Rotation = tuple[bool, bool, bool]
"""True if rows and columns change places, and if each is then reversed."""

# By quarter turns anticlockwise.
_ROTATIONS: tuple[Rotation, ...] = (
    (False, False, False),
    (True, True, False),
    (False, True, True),
    (True, False, True),
)
_HDR = (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)
_UNSPECIFIED = 2

BAR_SAMPLES = 8  # pictures to look for bars in, spread over the video
_AGREEING = 3  # of them must agree
# Shares of the width: tolerance; bars worth cropping; a little more than 9:16 within 21:9 takes.
_SLACK, _LEAST, _MOST = 0.015, 0.03, 0.42
_BLACK, _NEAR_BLACK = 24, 40  # the second allows for ringing at the edge of a bar
_LEAST_LIT = 0.05  # of a picture; a darker one tells nothing


class FrameRenderer:
    """Renders frames of one stream, each scaled directly to its size: no full-size RGB is made.

    ``vr`` says where the eyes are in a frame; it then shows what one of them sees ahead. ``bars``
    is the share of the width of a black bar on either side, cropped where it is black.
    """

    def __init__(self, stream: VideoStream, *, vr: Layout | None = None, bars: float = 0.0) -> None:
        self._pixel_aspect = pixel_aspect(stream)
        self._vr = vr
        self._bars = bars
        self._scaler = VideoReformatter()
        self._rotation: Rotation | None = None

    def render(self, frame: VideoFrame, shape: ImageShape) -> Image.Image:
        """Return ``frame``, cropped, in the size at which ``shape`` sends it."""
        self._rotation = self._rotation or rotation_of(frame)
        size = width, height = displayed_size(frame, self._pixel_aspect, self._rotation)
        if self._vr:
            return self._crop_front(frame, front(self._vr, width, height), size, shape)
        if self._bars:
            inner = width - 2 * int(self._bars * width)
            scale = fitted_size(inner, height, shape)[0] / inner
            image = self._scale(
                frame, (max(1, round(width * scale)), max(1, round(height * scale)))
            )
            if are_black(np.asarray(image), self._bars):
                bar = int(self._bars * image.width)
                return image.crop((bar, 0, image.width - bar, image.height))
        return self._scale(frame, fitted_size(width, height, shape))

    def _crop_front(
        self, frame: VideoFrame, part: Front, size: tuple[int, int], shape: ImageShape
    ) -> Image.Image:
        """Return ``part`` of a frame of ``size``, in its true proportions."""
        width, height = (part.right - part.left) * size[0], (part.lower - part.upper) * size[1]
        true_size = max(width, height * part.aspect), max(height, width / part.aspect)
        sent = fitted_size(max(1, round(true_size[0])), max(1, round(true_size[1])), shape)
        whole = (
            max(sent[0], round(size[0] * sent[0] / width)),
            max(sent[1], round(size[1] * sent[1] / height)),
        )
        left = min(int(part.left * whole[0]), whole[0] - sent[0])
        upper = min(int(part.upper * whole[1]), whole[1] - sent[1])
        return self._scale(frame, whole).crop((left, upper, left + sent[0], upper + sent[1]))

    def _scale(self, frame: VideoFrame, size: tuple[int, int]) -> Image.Image:
        transpose, flip_rows, flip_columns = self._rotation or _ROTATIONS[0]
        width, height = reversed(size) if transpose else size
        has_alpha = frame.format.has_palette or any(
            component.is_alpha for component in frame.format.components
        )
        rgb = self._scaler.reformat(
            frame,
            width,
            height,
            "rgba" if has_alpha else "rgb24",
            src_colorspace=_colour_matrix(frame),
            interpolation=Interpolation.AREA,
            threads=1,
        )
        pixels = np.asarray(rgb.to_ndarray(), np.uint8)
        pixels = pixels.swapaxes(0, 1) if transpose else pixels
        upright = pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
        image = over_grey(Image.fromarray(np.ascontiguousarray(upright)))
        if frame.color_trc not in _HDR:
            return image
        return to_srgb(
            image, int(getattr(frame, "color_primaries", _UNSPECIFIED)), int(frame.color_trc)
        )


def pixel_aspect(stream: VideoStream) -> Fraction:
    """Return the width of a pixel over its height."""
    return stream.sample_aspect_ratio or Fraction(1)


def displayed_size(
    frame: VideoFrame, pixel_aspect: Fraction, rotation: Rotation
) -> tuple[int, int]:
    """Return width and height of the upright frame, in square pixels."""
    width, height = max(1, round(frame.width * pixel_aspect)), frame.height
    return (height, width) if rotation[0] else (width, height)


def rotation_of(frame: VideoFrame) -> Rotation:
    """Return how the frame must be turned and mirrored to be upright."""
    tiny = _tiny_copy(frame)
    try:
        matrix = _side_data(tiny).get(SideDataType.DISPLAYMATRIX)
    except ValueError:  # some of it is newer than PyAV's list; the angle needs no list
        return _ROTATIONS[round(tiny.rotation / 90) % 4]
    if matrix is None:
        return _ROTATIONS[0]
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    # A point (x, y) is shown at (ax + cy, bx + dy); y points down.
    return (True, b < 0, c < 0) if abs(b) > abs(a) else (False, d < 0, a < 0)


def lacks_base_layer(frame: VideoFrame) -> bool:
    """Return whether only Dolby Vision's own decoders can show this frame: its full range tells."""
    if frame.color_range != ColorRange.JPEG:
        return False
    try:
        return _side_data(_tiny_copy(frame)).get(SideDataType.DOVI_RPU_BUFFER) is not None
    except ValueError:  # newer than PyAV's list, as in rotation_of
        return False


def _tiny_copy(frame: VideoFrame) -> VideoFrame:
    """Return a tiny frame with the same side data.

    A frame whose side data were read is in a reference cycle and waits for the garbage collector.
    """
    return VideoReformatter().reformat(frame, 2, 2, "gray", interpolation=Interpolation.POINT)


def _side_data(frame: VideoFrame) -> Any:  # its stub knows of motion vectors only
    return frame.side_data


def _colour_matrix(frame: VideoFrame) -> Colorspace | None:
    """Return BT.709 for HD that does not tell its matrix, as players do; else None."""
    is_hd = max(frame.width, frame.height) >= 1280
    return Colorspace.ITU709 if frame.colorspace == _UNSPECIFIED and is_hd else None


def bar_share(pictures: Iterable[Pixels]) -> float:
    """Return the share of the width of a black bar on either side; 0.0 where there are none.

    ``pictures`` are of one video, (height, width, 3), of any size. Once one shows that there are no
    bars, no more are taken.
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
    if len(seen) < _AGREEING:
        return 0.0
    bars = np.min(seen, axis=0)
    agreeing = (np.abs(seen - bars) <= _SLACK).all(axis=1).sum()
    is_sure = agreeing >= _AGREEING and np.ptp(bars) <= _SLACK and bars.max() <= _MOST
    return float(bars.min()) if is_sure else 0.0


def are_black(pixels: Pixels, share: float) -> bool:
    """Return whether bars of this share of the width are black in this picture."""
    width = int(share * pixels.shape[1])
    sides = pixels[:, :width], pixels[:, pixels.shape[1] - width :]
    return not any((side > _NEAR_BLACK).any() for side in sides)
