"""Files before anybody knows what they hold."""

from __future__ import annotations

import io
import logging
import os
import stat
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vlm_engine.errors import (
    MediaError,
    MediaNotFoundError,
    MediaOutOfReachError,
    MediaUnreadableError,
    VLMEngineError,
)
from vlm_engine.watchdog import beat, rest

_log = logging.getLogger(__name__)
_PIECE_BYTES = 1024 * 1024
_ON_PURPOSE = (OSError, ValueError, SyntaxError, RuntimeError, EOFError)


class AsideError(Exception):
    """What ``mapped`` leaves alone: no error of a library, but what one part of the engine tells another."""


@contextmanager
def mapped(
    name: str | Path, what: str = "cannot be read", kind: type[MediaError] = MediaUnreadableError
) -> Iterator[None]:
    """The one place where what a library raises while it reads media, foreseen or not, becomes an error of ``kind``.

    ``name``: what messages call the file. ``what``: what they say of it. A library's errors are no closed list: what it
    cannot cope with in one file, or one frame, must not end the work on others.
    """
    try:
        yield
    except (VLMEngineError, AsideError):
        raise
    except MemoryError as error:
        raise kind(f"{name}: there is not enough memory to decode it") from error
    except Exception as error:
        _log.debug("%s: %r at %s", name, error, _where(error))
        raise kind(f"{name}: {what}: {told_by(error)}") from error


def _where(error: Exception) -> str:
    """The line that raised it: a traceback of each damaged file would fill a log."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "nowhere"


def told_by(error: Exception) -> str:
    """What there is to say of an error of a library; of one that nobody raises on purpose, its type as well."""
    if isinstance(error, EOFError):
        return "it ends too early"
    system: str | None = getattr(
        error, "strerror", None
    )  # of OSError, and of what libraries derive from others
    if system:
        return system
    words = str(error) or type(error).__name__
    return words if isinstance(error, _ON_PURPOSE) else f"{type(error).__name__}: {error}"


def file_status(path: str | Path) -> os.stat_result:
    """Size and times of the file.

    Raises ``MediaNotFoundError``, ``MediaOutOfReachError``, and ``MediaUnreadableError`` for what is no file, or empty.
    """
    try:
        status = Path(path).stat()
    except FileNotFoundError:
        raise MediaNotFoundError(f"{path}: no such file") from None
    except OSError as error:
        raise _out_of_reach(path, error) from error
    except ValueError as error:
        raise MediaNotFoundError(f"{str(path)!r}: no file can have that name: {error}") from error
    if not stat.S_ISREG(status.st_mode):
        raise MediaUnreadableError(f"{path}: is not a file")
    if status.st_size == 0:
        raise MediaUnreadableError(f"{path}: the file is empty")
    return status


class LiveFile(io.FileIO):
    """A file, opened to be read, that tells a ``Watch`` when a read begins and when it is over.

    Opening and reading raise ``MediaOutOfReachError``.
    """

    def __init__(self, path: str | Path) -> None:
        try:
            super().__init__(path, "rb")
        except OSError as error:
            raise _out_of_reach(path, error) from error

    def readinto(self, buffer: Any, /) -> int:
        """As ``io.FileIO``'s."""
        beat()
        try:
            return super().readinto(buffer)
        except OSError as error:
            raise _out_of_reach(str(self.name), error) from error
        finally:
            rest()

    def readall(self) -> bytes:
        """As ``io.FileIO``'s, but piece by piece: on a slow share, one read of everything would look like one that hangs."""
        content, piece = bytearray(), memoryview(bytearray(_PIECE_BYTES))
        while read := self.readinto(piece):
            content += piece[:read]
        return bytes(content)


class InMemoryFile:
    """A file that is in memory, and what messages call it. A video is taken so by the video readers, too: it is a
    ``vlm_engine.types.Source``."""

    def __init__(self, name: str, content: bytes) -> None:
        self.name = name
        self.content = content

    def open(self) -> HeldContent:
        """Its content from the beginning."""
        return HeldContent(self.content)


class HeldContent(io.BytesIO):
    """The bytes of a video in memory: a ``vlm_engine.types.Content``."""

    modified_ns = 0

    @property
    def size_bytes(self) -> int:
        """All of it."""
        return self.getbuffer().nbytes


def _out_of_reach(path: str | Path, error: OSError) -> MediaOutOfReachError:
    return MediaOutOfReachError(f"{path}: {error.strerror or error}")
