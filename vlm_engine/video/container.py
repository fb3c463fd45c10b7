"""Open a video with FFmpeg (PyAV) and demux it: its container, its main video stream, its packets.

A video is a local file, or a ``Source`` whose content somebody else sends.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from fractions import Fraction
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple, TypeAlias, TypeVar

import av
from av.codec.hwaccel import HWAccel, hwdevices_available
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from vlm_engine.errors import MediaOutOfReachError, MediaUnreadableError
from vlm_engine.files import describe_error, file_status, media_errors
from vlm_engine.types import Content, Source
from vlm_engine.watchdog import heartbeat

_log = logging.getLogger(__name__)

_S = TypeVar("_S", bound=Stream)

Video: TypeAlias = str | Path | Source
Reopen: TypeAlias = Callable[[], AbstractContextManager[tuple[InputContainer, VideoStream]]]
"""Opens the same video once more, to be read from its beginning, and closes it at the end."""

# A file may be a playlist that names addresses. Nothing but local files is read, whatever it says;
# content from elsewhere cannot name even those. MPEG streams are followed beyond damage of any
# length, not only of 64 KB.
_OPTIONS = {"protocol_whitelist": "file", "resync_size": str(2**30)}
_OPTIONS_OF_CONTENT = _OPTIONS | {"protocol_whitelist": "none"}
# The watchdog gives up long before. This ends what it left behind.
_TIMEOUT_S = 3600.0
_BOXES_TO_READ = 64
_NO_TIMES, _NO_BYTE_SEEK = 0x0080, 0x8000  # AVFMT_NOTIMESTAMPS, AVFMT_NO_BYTE_SEEK
_STILLS = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image


class FileStatus(NamedTuple):
    """Size in bytes and time of change in nanoseconds: if both stay, so did the content."""

    size_bytes: int
    modified_ns: int


def name_of(video: Video) -> str:
    """Return the name of a video in messages."""
    return str(video) if isinstance(video, str | Path) else video.name


def status_of(video: Video) -> FileStatus:
    """Return the status of a video. Raises ``MediaNotFoundError`` and ``MediaUnreadableError``."""
    if isinstance(video, str | Path):
        status = file_status(video)
        return FileStatus(status.st_size, status.st_mtime_ns)
    with closing(video.open()) as content:
        return FileStatus(content.size_bytes, content.modified_ns)


@contextmanager
def open_bytes(video: Video) -> Iterator[BufferedReader | _WatchedContent]:
    """Open a video's bytes for reading. Raises what ``open`` and ``Source.open`` raise."""
    if isinstance(video, str | Path):
        with Path(video).open("rb") as file:
            yield file
    else:
        with closing(video.open()) as content:
            yield _WatchedContent(content, video.name)


class _WatchedContent:
    """File over a ``Content`` whose reads are heartbeats; PyAV takes ``name`` for its path."""

    def __init__(self, content: Content, name: str) -> None:
        self._content = content
        self.name = name
        self.seek, self.tell = content.seek, content.tell

    def read(self, size: int = -1, /) -> bytes:
        data = self._content.read(size)
        heartbeat()
        return data


class ThreadPool:
    """Number of decoding threads that all open videos share; may be used from any thread."""

    _MOST = 4  # for one video: it has few slices, and more threads wait for each other

    def __init__(self, total: int) -> None:
        self._lock = threading.Lock()
        self._free = total

    @contextmanager
    def share(self) -> Iterator[int]:
        """Yield the number of threads for one more video: those that are free, from 1 to 4."""
        with self._lock:
            count = min(self._MOST, max(1, self._free))
            self._free -= count
        try:
            yield count
        finally:
            with self._lock:
                self._free += count


def processors() -> int:
    """Return the number of processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows do not have it
        return os.cpu_count() or 1


DECODING_THREADS = ThreadPool(processors())


@contextmanager
def open_video(
    video: Video, hwaccel: str | None = None
) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open the container of a video and its main video stream; close it at the end.

    ``hwaccel`` is a kind of device that FFmpeg knows ("cuda", "videotoolbox" …). If it cannot
    decode this video, the processor does, with a warning. Raises ``MediaUnreadableError`` when the
    video cannot be opened, or has no pictures or no time stamps, and what its source raises.
    """
    name = name_of(video)
    # PyAV raises more than FFmpeg's errors: ValueError for values newer than its lists,
    # UnicodeDecodeError for names …
    with media_errors(name), ExitStack() as stack:
        container = _open_on(hwaccel, video, stack) if hwaccel else _open(video, stack)
        stack.callback(container.close)
        with DECODING_THREADS.share() as threads:
            yield container, _main_stream(container, name, threads)


def _open(video: Video, stack: ExitStack, device: HWAccel | None = None) -> InputContainer:
    file: str | _WatchedContent
    if isinstance(video, str | Path):
        # An absolute path cannot be taken for a protocol, as "Final: second half.mp4" would be.
        # pathlib's resolve() would also follow links.
        file, options = os.path.abspath(video), _OPTIONS  # noqa: PTH100
    else:
        content = stack.enter_context(closing(video.open()))
        file, options = _WatchedContent(content, video.name), _OPTIONS_OF_CONTENT
    try:
        return av.open(
            file,
            "r",
            options=options,
            metadata_errors="replace",
            timeout=_TIMEOUT_S,
            hwaccel=device,
        )
    except av.PermissionError as error:
        raise MediaOutOfReachError(f"{name_of(video)}: {describe_error(error)}") from error
    except av.FFmpegError as error:
        raise MediaUnreadableError(
            f"{name_of(video)}: cannot be opened as a video: {_cause(error, video)}"
        ) from error


