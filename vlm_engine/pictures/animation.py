"""Sample a moving picture: a handful of its frames, evenly spaced in time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from vlm_engine.errors import MediaUnreadableError
from vlm_engine.files import media_errors
from vlm_engine.jpeg import fitted
from vlm_engine.pictures.formats import Format
from vlm_engine.pictures.still import check_size, render
from vlm_engine.types import ImageShape

_log = logging.getLogger(__name__)

Moment: TypeAlias = tuple[float, Image.Image]

_MAX_FRAMES = 10_000
_MAX_PIXELS = 2_000_000_000
# Browsers show a frame for 100 ms that names no time, or a shorter one than this.
_SHORTEST_MS, _USUAL_MS = 10, 100
_ALIKE = 12  # of 255, the most that any place may differ
_GOLDEN = 0.618  # steps of this share of a stretch meet no place twice


def is_animated(image: ImageFile) -> bool:
    """Return whether a viewer shows frames one after the other; pages of a document are none."""
    return image.format in {"GIF", "PNG", "WEBP", "AVIF"} and bool(
        getattr(image, "is_animated", False)
    )


def spread(duration: float, count: int) -> list[float]:
    """Return ``count`` times, one in each stretch of equal length, in the unit of ``duration``.

    Their places within the stretches differ, so that what recurs regularly is not always missed.
    """
    return [(number + (0.5 + number * _GOLDEN) % 1) * duration / count for number in range(count)]


def sample_frames(
    image: ImageFile, form: Format, name: str, shape: ImageShape, count: int
) -> list[Moment]:
    """Return the frames shown at ``count`` times over the whole, each with its time in seconds.

    A frame that looks like an earlier one is that earlier one. A file is read up to its first
    damaged frame, and only so far if it has too many frames or pixels. Raises
    ``MediaUnreadableError`` and what Pillow raises if the first one is damaged.
    """
    kept, end_ms = _read_frames(image, form, name, shape, 4 * count)
    moments: list[Moment] = []
    for time_ms in spread(end_ms, count):
        latest = next((each for each in reversed(kept) if each.at_ms <= time_ms), kept[0])
        same = (moment for moment in moments if _alike(moment[1], latest.picture))
        moments.append(next(same, (latest.at_ms / 1000, latest.picture)))
    return moments


@dataclass(frozen=True, slots=True)
class _Kept:
    at_ms: int
    picture: Image.Image


def _read_frames(
    image: ImageFile, form: Format, name: str, shape: ImageShape, limit: int
) -> tuple[list[_Kept], int]:
    """Return at most ``limit`` frames from all over the file, and its duration.

    Only at the end of the file it is known how many frames there are: the kept ones are thinned
    out.
    """
    kept: list[_Kept] = []
    now_ms = step_ms = 0
    try:
        with media_errors(name, "damaged picture"):
            for duration_ms in _play(image, form, name):
                if not kept or now_ms >= kept[-1].at_ms + step_ms:
                    kept.append(_Kept(now_ms, fitted(render(image, shape.max_side), shape)))
                now_ms += duration_ms
                if len(kept) > limit:
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


def _play(image: ImageFile, form: Format, name: str) -> Iterator[int]:
    """Move ``image`` to one frame after the other and yield how many milliseconds each is shown."""
    pixels = 0
    # An animated PNG may begin with a picture for viewers that cannot animate.
    first = 1 if image.format == "PNG" and image.info.get("default_image") else 0
    for number in range(first, first + _MAX_FRAMES):
        try:
            image.seek(number)
        except EOFError:
            return
        check_size(image, form, name)
        image.load()
        duration_ms = round(image.info.get("duration") or 0)
        yield duration_ms if duration_ms > _SHORTEST_MS else _USUAL_MS
        pixels += image.width * image.height
        if pixels > _MAX_PIXELS:
            return


def _alike(first: Image.Image, second: Image.Image) -> bool:
    if first is second:
        return True
    small = [
        np.asarray(image.resize((32, 32), Image.Resampling.BOX)).astype(int)
        for image in (first, second)
    ]
    return int(np.abs(small[0] - small[1]).max()) < _ALIKE
