"""A video file, opened: the one place where FFmpeg's errors about whole files become ours."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from vlm_engine.errors import MediaNotFoundError, MediaUnreadableError

# A file may be a playlist that names addresses. Nothing but local files is read, whatever it says.
_OPTIONS = {"protocol_whitelist": "file"}
_OPEN_TIMEOUT_S, _READ_TIMEOUT_S = 60.0, 60.0


def file_status(path: str | Path) -> os.stat_result:
    """Size and times of the file. Raises ``MediaNotFoundError``, and ``MediaUnreadableError`` for an empty one."""
    try:
        status = Path(path).stat()
    except FileNotFoundError:
        raise MediaNotFoundError(f"{path}: no such file") from None
    except OSError as error:
        raise MediaUnreadableError(f"{path}: {error.strerror or error}") from error
    if status.st_size == 0:
        raise MediaUnreadableError(f"{path}: the file is empty")
    return status


@contextmanager
def opened(path: str | Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container at ``path`` and its main video stream, closed at the end.

    Raises ``MediaUnreadableError`` when it cannot be opened, or holds no video or none with time stamps.
    """
    container = _open(path)
    try:
        yield container, _main_stream(container, path)
    except av.FFmpegError as error:
        raise MediaUnreadableError(f"{path}: cannot be read: {_words(error)}") from error
    finally:
        container.close()


def _open(path: str | Path) -> InputContainer:
    # An absolute path cannot be taken for a protocol, as "Final: second half.mp4" would be.
    where = os.path.abspath(path)  # noqa: PTH100 - pathlib's resolve() would also follow links
    try:
        return av.open(where, options=_OPTIONS, timeout=(_OPEN_TIMEOUT_S, _READ_TIMEOUT_S))
    except av.FFmpegError as error:
        raise MediaUnreadableError(f"{path}: cannot be opened as a video: {_words(error)}") from error


def _words(error: av.FFmpegError) -> str:
    return str(error.strerror or error)


def _main_stream(container: InputContainer, path: str | Path) -> VideoStream:
    """The largest picture that moves; cover art and timed thumbnails are stills that travel along."""
    stills = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
    moving = [stream for stream in container.streams.video if not stream.disposition & stills]
    if not moving:
        raise MediaUnreadableError(f"{path}: holds no video{_what_else(container)}")
    stream = max(moving, key=lambda each: (each.width * each.height, bool(each.disposition & Disposition.default), -each.index))
    _prepare(stream, path)
    return stream


def _what_else(container: InputContainer) -> str:
    kinds = sorted({"cover art" if stream.type == "video" else str(stream.type) for stream in container.streams})
    return f", only {' and '.join(kinds)}" if kinds else ""


def _prepare(stream: VideoStream, path: str | Path) -> None:
    context: VideoCodecContext | None = stream.codec_context  # its stub leaves the None out
    if context is None:
        raise MediaUnreadableError(f"{path}: there is no decoder for its video")
    if not stream.time_base:
        raise MediaUnreadableError(f"{path}: its video has no time stamps")
    # Frame threads hold back a frame for each thread, which is lost work where one frame is wanted per seek.
    stream.thread_type = "SLICE"


def tick(stream: VideoStream) -> Fraction:
    """Length of one tick of the stream's clock, in seconds."""
    assert stream.time_base is not None  # opened() has made sure
    return stream.time_base
