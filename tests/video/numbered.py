"""Small videos whose pictures carry their numbers, and which numbers a reader shows."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition
from PIL import Image

from vlm_engine.errors import FrameError
from vlm_engine.testing import glyphs
from vlm_engine.types import Frame, ImageShape, VideoInfo
from vlm_engine.video import VideoReader, probe

RATE = 25
WIDTH, HEIGHT = 4 * glyphs.COLUMNS, 4 * glyphs.ROWS
SHAPE = ImageShape()
FAST: dict[str, dict[str, str]] = {
    "libx264": {"preset": "veryfast", "sc_threshold": "0"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8"},
    "libsvtav1": {"preset": "12"},
}


@cache
def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """A picture that changes a little, so that no encoder leaves it out."""
    image = glyphs.picture([], width, height, number)
    image.paste((90 + number % 60, 120, 150), (0, height // 2, width, height))
    return image


def write(
    path: Path,
    codec: str = "libx264",
    pictures: Iterable[int | Image.Image] = range(100),
    *,
    pix_fmt: str = "yuv420p",
    time_of: Callable[[int], int] = lambda place: place,
    sound_s: float = 0,
    **config: Any,
) -> Path:
    """A video of these pictures. ``time_of``: the time of each in frames, by its place from 0.

    ``sound_s``: the length of a tone, from 0 s on. ``config``: ``options`` of the codec, ``muxer``
    options, ``format``, ``gop``, ``tags`` (attributes of the codec and of frames), ``rotate``,
    ``metadata``.
    """
    size = (320, 240) if codec == "libsvtav1" else (WIDTH, HEIGHT)  # it spoils smaller ones
    images = [picture(each, *size) if isinstance(each, int) else each for each in pictures]
    options, fast = config.get("options", {}), FAST.get(codec, {})
    if "x265-params" in options:
        options = options | {"x265-params": f"log-level=none:{options['x265-params']}"}
    with av.open(path, "w", format=config.get("format"), options=config.get("muxer", {})) as file:
        file.metadata.update(config.get("metadata", {}))
        stream: Any = file.add_stream(codec, rate=RATE, options=fast | options)
        stream.width, stream.height, stream.pix_fmt = *images[0].size, pix_fmt
        context = stream.codec_context
        context.gop_size, context.time_base = config.get("gop", 25), Fraction(1, RATE)
        context.thread_count = 1
        for name, value in config.get("tags", {}).items():
            setattr(context, name, value)
        if "rotate" in config:
            degrees, mirrored = config["rotate"]
            stream.set_display_rotation(degrees, hflip=mirrored)
        packets = list(_sound(file, config.get("sound", "aac"), sound_s)) if sound_s else []
        for place, image in enumerate(images):
            form = "rgba" if image.mode == "RGBA" else "rgb24"
            frame = av.VideoFrame.from_ndarray(np.asarray(image), format=form)
            frame = frame.reformat(format=pix_fmt)
            frame.pts, frame.time_base = time_of(place), Fraction(1, RATE)
            frame.color_trc = config.get("tags", {}).get("color_trc", frame.color_trc)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        for packet in sorted(packets, key=lambda each: each.dts * each.time_base):
            file.mux(packet)
    return path


def _sound(container: Any, codec: str, length_s: float) -> Iterator[Any]:
    rate, size = 48_000, 1024
    stream = container.add_stream(codec, rate=rate, layout="mono")
    for start in range(0, int(length_s * rate), size):
        tone = np.sin(np.arange(start, start + size) / 20).astype(np.float32)[None, :] / 4
        frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def remux(
    source: Path, target: Path, *, shift_s: float = 0.0, cover: bool = False, **muxer: str
) -> Path:
    """The packets of ``source`` in another file, ``shift_s`` later, ``cover``: behind cover art."""
    with av.open(source) as given, av.open(target, "w", options=muxer) as made:
        old: Any = given.streams[0]
        art: Any = made.add_stream("mjpeg", rate=1) if cover else None
        if art is not None:
            art.width, art.height, art.pix_fmt = 800, 800, "yuvj420p"
            art.disposition = Disposition.attached_pic
        new = made.add_stream_from_template(old)
        if art is not None:
            red = Image.new("RGB", (800, 800), (200, 30, 30))
            made.mux([*art.encode(av.VideoFrame.from_image(red)), *art.encode(None)])
        for packet in given.demux(old):
            if packet.dts is not None:
                packet.pts += round(shift_s / old.time_base)
                packet.dts += round(shift_s / old.time_base)
                packet.stream = new
                made.mux(packet)
    return target


def image_of(frame: Frame | FrameError) -> Image.Image:
    """The picture that is sent."""
    assert isinstance(frame, Frame), frame
    image = Image.open(io.BytesIO(frame.jpeg))
    assert image.size == (frame.width, frame.height)
    return image


def number_of(frame: Frame | FrameError) -> int | None:
    """The number of the picture that is shown."""
    return glyphs.read(image_of(frame)).frame_number


def frames_of(
    video: Path | VideoInfo, times_s: Iterable[float], shape: ImageShape = SHAPE, **reading: Any
) -> list[Frame | FrameError]:
    """The frames shown at these times, ascending."""
    info = video if isinstance(video, VideoInfo) else probe(video)
    with VideoReader(info, **reading) as reader:
        return [frame for _, frame in reader.frames(sorted(times_s), shape)]


def numbers_at(video: Path | VideoInfo, times_s: Iterable[float]) -> list[int | None]:
    """The number of the picture shown at each time, ascending."""
    return [number_of(frame) for frame in frames_of(video, times_s)]


def at(numbers: Iterable[int], start_s: float = 0.0) -> list[float]:
    """Times in the middle of these pictures, if that of number 0 is shown at ``start_s``."""
    return [start_s + (number + 0.5) / RATE for number in numbers]


def patched(path: Path, old: bytes, new: bytes) -> Path:
    """``path``, in which the last ``old`` was overwritten."""
    content = path.read_bytes()
    place = content.rindex(old)
    path.write_bytes(content[:place] + new + content[place + len(new) :])
    return path
