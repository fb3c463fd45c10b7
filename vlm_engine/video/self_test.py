"""Find out if this machine's FFmpeg can do what videos need."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import av
import numpy as np
from av.codec.codec import UnknownCodecError
from av.video.stream import VideoStream
from PIL import Image

from vlm_engine.errors import MediaUnreadableError
from vlm_engine.files import InMemoryFile, media_errors
from vlm_engine.types import Frame, ImageShape
from vlm_engine.video.container import processors
from vlm_engine.video.probe import probe
from vlm_engine.video.reader import VideoReader

_NAME = "the test video"
_SIDE, _RATE = 96, 10
_SECONDS = ((220, 20, 20), (20, 180, 20))
"""The colour of each second of the test video."""
_DECODERS = {
    "H.264": ("h264",),
    "HEVC": ("hevc",),
    "VP9": ("vp9", "libvpx-vp9"),
    # FFmpeg's "av1" decodes only on graphics cards.
    "AV1": ("libdav1d", "libaom-av1"),
}


@dataclass(frozen=True, slots=True)
class DecoderFacts:
    """``libraries``: FFmpeg's, with their versions. ``formats``: True for those that the processor
    can decode. ``processors``: the number that may decode at once.
    """

    libraries: Mapping[str, str]
    formats: Mapping[str, bool]
    processors: int


def decoder_facts() -> DecoderFacts:
    """Return what this FFmpeg can decode. Nothing is decoded to find out."""
    return DecoderFacts(
        {
            name: ".".join(map(str, av.library_versions[name]))
            for name in ("libavcodec", "libavformat", "libswscale")
        },
        {format_: any(map(_is_there, names)) for format_, names in _DECODERS.items()},
        processors(),
    )


def _is_there(decoder: str) -> bool:
    try:
        av.codec.Codec(decoder, "r")
    except UnknownCodecError:
        return False
    return True


def try_decoding() -> None:
    """Make a video of two seconds in memory, and read a frame of each second as a search does.

    Raise ``MediaUnreadableError`` if that fails, or if the pictures are not those that went in.
    """
    with media_errors(_NAME, "cannot be made"):
        video = InMemoryFile(_NAME, _test_video())
    with VideoReader(probe(video)) as reader:
        times_s = [second + 0.5 for second in range(len(_SECONDS))]
        frames = [frame for _, frame in reader.frames(times_s, ImageShape(_SIDE))]
    for frame, colour in zip(frames, _SECONDS, strict=True):
        if not isinstance(frame, Frame):
            raise frame
        if not _shows(frame.jpeg, colour):
            raise MediaUnreadableError(f"{_NAME}: a picture came back in other colours")


def _test_video() -> bytes:
    # MPEG-4 part 2: FFmpeg encodes it without any other library.
    written = io.BytesIO()
    with av.open(written, "w", format="matroska") as container:
        stream: VideoStream = container.add_stream("mpeg4", rate=_RATE)
        stream.width = stream.height = _SIDE
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = _RATE
        for number, (colour, _) in enumerate(product(_SECONDS, range(_RATE))):
            pixels = np.full((_SIDE, _SIDE, 3), colour, dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return written.getvalue()


def _shows(jpeg: bytes, colour: tuple[int, int, int]) -> bool:
    with Image.open(io.BytesIO(jpeg)) as picture:
        mean = np.asarray(picture.convert("RGB"), dtype=float).mean(axis=(0, 1))
    return bool(np.abs(mean - colour).max() < 40)
