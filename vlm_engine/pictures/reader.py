"""Read a picture file: from a path, bytes or a zip entry to the views that a model gets.

A view is a JPEG: a still as a whole, overlapping parts of a still with much detail, or moments of a
moving picture.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import TypeAlias

from PIL import Image
from PIL.ImageFile import ImageFile

from vlm_engine.errors import MediaUnreadableError
from vlm_engine.files import InMemoryFile, WatchedFile, file_status
from vlm_engine.jpeg import encode
from vlm_engine.pictures.animation import is_animated, sample_frames
from vlm_engine.pictures.camera_raw import find_preview, is_raw
from vlm_engine.pictures.formats import (
    HEAD_BYTES,
    HEIF,
    JPEG,
    MAX_FILE_BYTES,
    TIFF,
    WORKING_BYTES,
    Format,
    NotReadError,
    VideoInsideError,
    describe_unread,
    format_of,
    is_video,
)
from vlm_engine.pictures.still import open_picture, picture_errors, render, working_bytes
from vlm_engine.pictures.zips import ZipReader
from vlm_engine.types import Frame, ImageShape, ZipEntry
from vlm_engine.watchdog import pause

Source: TypeAlias = str | Path | bytes | ZipEntry | InMemoryFile
Box: TypeAlias = tuple[int, int, int, int]
_File: TypeAlias = BufferedReader | BytesIO

_MAX_HASHED_BYTES = 256 * 2**20  # of a longer video, samples are hashed
_SAMPLES, _SAMPLE_BYTES = 32, 2**20
_OVERLAP = 0.1  # of a part, on each side: what is on a border is whole in one of them
_WORTH_PARTS = 1.5  # times as large as one view can show


class ViewKind(StrEnum):
    """Kind of the views of one file; a video is not decoded yet."""

    STILL = "still"
    PARTS = "parts"
    MOVING = "moving"
    VIDEO = "clip"


@dataclass(frozen=True, slots=True)
class ImageViews:
    """Views of one file. ``time_s`` of a frame is its time in a moving picture, else its number.

    Moments that look the same are the same frame, several times; ``missing`` is the number of those
    that cannot be decoded. With parts, the whole comes first, and ``layout`` is columns x rows.
    """

    kind: ViewKind
    frames: tuple[Frame, ...] = ()
    layout: str = ""
    missing: int = 0


class PictureReader:
    """Reads pictures, with heartbeats while it reads. Blocking; for any number of threads.

    ``frames`` is the number of moments of a moving picture. ``parts`` is the largest number of
    parts of a still with more detail than one view can show. Close it in the end.
    """

    def __init__(self, *, frames: int = 5, parts: int = 0) -> None:
        self._frames, self._parts = frames, parts
        self._zips = ZipReader()
        self._memory = MemoryBudget(WORKING_BYTES)

    def close(self) -> None:
        """Close the zips that were kept open."""
        self._zips.close()

    def fingerprint(self, source: Source) -> str:
        """Return a permanent name of the content; a long video is known by samples of it.

        Raises as ``views`` does.
        """
        with picture_errors(name_of(source)), self._open(source) as file:
            head, size = file.read(HEAD_BYTES), _size(file)
            if is_video(head) and size > _MAX_HASHED_BYTES:
                digest = hashlib.sha256(b"%d" % size)
                for number in range(_SAMPLES):
                    file.seek(number * (size - _SAMPLE_BYTES) // (_SAMPLES - 1))
                    digest.update(file.read(_SAMPLE_BYTES))
                return digest.hexdigest()
            if not is_video(head):
                _check_length(file, name_of(source), MAX_FILE_BYTES)
            file.seek(0)
            return hashlib.file_digest(file, "sha256").hexdigest()

    def views(self, source: Source, shape: ImageShape) -> ImageViews:
        """Return the views of ``source``, each as large as ``shape`` says; of a video, only its
        kind.

        Raises ``MediaNotFoundError``, ``MediaOutOfReachError``, ``MediaUnsupportedError`` for a
        picture of a format or size that is not read, and ``MediaUnreadableError`` for a file that
        is damaged or no picture.
        """
        name = name_of(source)
        with picture_errors(name), self._open(source) as file:
            head = file.read(HEAD_BYTES)
            pause()  # decoding takes as long as it takes
            try:
                return self._views(file, head, name, shape)
            except VideoInsideError:
                return ImageViews(ViewKind.VIDEO)

    def as_video(self, source: Source) -> str | InMemoryFile:
        """Return ``source`` as the video readers take it. Raises as ``views`` does."""
        if isinstance(source, ZipEntry):
            with picture_errors(name_of(source)):
                return InMemoryFile(name_of(source), self._zips.read(source))
        if isinstance(source, InMemoryFile):
            return source
        return InMemoryFile(name_of(source), source) if isinstance(source, bytes) else str(source)

    def _open(self, source: Source) -> _File:
        if isinstance(source, ZipEntry):
            return BytesIO(self._zips.read(source))
        if isinstance(source, bytes | InMemoryFile):
            content = source if isinstance(source, bytes) else source.content
            if not content:
                raise MediaUnreadableError(f"{name_of(source)}: the file is empty")
            return BytesIO(content)
        file_status(source)  # opening a pipe would wait for somebody to write
        return BufferedReader(WatchedFile(source))

    def _views(self, file: _File, head: bytes, name: str, shape: ImageShape) -> ImageViews:
        if is_video(head):
            raise VideoInsideError
        form = format_of(head)
        _check_length(file, name, form.max_bytes if form else MAX_FILE_BYTES)
        if form is TIFF or is_raw(head):
            preview = find_preview(file, head)
            if preview is not None:
                return self._decode(BytesIO(preview.jpeg), JPEG, name, shape, preview.orientation)
        if form is not None:
            return self._decode(file, form, name, shape)
        raise MediaUnreadableError(f"{name}: {describe_unread(head)}")

    def _decode(
        self, file: _File, form: Format, name: str, shape: ImageShape, orientation: int = 1
    ) -> ImageViews:
        try:
            with picture_errors(name), open_picture(form, file, name, orientation) as image:
                if is_animated(image):
                    return self._moments(image, form.animated(), name, shape)
                return self._still(image, form, shape)
        except MediaUnreadableError as error:
            if type(error) is not MediaUnreadableError or isinstance(error.__cause__, MemoryError):
                raise
            if form.fallback is not None:
                return self._decode(file, form.fallback, name, shape)
            if form is not HEIF:
                raise
            raise NotReadError(
                f"a HEIF picture (HEIC, AVIF) that is damaged, or not read here: {error.__cause__}"
            ) from error

    def _moments(self, image: ImageFile, form: Format, name: str, shape: ImageShape) -> ImageViews:
        with self._memory.reserve(working_bytes(image, form, shape.max_side)):
            moments = sample_frames(image, form, name, shape, self._frames)
            frames = {
                time_s: _encode(time_s, each, shape) for time_s, each in dict(moments).items()
            }
            return ImageViews(ViewKind.MOVING, tuple(frames[time_s] for time_s, _ in moments))

    def _still(self, image: ImageFile, form: Format, shape: ImageShape) -> ImageViews:
        columns, rows = grid(*image.size, shape.max_side, self._parts)
        longest = shape.max_side * max(columns, rows)
        with self._memory.reserve(working_bytes(image, form, longest)):
            is_tall = image.width < image.height
            whole = render(image, longest)
            frames = [_encode(0.0, whole, shape)]
            if columns * rows == 1:
                return ImageViews(ViewKind.STILL, tuple(frames))
            if (whole.width < whole.height) != is_tall:
                columns, rows = rows, columns  # it was turned upright
            for number, box in enumerate(boxes(*whole.size, columns, rows), start=1):
                frames.append(_encode(float(number), whole.crop(box), shape))
            return ImageViews(ViewKind.PARTS, tuple(frames), f"{columns}x{rows}")


def name_of(source: Source) -> str:
    """Return the name of a source in messages."""
    if isinstance(source, InMemoryFile):
        return source.name
    return "picture in memory" if isinstance(source, bytes) else str(source)


def _check_length(file: _File, name: str, max_bytes: int) -> None:
    size = _size(file)
    if size > max_bytes:
        limit = f"it has {size:,} bytes, and the limit for a picture's file is {max_bytes:,}"
        raise MediaUnreadableError(f"{name}: too large: {limit}; save it smaller, or as a JPEG")


def _size(file: _File) -> int:
    position = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(position)
    return size


def _encode(time_s: float, picture: Image.Image, shape: ImageShape) -> Frame:
    jpeg, width, height = encode(picture, shape)
    return Frame(time_s, width, height, jpeg)


def grid(width: int, height: int, side: int, most: int) -> tuple[int, int]:
    """Return the columns and rows into which a still is cut; (1, 1) where that shows no more.

    They are at most ``most`` parts, none smaller than a picture of ``side`` pixels can show.
    """
    if max(width, height) < _WORTH_PARTS * side:
        return 1, 1
    grids = [
        (columns, rows) for columns in range(1, most + 1) for rows in range(1, most // columns + 1)
    ]
    return min(
        grids,
        key=lambda grid: (max(side, width / grid[0], height / grid[1]), grid[0] * grid[1]),
        default=(1, 1),
    )


def boxes(width: int, height: int, columns: int, rows: int) -> list[Box]:
    """Return left, upper, right and lower edge of each part, row by row, neighbours overlapping."""
    across, down = width / columns, height / rows
    return [
        (
            max(0, round((column - _OVERLAP) * across)),
            max(0, round((row - _OVERLAP) * down)),
            min(width, round((column + 1 + _OVERLAP) * across)),
            min(height, round((row + 1 + _OVERLAP) * down)),
        )
        for row in range(rows)
        for column in range(columns)
    ]


class MemoryBudget:
    """Memory for decoding, shared by threads; first come, first served, so large pictures get
    theirs."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._reserved = 0
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()

    @contextmanager
    def reserve(self, amount: int) -> Iterator[None]:
        """Wait until ``amount`` bytes are free and keep them for the block; at most ``total``."""
        amount, ticket = min(amount, self.total), object()
        with self._changed:
            self._waiting.append(ticket)
            self._changed.wait_for(
                lambda: self._waiting[0] is ticket and self._reserved + amount <= self.total
            )
            self._waiting.popleft()
            self._reserved += amount
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._reserved -= amount
                self._changed.notify_all()
