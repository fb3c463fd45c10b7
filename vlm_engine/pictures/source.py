"""Where a picture comes from: a path, the content of a file, or a file inside a zip."""

from __future__ import annotations

import hashlib
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import TypeAlias

from vlm_engine.errors import MediaUnreadableError
from vlm_engine.files import Held, LiveFile, file_status
from vlm_engine.pictures.zips import Zips
from vlm_engine.types import ZipEntry

Source: TypeAlias = str | Path | bytes | ZipEntry | Held


def name_of(source: Source) -> str:
    """What messages call it."""
    if isinstance(source, Held):
        return source.name
    return "picture in memory" if isinstance(source, bytes) else str(source)


def opened(source: Source, zips: Zips) -> BufferedReader | BytesIO:
    """Its content, to read from; the caller closes it.

    Raises ``MediaNotFoundError``, ``MediaOutOfReachError`` and ``MediaUnreadableError``.
    """
    if isinstance(source, ZipEntry):
        return BytesIO(zips.read(source))
    if isinstance(source, bytes | Held):
        content = source if isinstance(source, bytes) else source.content
        if not content:
            raise MediaUnreadableError(f"{name_of(source)}: the file is empty")
        return BytesIO(content)
    file_status(source)  # opening a pipe would wait for somebody to write
    return BufferedReader(LiveFile(source))


def fingerprint(source: Source, zips: Zips) -> str:
    """What names its content for good. Raises as ``opened`` does."""
    with opened(source, zips) as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
