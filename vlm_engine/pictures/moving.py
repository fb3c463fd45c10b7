"""A handful of frames of a moving picture, evenly spaced in time."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from vlm_engine.errors import MediaUnreadableError
from vlm_engine.picture import fitted
from vlm_engine.pictures.kinds import Kind
from vlm_engine.pictures.stills import DAMAGED, check_size, shown
from vlm_engine.types import ImageShape

_log = logging.getLogger(__name__)

Moment = tuple[float, Image.Image]

_MOST_FRAMES = 10_000
_MOST_PIXELS = 2_000_000_000
_SHORTEST_MS, _USUAL_MS = 10, 100  # browsers show a frame for 100 ms that names a shorter time, or none
_ALIKE = 2.0  # of 255, on average


def is_moving(image: ImageFile) -> bool:
    """Whether a viewer shows frames one after the other; the pages of a document are none."""
    return image.format in {"GIF", "PNG", "WEBP", "AVIF"} and bool(getattr(image, "is_animated", False))


def moments(image: ImageFile, kind: Kind, name: str, shape: ImageShape, count: int) -> list[Moment]:
    """At most ``count`` frames with their times in seconds, each that is shown in the middle of a stretch of equal length.

    Frames that look the same are there once. A file that is damaged behind its first frame is read up to there, and so
    is one with too many frames or pixels. Raises what Pillow raises, and ``MediaUnreadableError``.
    """
    kept, end_s = _walked(image, kind, name, shape, 4 * count)
    chosen: list[Moment] = []
    for number in range(count):
        middle_s = (number + 0.5) * end_s / count
        moment = max((each for each in kept if each[0] <= middle_s), key=lambda each: each[0], default=kept[0])
        if not any(moment is other or _alike(moment[1], other[1]) for other in chosen):
            chosen.append(moment)
    return chosen


def _walked(image: ImageFile, kind: Kind, name: str, shape: ImageShape, room: int) -> tuple[list[Moment], float]:
    """Frames from all over the file, at most ``room``, and how long it lasts. Their number is known only at its end."""
    kept: list[Moment] = []
    step_s = now_s = 0.0
    frames = _frames(image, kind, name)
    while True:
        try:
            duration_s = next(frames, None)
        except (*DAMAGED, MediaUnreadableError) as error:
            if not kept:
                raise
            _log.warning("%s: moves on behind %.1f s, but what follows is damaged: %s", name, now_s, error)
            break
        if duration_s is None:
            break
        if not kept or now_s >= kept[-1][0] + step_s:
            kept.append((now_s, fitted(shown(image, shape.max_side), shape)))
        now_s += duration_s
        if len(kept) > room:
            kept = kept[::2]
            step_s = now_s / len(kept)
    return kept, now_s


def _frames(image: ImageFile, kind: Kind, name: str) -> Iterator[float]:
    """Puts ``image`` at one frame after the other, and tells how many seconds each is shown."""
    pixels = 0
    # An animated PNG may begin with a picture for viewers that know of none.
    first = 1 if image.format == "PNG" and image.info.get("default_image") else 0
    for number in range(first, first + _MOST_FRAMES):
        try:
            image.seek(number)
        except EOFError:
            return
        check_size(image, kind, name)
        image.load()
        told = image.info.get("duration") or 0
        yield (told if told > _SHORTEST_MS else _USUAL_MS) / 1000
        pixels += image.width * image.height
        if pixels > _MOST_PIXELS:
            return


def _alike(first: Image.Image, second: Image.Image) -> bool:
    small = [np.asarray(image.resize((32, 32), Image.Resampling.BOX)).astype(int) for image in (first, second)]
    return float(np.abs(small[0] - small[1]).mean()) < _ALIKE
