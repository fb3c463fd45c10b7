"""Single frames of a video as JPEGs, for pages that show them."""

from __future__ import annotations

from collections.abc import Sequence

from vlm_engine.errors import FrameError
from vlm_engine.types import Frame, ImageShape, Source
from vlm_engine.video.probe import probe
from vlm_engine.video.reader import VideoReader
from vlm_engine.watchdog import STALL_S

_QUALITY = 70  # small pictures on a page


def read_frames(
    video: str | Source, times_s: Sequence[float], max_side: int, *, stall_s: float = STALL_S
) -> tuple[Frame | FrameError, ...]:
    """Return the frame that is shown at each time, in the order of ``times_s``; the reason where
    it cannot be decoded. Blocks while it reads and decodes.

    ``times_s``: seconds. A time before the first frame gets the first one, and after the last one
    the last. ``max_side``: the longest side in pixels. ``stall_s``: seconds to wait for a read that
    brings nothing.

    Raises ``MediaNotFoundError`` and ``MediaUnreadableError``.
    """
    info = probe(video, stall_s=stall_s)
    with VideoReader(info, stall_s=stall_s) as reader:
        found = dict(reader.frames(sorted(set(times_s)), ImageShape(max_side, _QUALITY)))
    return tuple(found[time_s] for time_s in times_s)
