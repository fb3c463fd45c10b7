"""What is in a video, byte for byte: a file of this machine, or what somebody else sends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from vlm_engine.files import file_status
from vlm_engine.types import Content, Source
from vlm_engine.watch import beat

Video: TypeAlias = str | Path | Source


class Readable(Protocol):
    """What files and contents have in common."""

    def read(self, size: int = -1, /) -> bytes:
        """So many bytes, or all; fewer only at the end."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """As ``io.IOBase.seek``."""


@dataclass(frozen=True, slots=True)
class Status:
    """What tells whether it is still the same: size in bytes, time of change in nanoseconds."""

    size_bytes: int
    modified_ns: int


def name_of(video: Video) -> str:
    """What messages call it."""
    return str(video) if isinstance(video, str | Path) else video.name


def status_of(video: Video) -> Status:
    """Raises ``MediaNotFoundError`` and ``MediaUnreadableError``."""
    if isinstance(video, str | Path):
        status = file_status(video)
        return Status(status.st_size, status.st_mtime_ns)
    with closing(video.open()) as content:
        return Status(content.size_bytes, content.modified_ns)


@contextmanager
def bytes_of(video: Video) -> Iterator[Readable]:
    """Its content, to be read. Raises what ``open`` and ``Source.open`` raise."""
    if isinstance(video, str | Path):
        with Path(video).open("rb") as file:
            yield file
    else:
        with closing(video.open()) as content:
            yield Alive(content, video.name)


class Alive:
    """A content whose every read is a sign of life. PyAV takes it for a file called ``name``."""

    def __init__(self, content: Content, name: str) -> None:
        self._content = content
        self.name = name

    def read(self, size: int = -1, /) -> bytes:
        """As the content's own."""
        data = self._content.read(size)
        beat()
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """As the content's own."""
        return self._content.seek(offset, whence)

    def tell(self) -> int:
        """As the content's own."""
        return self._content.tell()
