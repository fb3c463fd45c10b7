"""Facts that Stash reads from a file when it scans it."""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import av
from av.video.stream import VideoStream
from PIL import Image, UnidentifiedImageError

_CHUNK = 64 * 1024
_WORD = 8
_THUMBNAIL = 640
_VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mkv", ".webm", ".mov", ".avi", ".ts"})


@dataclass(frozen=True)
class FileFacts:
    """A scanned file.

    Pictures have no duration, codecs, rates; times in seconds, sizes in bytes.
    """

    kind: str
    mod_time: str
    size: int
    format: str
    width: int
    height: int
    fingerprint: tuple[str, str]
    duration: float | None = None
    video_codec: str | None = None
    audio_codec: str | None = None
    frame_rate: float | None = None
    bit_rate: int | None = None


def is_video(path: Path) -> bool:
    """Return True if Stash takes the file for a video, going by its name."""
    return path.suffix.lower() in _VIDEO_SUFFIXES


def video_facts(path: Path) -> FileFacts:
    """Read a video file's headers."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        audio = container.streams.audio
        return FileFacts(
            kind="VideoFile",
            mod_time=mod_time(path),
            size=path.stat().st_size,
            format=path.suffix[1:].lower(),
            width=stream.width,
            height=stream.height,
            fingerprint=("oshash", oshash(path)),
            duration=round((container.duration or 0) / av.time_base, 2),
            video_codec=stream.codec_context.name,
            audio_codec=audio[0].codec_context.name if audio else "",
            frame_rate=_frame_rate(stream),
            bit_rate=container.bit_rate,
        )


def clip_facts(path: Path) -> FileFacts:
    """Read a video file among the images, which are known by their md5."""
    digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    return replace(video_facts(path), fingerprint=("md5", digest))


def picture_facts(path: Path, entry: str | None = None) -> FileFacts:
    """Read a picture file, or the picture ``entry`` of a zip file."""
    return _picture_facts(path, entry, picture_bytes(path, entry))


def pictures_in(path: Path) -> Iterator[tuple[Path, FileFacts, str | None]]:
    """Every picture of a folder or zip file, in the order of their names: where it is, what it is,
    its name in the zip file.
    """
    if path.is_dir():
        for file in sorted(path.iterdir()):
            yield file, picture_facts(file), None
        return
    with ZipFile(path) as archive:
        for entry in sorted(archive.namelist()):
            if not entry.endswith("/"):
                yield path, _picture_facts(path, entry, archive.read(entry)), entry


def _picture_facts(path: Path, entry: str | None, data: bytes) -> FileFacts:
    try:
        with Image.open(io.BytesIO(data)) as picture:
            name, (width, height) = (picture.format or "").lower(), picture.size
    except UnidentifiedImageError:  # the server has it down all the same
        name, width, height = PurePosixPath(entry or path.name).suffix[1:].lower(), 0, 0
    return FileFacts(
        kind="ImageFile",
        mod_time=mod_time(path),
        size=len(data),
        format="mjpeg"
        if name == "jpeg" and entry is None
        else name,  # ffprobe's name; zip files are not probed
        width=width,
        height=height,
        fingerprint=("md5", hashlib.md5(data, usedforsecurity=False).hexdigest()),
    )


def thumbnail(content: bytes) -> bytes | None:
    """Return a JPEG of at most 640 pixels; None for what is not to be shown."""
    try:
        with Image.open(io.BytesIO(content)) as picture:
            picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
            written = io.BytesIO()
            picture.convert("RGB").save(written, "JPEG", quality=70)
            return written.getvalue()
    except (OSError, ValueError, SyntaxError):
        return None


def picture_bytes(path: Path, entry: str | None = None) -> bytes:
    """Return the bytes of a file, or of the file ``entry`` in a zip file."""
    if entry is None:
        return path.read_bytes()
    with ZipFile(path) as archive:
        return archive.read(entry)


def mod_time(path: Path) -> str:
    """Return when the file was last written, as the server writes times."""
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def oshash(path: Path) -> str:
    """Return the OpenSubtitles hash: size plus the 64-bit words of the first and last 64 KiB, in 16
    hex digits.

    A shorter file is read twice in whole words. ``ValueError``: it has 8 bytes or fewer.
    """
    size = path.stat().st_size
    if size <= _WORD:
        raise ValueError(f"{path}: no oshash of {size} bytes")
    length = min(_CHUNK, size // _WORD * _WORD)
    with path.open("rb") as file:
        head = file.read(length)
        file.seek(-length, io.SEEK_END)
        tail = file.read(length)
    words = struct.unpack(f"<{2 * length // _WORD}Q", head + tail)
    return f"{(size + sum(words)) % 2**64:016x}"


def _frame_rate(stream: VideoStream) -> float:
    return round(float(stream.average_rate or stream.guessed_rate or 0), 2)
