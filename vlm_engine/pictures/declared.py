"""The colours that a file declares by numbers (ITU-T H.273), where Pillow does not tell them."""

from __future__ import annotations

import os
import struct
from typing import IO

from vlm_engine.pictures.boxes import nclx_of, profile_of, read_items
from vlm_engine.pictures.kinds import AVIF, PNG, Kind, NotReadError, VideoInsideError

_MAX_CHUNKS = 10_000
_RGB = 0  # the matrix of a picture that is stored as it is

Colours = tuple[int, int]
"""Primaries and transfer."""


def declared_colours(kind: Kind, content: IO[bytes]) -> Colours | None:
    """What goes before a colour profile in a PNG, and stands in for a missing one in an AVIF file."""
    readers = {PNG: _in_png, AVIF: _in_avif}
    if kind not in readers:
        return None
    position = content.tell()
    try:
        return readers[kind](content)
    except (ValueError, struct.error, NotReadError, VideoInsideError):
        return None  # whoever decodes it says what is wrong with it
    finally:
        content.seek(position)


def _in_png(content: IO[bytes]) -> Colours | None:
    """The chunk ``cICP``, which comes before the pixels."""
    content.seek(8)
    for _ in range(_MAX_CHUNKS):
        length, kind = struct.unpack(">I4s", content.read(8))
        if kind == b"cICP" and length == 4:
            primaries, transfer, matrix, _ = content.read(4)
            return (primaries, transfer) if matrix == _RGB else None
        if kind in {b"IDAT", b"IEND"}:
            return None
        content.seek(length + 4, os.SEEK_CUR)
    return None


def _in_avif(content: IO[bytes]) -> Colours | None:
    items = read_items(content)
    told = nclx_of(items, items.primary)
    return (
        (told.primaries, told.transfer)
        if told and profile_of(items, items.primary) is None
        else None
    )
