"""Videos whose pictures carry their numbers, written by hand, and what a reader shows of them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from vlm_engine.errors import FrameError
from vlm_engine.testing import glyphs
from vlm_engine.types import Frame, ImageShape, VideoInfo
from vlm_engine.video import VideoReader, probe

RATE = 25
WIDTH, HEIGHT = 320, 240


def picture(number: int) -> Image.Image:
    """A picture that moves a little, so that no encoder leaves it out."""
    image = glyphs.picture([], WIDTH, HEIGHT, number)
    image.paste((90 + number % 60, 120, 150), (0, HEIGHT // 2, WIDTH, HEIGHT))
    return image


def write(
    path: Path,
    codec: str,
    numbers: Iterable[int] = range(100),
    *,
    pix_fmt: str = "yuv420p",
    time_of: Callable[[int], int] = lambda place: place,
    sound_s: float = 0,
    **how: Any,
) -> Path:
    """A video of these pictures. ``time_of``: when each is shown, in frames, by its place from 0.

    ``sound_s``: so long a tone beside it, from 0 s on. ``how``: ``options``, ``muxer`` (options), ``format``, ``gop``, and
    ``tags`` (attributes of the codec).
    """
    with av.open(path, "w", format=how.get("format"), options=how.get("muxer", {})) as container:
        stream: Any = container.add_stream(codec, rate=RATE, options=how.get("options", {}))
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pix_fmt
        context = stream.codec_context
        context.gop_size, context.time_base = how.get("gop", 25), Fraction(1, RATE)
        for name, value in how.get("tags", {}).items():
            setattr(context, name, value)
        packets = list(_sound(container, how.get("sound", "aac"), sound_s)) if sound_s else []
        for frame in _frames(numbers, pix_fmt, time_of):
            packets += stream.encode(frame)
        packets += stream.encode(None)
        for packet in sorted(packets, key=lambda each: each.dts * each.time_base):
            container.mux(packet)
    return path


def _frames(
    numbers: Iterable[int], pix_fmt: str, time_of: Callable[[int], int]
) -> Iterator[av.VideoFrame]:
    for place, number in enumerate(numbers):
        frame = av.VideoFrame.from_image(picture(number)).reformat(format=pix_fmt)
        frame.pts, frame.time_base = time_of(place), Fraction(1, RATE)
        yield frame


def _sound(container: Any, codec: str, length_s: float) -> Iterator[Any]:
    rate, size = 48_000, 1024
    stream = container.add_stream(codec, rate=rate, layout="mono")
    for start in range(0, int(length_s * rate), size):
        tone = np.sin(np.arange(start, start + size) / 20).astype(np.float32)[None, :] / 4
        frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def number_of(frame: Frame | FrameError) -> int | None:
    """The number of the picture that is shown."""
    assert isinstance(frame, Frame), frame
    return glyphs.read(Image.open(io.BytesIO(frame.jpeg))).frame_number


def shown(video: Path | VideoInfo, times_s: Iterable[float]) -> list[int | None]:
    """The number of the picture shown at each time, ascending."""
    info = video if isinstance(video, VideoInfo) else probe(video)
    with VideoReader(info) as reader:
        return [number_of(frame) for _, frame in reader.frames(sorted(times_s), ImageShape())]


def at(numbers: Iterable[int], start_s: float = 0.0) -> list[float]:
    """Times in the middle of these pictures, if that of number 0 is shown at ``start_s``."""
    return [start_s + (number + 0.5) / RATE for number in numbers]


def patched(path: Path, old: bytes, new: bytes) -> Path:
    """``path``, in which the last ``old`` was overwritten."""
    content = path.read_bytes()
    place = content.rindex(old)
    path.write_bytes(content[:place] + new + content[place + len(new) :])
    return path
