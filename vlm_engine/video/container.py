"""A video, opened: the one place where errors of PyAV and FFmpeg become ours."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar

import av
from av.codec.hwaccel import HWAccel, hwdevices_available
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from vlm_engine.errors import MediaOutOfReachError, MediaUnreadableError
from vlm_engine.files import file_status, mapped, told_by
from vlm_engine.types import Content, Source
from vlm_engine.watchdog import beat

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


_MOST = 4  # for one video: slices are few, and more threads wait for each other


class Threads:
    """So many threads to share; for use from any thread."""

    def __init__(self, total: int) -> None:
        self._lock = threading.Lock()
        self._free = total

    @contextmanager
    def share(self) -> Iterator[int]:
        """How many threads one more video may use until the end of the block: what is free, at most 4, at least one."""
        with self._lock:
            count = min(_MOST, max(1, self._free))
            self._free -= count
        try:
            yield count
        finally:
            with self._lock:
                self._free += count


def _processors() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # there is none on macOS and Windows
        return os.cpu_count() or 1


DECODING = Threads(_processors())


_log = logging.getLogger(__name__)

_S = TypeVar("_S", bound=Stream)

Open: TypeAlias = Callable[[], AbstractContextManager[tuple[InputContainer, VideoStream]]]
"""Opens a video once more, to be read from its beginning, and closes it at the end."""

# A file may be a playlist that names addresses. Nothing but local files is read, whatever it says; where what is read
# comes from elsewhere, not even those. MPEG streams are followed beyond damage of any length, not of 64 KB only.
_OPTIONS = {"protocol_whitelist": "file", "resync_size": str(2**30)}
_OPTIONS_OF_CONTENT = _OPTIONS | {"protocol_whitelist": "none"}
# Giving up is for whoever watches the thread (``watch``). This ends what was left behind there.
_TIMEOUT_S = 3600.0
_BOXES_TO_READ = 64
_NO_TIMES, _NO_BYTE_SEEK = 0x0080, 0x8000  # AVFMT_NOTIMESTAMPS, AVFMT_NO_BYTE_SEEK
_NO_INDEX, _NO_VIDEO = (
    "its index is missing, so it was never finished",
    "it is damaged, or of no kind that is known",
)


@contextmanager
def opened(
    video: Video, hwaccel: str | None = None
) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container of a video and its main video stream, closed at the end.

    ``hwaccel``: a kind of device that FFmpeg knows ("cuda", "videotoolbox" …); where it cannot decode this video, the
    processor does, and a warning says so. Raises ``MediaUnreadableError`` when the video cannot be opened, or holds no
    pictures or none with time stamps, and what its source raises.
    """
    name = name_of(video)
    # PyAV raises more than FFmpeg's errors: ValueError for what is newer than its lists, UnicodeDecodeError for names …
    with mapped(name), ExitStack() as stack:
        container = _open_on(hwaccel, video, stack) if hwaccel else _open(video, stack)
        stack.callback(container.close)
        with DECODING.share() as threads:
            yield container, _main_stream(container, name, threads)


def _open(video: Video, stack: ExitStack, device: HWAccel | None = None) -> InputContainer:
    where: str | Alive
    if isinstance(video, str | Path):
        # An absolute path cannot be taken for a protocol, as "Final: second half.mp4" would be.
        where, options = os.path.abspath(video), _OPTIONS  # noqa: PTH100 - pathlib's resolve() would also follow links
    else:
        content = video.open()
        stack.callback(content.close)
        where, options = Alive(content, video.name), _OPTIONS_OF_CONTENT
    try:
        return av.open(
            where,
            "r",
            options=options,
            metadata_errors="replace",
            timeout=_TIMEOUT_S,
            hwaccel=device,
        )
    except av.PermissionError as error:
        raise MediaOutOfReachError(f"{name_of(video)}: {told_by(error)}") from error
    except av.FFmpegError as error:
        raise MediaUnreadableError(
            f"{name_of(video)}: cannot be opened as a video: {_cause(error, video)}"
        ) from error


def _cause(error: av.FFmpegError, video: Video) -> str:
    if not isinstance(error, av.InvalidDataError):
        return told_by(error)
    with bytes_of(video) as content:
        return _NO_INDEX if _lacks_index(content) else _NO_VIDEO


def _lacks_index(content: Readable) -> bool:
    """Whether this is an MP4 file, a row of boxes each with its length and kind, without the one that lists its packets."""
    kinds: list[bytes] = []
    while len(kinds) < _BOXES_TO_READ and len(head := content.read(16)) == 16:
        length = int.from_bytes(head[:4]) if head[:4] != b"\0\0\0\1" else int.from_bytes(head[8:])
        kinds.append(head[4:8])
        if not 8 <= length < 2**60:
            break  # 0 is for the rest of the file
        content.seek(length - 16, os.SEEK_CUR)
    return kinds[:1] == [b"ftyp"] and b"moov" not in kinds