def _cause(error: av.FFmpegError, video: Video) -> str:
    if not isinstance(error, av.InvalidDataError):
        return describe_error(error)
    if _lacks_index(video):
        return "its index is missing, so it was never finished"
    return "it is damaged, or of no kind that is known"


def _lacks_index(video: Video) -> bool:
    """Return whether this is an MP4 file without the box that lists its packets."""
    kinds: list[bytes] = []
    with open_bytes(video) as file:
        while len(kinds) < _BOXES_TO_READ and len(head := file.read(16)) == 16:
            is_long = head[:4] == b"\0\0\0\1"
            length = int.from_bytes(head[8:] if is_long else head[:4])
            kinds.append(head[4:8])
            if not 8 <= length < 2**60:
                break  # 0 stands for the rest of the file
            file.seek(length - 16, os.SEEK_CUR)
    return kinds[:1] == [b"ftyp"] and b"moov" not in kinds


def _open_on(hwaccel: str, video: Video, stack: ExitStack) -> InputContainer:
    name = name_of(video)
    if hwaccel not in hwdevices_available():
        _log.warning(
            "%s: decoded by the processor: this FFmpeg knows no device %r, only: %s",
            name,
            hwaccel,
            ", ".join(hwdevices_available()) or "none",
        )
        return _open(video, stack)
    try:
        container = _open(video, stack, HWAccel(hwaccel, allow_software_fallback=True))
    except (MediaUnreadableError, RuntimeError, NotImplementedError) as error:
        _log.warning("%s: decoded by the processor, since %s cannot: %s", name, hwaccel, error)
        return _open(video, stack)
    if not any(is_on_device(stream) for stream in container.streams.video):
        _log.warning(
            "%s: decoded by the processor, since %s does not decode this kind of video",
            name,
            hwaccel,
        )
    return container


def is_on_device(stream: VideoStream) -> bool:
    """Return whether a device decodes ``stream``, not the processor."""
    return _has_decoder(stream) and stream.codec_context.is_hwaccel


def _main_stream(container: InputContainer, name: str, threads: int) -> VideoStream:
    """Return the video stream with the largest picture, ready to decode; stills do not count."""
    if container.format.name.endswith("_pipe") or container.format.name == "image2":
        raise MediaUnreadableError(f"{name}: is a picture, not a video")
    moving = [stream for stream in container.streams.video if not stream.disposition & _STILLS]
    if not moving:
        raise MediaUnreadableError(f"{name}: holds no video{_other_streams(container)}")
    decodable = [stream for stream in moving if _has_decoder(stream)]
    if not decodable:
        raise MediaUnreadableError(
            f"{name}: this FFmpeg has no decoder for its video, or it is encrypted; "
            "convert it, for example to H.264"
        )
    stream = max(
        decodable,
        key=lambda each: (
            each.width * each.height,
            bool(each.disposition & Disposition.default),
            -each.index,
        ),
    )
    if not stream.time_base:
        raise MediaUnreadableError(f"{name}: its video has no time stamps")
    # Frame threads would hold back a frame each, which is lost work with one frame per seek.
    stream.thread_type = "SLICE"
    stream.codec_context.thread_count = threads
    return stream


def _has_decoder(stream: VideoStream) -> bool:
    context: VideoCodecContext | None = stream.codec_context  # its stub leaves the None out
    return context is not None


def _other_streams(container: InputContainer) -> str:
    kinds = sorted(
        {
            "cover art" if stream.type == "video" else str(stream.type)
            for stream in container.streams
        }
    )
    return f", only {' and '.join(kinds)}" if kinds else ""


def all_packets(container: InputContainer) -> Iterator[Packet[Stream]]:
    """Demux all streams from the current position; each packet is a heartbeat."""
    return _with_heartbeat(container.demux())


def packets_of(container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
    """Demux ``stream`` from the current position; each packet is a heartbeat."""
    return _with_heartbeat(container.demux(stream))


def _with_heartbeat(packets: Iterator[Packet[_S]]) -> Iterator[Packet[_S]]:
    # If streams turned up in mid-file, PyAV fails at the end, when all packets are read.
    with suppress(IndexError):
        for packet in packets:
            heartbeat()
            yield packet


def is_avi(container: InputContainer) -> bool:
    """Return whether this is an AVI: it numbers its pictures in decoding order and has no times."""
    return "avi" in container.format.name.split(",")


def is_matroska(container: InputContainer) -> bool:
    """Return whether this is a Matroska or WebM file."""
    return "matroska" in container.format.name.split(",")


def has_timestamps(container: InputContainer) -> bool:
    """Return whether packets have times. Raw streams have none: their frames are counted."""
    return not container.format.flags & _NO_TIMES


def seeks_by_byte(container: InputContainer) -> bool:
    """Return whether reading can start at any byte, as in MPEG-TS, MPEG-PS and raw streams."""
    is_mpeg = container.format.name in {"mpegts", "mpeg"}
    return (is_mpeg or not has_timestamps(container)) and not (
        container.format.flags & _NO_BYTE_SEEK
    )


def time_base(stream: VideoStream) -> Fraction:
    """Return the length of one tick of the stream's time stamps, in seconds."""
    assert stream.time_base is not None  # open_video has checked it
    return stream.time_base
