"""Files that a player meets in the wild and a frame reader must not trip over.

Each function returns the path it wrote.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition

from sandbox.sound import Tone
from vlm_engine.testing import glyphs


def audio_only(path: Path, duration_s: float = 2.0) -> Path:
    """Return an MP4 with a tone and no picture."""
    with closing(av.open(path, "w", format="mp4")) as container:
        tone = Tone(container)
        for packet in (*tone.until(duration_s), *tone.end()):
            container.mux(packet)
    return path


def with_cover_art(video: Path, path: Path) -> Path:
    """Return an MP4 with the stream of ``video`` and, as a second video stream, a cover picture of
    600 x 600.
    """
    with closing(av.open(video)) as source, closing(av.open(path, "w", format="mp4")) as target:
        film = target.add_stream_from_template(source.streams.video[0])
        cover = target.add_stream("mjpeg", rate=1)
        cover.width = cover.height = 600
        cover.pix_fmt = "yuvj420p"
        cover.disposition = Disposition.attached_pic
        pixels = np.asarray(glyphs.picture((), 600, 600))
        target.mux(
            cover.encode(
                av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuvj420p")
            )
        )
        target.mux(cover.encode(None))
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = film
                target.mux(packet)
    return path


def truncated(video: Path, path: Path, share: float = 0.6) -> Path:
    """Return the first ``share`` of the bytes of ``video``.

    An MP4 loses its index that way and cannot be opened; MKV, WebM and MPEG-TS play up to where
    they break off.
    """
    whole = video.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    return path


def empty(path: Path) -> Path:
    """Return a file of no bytes."""
    path.write_bytes(b"")
    return path