def _open_on(hwaccel: str, video: Video, stack: ExitStack) -> InputContainer:
    path = name_of(video)
    if hwaccel not in hwdevices_available():
        known = ", ".join(hwdevices_available()) or "none"
        _log.warning(
            "%s: decoded by the processor: this FFmpeg knows no device %r, only: %s",
            path,
            hwaccel,
            known,
        )
        return _open(video, stack)
    try:
        container = _open(video, stack, HWAccel(hwaccel, allow_software_fallback=True))
    except (MediaUnreadableError, RuntimeError, NotImplementedError) as error:
        _log.warning("%s: decoded by the processor, since %s cannot: %s", path, hwaccel, error)
        return _open(video, stack)
    if not any(is_on_device(stream) for stream in container.streams.video):
        _log.warning(
            "%s: decoded by the processor, since %s does not decode this kind of video",
            path,
            hwaccel,
        )
    return container


def is_on_device(stream: VideoStream) -> bool:
    """Whether something else than the processor decodes ``stream``."""
    return _has_decoder(stream) and stream.codec_context.is_hwaccel


def all_packets(container: InputContainer) -> Iterator[Packet[Stream]]:
    """The packets of all streams from where the container stands; each is a sign of life."""
    yield from _alive(container.demux())


def packets_of(container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
    """The packets of ``stream`` from where the container stands; each is a sign of life."""
    yield from _alive(container.demux(stream))


def _alive(packets: Iterator[Packet[_S]]) -> Iterator[Packet[_S]]:
    # Where streams turned up in the middle of the file, PyAV fails at its end, when all packets were read.
    with suppress(IndexError):
        for packet in packets:
            beat()
            yield packet


def is_avi(container: InputContainer) -> bool:
    """Whether its pictures have numbers instead of times, in the order of decoding. FFmpeg guesses when they are shown."""
    return "avi" in container.format.name.split(",")


def _main_stream(container: InputContainer, path: str, threads: int) -> VideoStream:
    """The largest picture that moves; cover art and timed thumbnails are stills that travel along."""
    if container.format.name.endswith("_pipe") or container.format.name == "image2":
        raise MediaUnreadableError(f"{path}: is a picture, not a video")
    stills = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
    moving = [stream for stream in container.streams.video if not stream.disposition & stills]
    if not moving:
        raise MediaUnreadableError(f"{path}: holds no video{_what_else(container)}")
    decodable = [stream for stream in moving if _has_decoder(stream)]
    if not decodable:
        told = "this FFmpeg has no decoder for its video, or it is encrypted; convert it, for example to H.264"
        raise MediaUnreadableError(f"{path}: {told}")
    stream = max(
        decodable,
        key=lambda each: (
            each.width * each.height,
            bool(each.disposition & Disposition.default),
            -each.index,
        ),
    )
    _prepare(stream, path, threads)
    return stream


def _has_decoder(stream: VideoStream) -> bool:
    context: VideoCodecContext | None = stream.codec_context  # its stub leaves the None out
    return context is not None


def _what_else(container: InputContainer) -> str:
    kinds = sorted(
        {
            "cover art" if stream.type == "video" else str(stream.type)
            for stream in container.streams
        }
    )
    return f", only {' and '.join(kinds)}" if kinds else ""


def _prepare(stream: VideoStream, path: str, threads: int) -> None:
    if not stream.time_base:
        raise MediaUnreadableError(f"{path}: its video has no time stamps")
    # Frame threads hold back a frame for each thread, which is lost work where one frame is wanted per seek.
    stream.thread_type = "SLICE"
    stream.codec_context.thread_count = threads


def has_clock(container: InputContainer) -> bool:
    """Whether its packets have times of their own. Raw streams have none: their frames are counted."""
    return not container.format.flags & _NO_TIMES


def seeks_by_byte(container: InputContainer) -> bool:
    """Whether reading can go on at any byte, as in MPEG transport and program streams, and raw ones."""
    of_mpeg = container.format.name in {"mpegts", "mpeg"}
    return (of_mpeg or not has_clock(container)) and not container.format.flags & _NO_BYTE_SEEK


def tick(stream: VideoStream) -> Fraction:
    """Length of one tick of the stream's clock, in seconds."""
    assert stream.time_base is not None  # opened() has made sure
    return stream.time_base
