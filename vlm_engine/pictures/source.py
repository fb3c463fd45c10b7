"""Where a picture comes from: a path, the content of a file, or a file inside a zip."""

from __future__ import annotations

import hashlib
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import TypeAlias

from vlm_engine.errors import MediaOutOfReachError, MediaUnreadableError
from vlm_engine.files import file_status
from vlm_engine.pictures.zips import Zips
from vlm_engine.types import ZipEntry

Source: TypeAlias = str | Path | bytes | ZipEntry


def name_of(source: Source) -> str:
    """What messages call it."""
    return "picture in memory" if isinstance(source, bytes) else str(source)


def opened(source: Source, zips: Zips) -> BufferedReader | BytesIO:
    """Its content, to read from; the caller closes it. Raises ``MediaNotFoundError``, ``MediaOutOfReachError``
    and ``MediaUnreadableError``.
    """
    if isinstance(source, ZipEntry):
        return BytesIO(zips.read(source))
    if isinstance(source, bytes):
        if not source:
            raise MediaUnreadableError(f"{name_of(source)}: the file is empty")
        return BytesIO(source)
    file_status(source)  # opening a pipe would wait for somebody to write
    try:
        return Path(source).open("rb")
    except OSError as error:
        raise MediaOutOfReachError(f"{source}: {error.strerror or error}") from error


def fingerprint(source: Source, zips: Zips) -> str:
    """What names its content for good. Raises as ``opened`` does."""
    with opened(source, zips) as content:
        try:
            return hashlib.file_digest(content, "sha256").hexdigest()
        except OSError as error:
            raise MediaUnreadableError(f"{name_of(source)}: {error.strerror or error}") from error
