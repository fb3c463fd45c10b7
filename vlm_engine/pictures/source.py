"""Where a picture comes from: a path, the content of a file, or a file inside a zip."""

from __future__ import annotations

import hashlib
import os
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import TypeAlias

from vlm_engine.errors import MediaUnreadableError
from vlm_engine.files import InMemoryFile, LiveFile, file_status
from vlm_engine.pictures.kinds import HEAD_BYTES, MAX_FILE_BYTES, is_clip
from vlm_engine.pictures.zips import Zips
from vlm_engine.types import ZipEntry

_HASHED_WHOLE_BYTES = 256 * 2**20
_PARTS, _PART_BYTES = 32, 2**20

Source: TypeAlias = str | Path | bytes | ZipEntry | InMemoryFile


def name_of(source: Source) -> str:
    """What messages call it."""
    if isinstance(source, InMemoryFile):
        return source.name
    return "picture in memory" if isinstance(source, bytes) else str(source)


def opened(source: Source, zips: Zips) -> BufferedReader | BytesIO:
    """Its content, to read from; the caller closes it.

    Raises ``MediaNotFoundError``, ``MediaOutOfReachError`` and ``MediaUnreadableError``.
    """
    if isinstance(source, ZipEntry):
        return BytesIO(zips.read(source))
    if isinstance(source, bytes | InMemoryFile):
        content = source if isinstance(source, bytes) else source.content
        if not content:
            raise MediaUnreadableError(f"{name_of(source)}: the file is empty")
        return BytesIO(content)
    file_status(source)  # opening a pipe would wait for somebody to write
    return BufferedReader(LiveFile(source))


def check_length(content: BufferedReader | BytesIO, name: str, most_bytes: int) -> None:
    """Raises ``MediaUnreadableError`` where a picture's file is longer than that. Nothing of it is read."""
    size = _size(content)
    if size > most_bytes:
        limit = f"it has {size:,} bytes, and the limit for a picture's file is {most_bytes:,}"
        raise MediaUnreadableError(f"{name}: too large: {limit}; save it smaller, or as a JPEG")


def fingerprint(source: Source, zips: Zips) -> str:
    """What names its content for good; of a long video, parts of its content. Raises as ``opened`` and ``check_length`` do."""
    with opened(source, zips) as content:
        head = content.read(HEAD_BYTES)
        if not is_clip(head):
            check_length(content, name_of(source), MAX_FILE_BYTES)
        elif _size(content) > _HASHED_WHOLE_BYTES:
            return _of_parts(content)
        content.seek(0)
        return hashlib.file_digest(content, "sha256").hexdigest()


def _of_parts(content: BufferedReader | BytesIO) -> str:
    size = _size(content)
    digest = hashlib.sha256(b"%d" % size)
    for number in range(_PARTS):
        content.seek(number * (size - _PART_BYTES) // (_PARTS - 1))
        digest.update(content.read(_PART_BYTES))
    return digest.hexdigest()


def _size(content: BufferedReader | BytesIO) -> int:
    position = content.tell()
    size = content.seek(0, os.SEEK_END)
    content.seek(position)
    return size
