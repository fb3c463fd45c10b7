"""What is stored, and an answer as the bytes it is stored in."""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from vlm_engine.types import Answer, Form, ImageShape, Verdict


@dataclass(frozen=True, slots=True)
class Subject:
    """What a set of stored answers is about: which video or picture, asked of which model, in which words."""

    media: str
    model: str
    wording: str


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """One answer as it was stored. ``look_ms``: the time asked for; ``frame_s``: the true time of the frame shown."""

    look_ms: int
    frame_s: float
    form: Form
    shape: ImageShape
    answer: Answer


@dataclass(frozen=True, slots=True)
class StoredSearch:
    """A search that came to its end: for which tags together, and with which settings, in whatever words."""

    tags: tuple[str, ...]
    settings: str


def packed(verdicts: Mapping[str, Verdict], raw: str) -> bytes:
    """Verdicts and raw reply, compressed together: they share the names of the tags.

    A line with the tags as JSON; for each tag a byte and a double, presence and probability (NaN: not told); the reply.
    """
    tags = json.dumps([*verdicts], ensure_ascii=False)
    told = (
        (v.present, math.nan if v.probability is None else v.probability) for v in verdicts.values()
    )
    numbers = _layout(len(verdicts)).pack(*(value for pair in told for value in pair))
    return zlib.compress(_encoded(f"{tags}\n") + numbers + _encoded(raw))


def unpacked(said: bytes) -> tuple[dict[str, Verdict], str]:
    """The verdicts and the raw reply. ``ValueError``: these are not the bytes that were stored; the checksum tells."""
    try:
        tags, _, rest = zlib.decompress(said).partition(b"\n")
        names = _names(tags)
        layout = _layout(len(names))
        numbers = layout.unpack_from(rest)
    except (zlib.error, struct.error) as error:
        raise ValueError(str(error)) from error
    probabilities = (None if math.isnan(number) else number for number in numbers[1::2])
    verdicts = dict(zip(names, map(Verdict, numbers[::2], probabilities), strict=True))
    return verdicts, rest[layout.size :].decode("utf-8", "surrogatepass")


def _encoded(text: str) -> bytes:
    # A reply may hold halves of characters: JSON lets a server write them.
    return text.encode("utf-8", "surrogatepass")


# Thousands of answers are about the same tags.
@lru_cache
def _names(tags: bytes) -> tuple[str, ...]:
    return tuple(json.loads(tags.decode("utf-8", "surrogatepass")))


@lru_cache
def _layout(tags: int) -> struct.Struct:
    return struct.Struct("<" + "?d" * tags)
