"""Files and their errors, whatever they hold."""

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
from vlm_engine.watchdog import heartbeat, pause

_log = logging.getLogger(__name__)
_CHUNK_BYTES = 1024 * 1024
_SELF_EXPLAINING = (OSError, ValueError, SyntaxError, RuntimeError, EOFError)


class SignalError(Exception):
    """Base of exceptions by which parts of the engine signal each other; ``media_errors`` lets them
    pass."""


@contextmanager
def media_errors(
    name: str | Path, what: str = "cannot be read", kind: type[MediaError] = MediaUnreadableError
) -> Iterator[None]:
    """Translate whatever a library raises while it reads media into an error of ``kind``.

    ``name`` is what messages call the file, ``what`` says what failed. Which errors a library
    raises is not a closed list, and one bad file or frame must not end the work on the others.
    """
    try:
        yield
    except (VLMEngineError, SignalError):
        raise
    except MemoryError as error:
        raise kind(f"{name}: there is not enough memory to decode it") from error
    except Exception as error:
        _log.debug("%s: %r at %s", name, error, _origin(error))
        raise kind(f"{name}: {what}: {describe_error(error)}") from error


def _origin(error: Exception) -> str:
    """Return the line that raised the error: a traceback for each damaged file would fill a log."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "nowhere"


def describe_error(error: Exception) -> str:
    """Return a library's error as text, with its type where the text alone may explain nothing."""
    if isinstance(error, EOFError):
        return "it ends too early"
    # OSError has it, and what libraries derive from other classes.
    system: str | None = getattr(error, "strerror", None)
    if system:
        return system
    text = str(error) or type(error).__name__
    return text if isinstance(error, _SELF_EXPLAINING) else f"{type(error).__name__}: {error}"


def file_status(path: str | Path) -> os.stat_result:
    """Return the size and times of a file.

    Raises ``MediaNotFoundError``, ``MediaOutOfReachError``, and ``MediaUnreadableError`` for an
    empty file or something that is not a file.
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


class WatchedFile(io.FileIO):
    """File open for reading that tells a ``Watchdog`` when a read begins and ends.

    Opening and reading raise ``MediaOutOfReachError``.
    """

    def __init__(self, path: str | Path) -> None:
        try:
            super().__init__(path, "rb")
        except OSError as error:
            raise _out_of_reach(path, error) from error

    def readinto(self, buffer: Any, /) -> int:
        """Read as ``io.FileIO`` does."""
        heartbeat()
        try:
            return super().readinto(buffer)
        except OSError as error:
            raise _out_of_reach(str(self.name), error) from error
        finally:
            pause()

    def readall(self) -> bytes:
        """Read to the end in chunks: on a slow share one large read would look like a stall."""
        content, chunk = bytearray(), memoryview(bytearray(_CHUNK_BYTES))
        while read := self.readinto(chunk):
            content += chunk[:read]
        return bytes(content)


class InMemoryFile:
    """File in memory with the name that messages use; for the video readers it is a ``Source``."""

    def __init__(self, name: str, content: bytes) -> None:
        self.name = name
        self.content = content

    def open(self) -> InMemoryContent:
        """Return its content, to be read from the beginning."""
        return InMemoryContent(self.content)


class InMemoryContent(io.BytesIO):
    """Bytes of a video in memory, as ``vlm_engine.types.Content``."""

    modified_ns = 0

    @property
    def size_bytes(self) -> int:
        """Return the length of the whole content."""
        return self.getbuffer().nbytes


def _out_of_reach(path: str | Path, error: OSError) -> MediaOutOfReachError:
    return MediaOutOfReachError(f"{path}: {error.strerror or error}")
