"""A handful of frames of a moving picture, evenly spaced in time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from vlm_engine.errors import MediaUnreadableError
from vlm_engine.files import mapped
from vlm_engine.jpeg import fitted
from vlm_engine.pictures.formats import Kind
from vlm_engine.pictures.still import check_size, shown
from vlm_engine.types import ImageShape

_log = logging.getLogger(__name__)

Moment = tuple[float, Image.Image]

_MOST_FRAMES = 10_000
_MOST_PIXELS = 2_000_000_000
_SHORTEST_MS, _USUAL_MS = (
    10,
    100,
)  # browsers show a frame for 100 ms that names a shorter time, or none
_ALIKE = 12  # of 255, in no place more
_GOLDEN = 0.618  # steps of this share of a stretch meet no place twice


def is_moving(image: ImageFile) -> bool:
    """Whether a viewer shows frames one after the other; the pages of a document are none."""
    return image.format in {"GIF", "PNG", "WEBP", "AVIF"} and bool(
        getattr(image, "is_animated", False)
    )


def spread(duration: float, count: int) -> list[float]:
    """``count`` times, one in each stretch of equal length, in whatever unit ``duration`` has.

    They lie at ever other places of their stretches, so that what comes back at regular intervals is not always missed.
    """
    return [(number + (0.5 + number * _GOLDEN) % 1) * duration / count for number in range(count)]


def moments(image: ImageFile, kind: Kind, name: str, shape: ImageShape, count: int) -> list[Moment]:
    """The frames shown at ``count`` times that are spread over the whole, with their own times in seconds.

    For a frame that looks like an earlier one stands that earlier one. A file that is damaged behind its first frame is
    read up to there, and so is one with too many frames or pixels. Raises what Pillow raises, and ``MediaUnreadableError``.
    """
    kept, end_ms = _walked(image, kind, name, shape, 4 * count)
    found: list[Moment] = []
    for time_ms in spread(end_ms, count):
        latest = max(
            (each for each in kept if each.at_ms <= time_ms),
            key=lambda each: each.at_ms,
            default=kept[0],
        )
        same = (moment for moment in found if _alike(moment[1], latest.picture))
        found.append(next(same, (latest.at_ms / 1000, latest.picture)))
    return found


@dataclass(frozen=True, slots=True)
class _Kept:
    at_ms: int
    picture: Image.Image


def _walked(
    image: ImageFile, kind: Kind, name: str, shape: ImageShape, room: int
) -> tuple[list[_Kept], int]:
    """Frames from all over the file, at most ``room``, and how long it lasts. Their number is known only at its end."""
    kept: list[_Kept] = []
    now_ms = step_ms = 0
    try:
        with mapped(name, "damaged picture"):
            for duration_ms in _frames(image, kind, name):
                if not kept or now_ms >= kept[-1].at_ms + step_ms:
                    kept.append(_Kept(now_ms, fitted(shown(image, shape.max_side), shape)))
                now_ms += duration_ms
                if len(kept) > room:
                    kept = kept[::2]
                    step_ms = now_ms // len(kept)
    except MediaUnreadableError as error:
        if not kept:
            raise
        _log.warning(
            "%s: seen up to %.1f s only, the rest is damaged: %s",
            name,
            now_ms / 1000,
            error.__cause__ or error,
        )
    return kept, now_ms


def _frames(image: ImageFile, kind: Kind, name: str) -> Iterator[int]:
    """Puts ``image`` at one frame after the other, and tells how many milliseconds each is shown."""
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
        told = round(image.info.get("duration") or 0)
        yield told if told > _SHORTEST_MS else _USUAL_MS
        pixels += image.width * image.height
        if pixels > _MOST_PIXELS:
            return


def _alike(first: Image.Image, second: Image.Image) -> bool:
    if first is second:
        return True
    small = [
        np.asarray(image.resize((32, 32), Image.Resampling.BOX)).astype(int)
        for image in (first, second)
    ]
    return int(np.abs(small[0] - small[1]).max()) < _ALIKE
