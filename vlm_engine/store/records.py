"""What is stored, and an answer as the bytes it is stored in."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

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
    """Verdicts and raw reply, compressed together: they share the names of the tags."""
    plain = {tag: [verdict.present, verdict.probability] for tag, verdict in verdicts.items()}
    return packed_json(json.dumps(plain, ensure_ascii=False, separators=(",", ":")), raw)


def packed_json(verdicts: str, raw: str) -> bytes:
    """The same, of verdicts that are JSON already."""
    return zlib.compress(f"{verdicts}\n{raw}".encode("utf-8", "surrogatepass"))


def unpacked(said: bytes) -> tuple[dict[str, Verdict], str]:
    """The verdicts and the raw reply. ``ValueError``: these are not the bytes that were stored; the checksum tells."""
    try:
        verdicts, _, raw = zlib.decompress(said).decode("utf-8", "surrogatepass").partition("\n")
    except zlib.error as error:
        raise ValueError(str(error)) from error
    return {tag: Verdict(present, probability) for tag, (present, probability) in json.loads(verdicts).items()}, raw
