"""What of a file is shown to a model: one picture, several parts of it, or several moments."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import TypeAlias

from PIL import Image
from PIL.ImageFile import ImageFile

from vlm_engine.errors import MediaUnreadableError
from vlm_engine.files import InMemoryFile, LiveFile, file_status
from vlm_engine.jpeg import encode
from vlm_engine.pictures.animation import Moment, is_moving, moments
from vlm_engine.pictures.camera_raw import is_raw, preview_of
from vlm_engine.pictures.formats import (
    HEAD_BYTES,
    HEIF,
    JPEG,
    MAX_FILE_BYTES,
    TIFF,
    WORKING_BYTES,
    Kind,
    NotReadError,
    VideoInsideError,
    is_clip,
    kind_of,
    what_it_is,
)
from vlm_engine.pictures.still import explained, opened_as, shown, working_bytes
from vlm_engine.pictures.zips import Zips
from vlm_engine.types import Frame, ImageShape, ZipEntry
from vlm_engine.watchdog import rest


class Budget:
    """``total`` bytes, lent to whoever decodes; first come, first served, so that a large picture gets its turn, too."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._lent = 0
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()

    @contextmanager
    def lent(self, amount: int) -> Iterator[None]:
        """Waits until ``amount`` bytes are left, and takes them until the end of the block. More than all counts as all."""
        amount, turn = min(amount, self.total), object()
        with self._changed:
            self._waiting.append(turn)
            self._changed.wait_for(
                lambda: self._waiting[0] is turn and self._lent + amount <= self.total
            )
            self._waiting.popleft()
            self._lent += amount
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._lent -= amount
                self._changed.notify_all()


_HASHED_WHOLE_BYTES = 256 * 2**20
_PARTS, _PART_BYTES = 32, 2**20

Source: TypeAlias = str | Path | bytes | ZipEntry | InMemoryFile


def name_of(source: Source) -> str:
    """What messages call it."""
    if isinstance(source, InMemoryFile):
        return source.name
    return "picture in memory" if isinstance(source, bytes) else str(source)


def opened(source: Source, zips: Zips) -> BufferedReader | BytesIO:
    """Its content, to read from; the caller closes it.

    Raises ``MediaNotFoundError``, ``MediaOutOfReachError`` and ``MediaUnreadableError``.
    """
    if isinstance(source, ZipEntry):
        return BytesIO(zips.read(source))
    if isinstance(source, bytes | InMemoryFile):
        content = source if isinstance(source, bytes) else source.content
        if not content:
            raise MediaUnreadableError(f"{name_of(source)}: the file is empty")
        return BytesIO(content)
    file_status(source)  # opening a pipe would wait for somebody to write
    return BufferedReader(LiveFile(source))


def check_length(content: BufferedReader | BytesIO, name: str, most_bytes: int) -> None:
    """Raises ``MediaUnreadableError`` where a picture's file is longer than that. Nothing of it is read."""
    size = _size(content)
    if size > most_bytes:
        limit = f"it has {size:,} bytes, and the limit for a picture's file is {most_bytes:,}"
        raise MediaUnreadableError(f"{name}: too large: {limit}; save it smaller, or as a JPEG")


def fingerprint(source: Source, zips: Zips) -> str:
    """What names its content for good; of a long video, parts of its content. Raises as ``opened`` and ``check_length`` do."""
    with opened(source, zips) as content:
        head = content.read(HEAD_BYTES)
        if not is_clip(head):
            check_length(content, name_of(source), MAX_FILE_BYTES)
        elif _size(content) > _HASHED_WHOLE_BYTES:
            return _of_parts(content)
        content.seek(0)
        return hashlib.file_digest(content, "sha256").hexdigest()


def _of_parts(content: BufferedReader | BytesIO) -> str:
    size = _size(content)
    digest = hashlib.sha256(b"%d" % size)
    for number in range(_PARTS):
        content.seek(number * (size - _PART_BYTES) // (_PARTS - 1))
        digest.update(content.read(_PART_BYTES))
    return digest.hexdigest()


def _size(content: BufferedReader | BytesIO) -> int:
    position = content.tell()
    size = content.seek(0, os.SEEK_END)
    content.seek(position)
    return size


Box = tuple[int, int, int, int]

_OVERLAP = 0.1  # of a part, on each side: what lies on a border is whole in one of them
_WORTH_IT = 1.5


def grid(width: int, height: int, side: int, most: int) -> tuple[int, int]:
    """Columns and rows: at most ``most`` parts, none smaller than a picture of ``side`` pixels can show; else (1, 1)."""
    longest = max(width, height)
    if longest < _WORTH_IT * side:
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
    """Left, upper, right and lower edge of each part, row by row, neighbours overlapping."""
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


class Showing(StrEnum):
    """What the frames of one file are: a still as a whole; the whole and parts of it; moments; or, not decoded yet, a video."""

    STILL = "still"
    PARTS = "parts"
    MOVING = "moving"
    CLIP = "clip"


@dataclass(frozen=True, slots=True)
class ImageViews:
    """What is shown of one file. ``time_s`` of a frame is its time in a moving picture, else its number.

    Moments of a moving picture that look the same are the same frame, several times; ``unseen`` are those that cannot be decoded.
    ``layout``: how a still was cut.
    """

    showing: Showing
    frames: tuple[Frame, ...] = ()
    layout: str = ""
    unseen: int = 0


class PictureReader:
    """Reads pictures. Blocks, and tells whoever watches its thread that it reads; for any number of threads. Close it in the end.

    ``frames``: so many moments of a moving picture are shown. ``parts``: a still with more detail than one picture shows is
    also shown in at most so many parts.
    """

    def __init__(self, *, frames: int = 5, parts: int = 0) -> None:
        self._frames, self._parts = frames, parts
        self._zips = Zips()
        self._memory = Budget(WORKING_BYTES)

    def close(self) -> None:
        """Closes the zips that were kept open."""
        self._zips.close()

    def fingerprint(self, source: Source) -> str:
        """What names the content of ``source`` for good. Raises as ``looks`` does where it cannot be read."""
        with explained(name_of(source)):
            return fingerprint(source, self._zips)

    def looks(self, source: Source, shape: ImageShape) -> ImageViews:
        """What is shown of ``source``, each picture as large as ``shape`` says; of a video, only that it is one.

        Raises ``MediaNotFoundError``, ``MediaOutOfReachError``, ``MediaUnsupportedError`` for a picture of a kind or a size that
        is not read, and ``MediaUnreadableError`` for what is no picture, or damaged.
        """
        name = name_of(source)
        with explained(name), opened(source, self._zips) as content:
            head = content.read(HEAD_BYTES)
            rest()  # decoding takes as long as it takes
            try:
                return self._looks(content, head, name, shape)
            except VideoInsideError:
                return ImageViews(Showing.CLIP)

    def _looks(
        self, content: BufferedReader | BytesIO, head: bytes, name: str, shape: ImageShape
    ) -> ImageViews:
        if is_clip(head):
            raise VideoInsideError
        kind = kind_of(head)
        check_length(content, name, kind.most_bytes if kind else MAX_FILE_BYTES)
        if kind is TIFF or is_raw(head):
            preview = preview_of(content, head)
            if preview is not None:
                return self._decoded(BytesIO(preview.jpeg), JPEG, name, shape, preview.orientation)
        if kind is not None:
            return self._decoded(content, kind, name, shape)
        raise MediaUnreadableError(f"{name}: {what_it_is(head)}")

    def video(self, source: Source) -> str | InMemoryFile:
        """The same as the video readers take it. Raises as ``looks`` does where it cannot be read."""
        if isinstance(source, ZipEntry):
            with explained(name_of(source)):
                return InMemoryFile(name_of(source), self._zips.read(source))
        if isinstance(source, InMemoryFile):
            return source
        return InMemoryFile(name_of(source), source) if isinstance(source, bytes) else str(source)

    def _decoded(
        self,
        content: BufferedReader | BytesIO,
        kind: Kind,
        name: str,
        shape: ImageShape,
        orientation: int = 1,
    ) -> ImageViews:
        try:
            with explained(name):
                return self._decoded_as(kind, content, name, shape, orientation)
        except MediaUnreadableError as error:
            if type(error) is not MediaUnreadableError or isinstance(error.__cause__, MemoryError):
                raise
            if kind.otherwise is not None:
                return self._decoded(content, kind.otherwise, name, shape)
            if kind is not HEIF:
                raise
            told = (
                f"a HEIF picture (HEIC, AVIF) that is damaged, or not read here: {error.__cause__}"
            )
            raise NotReadError(told) from error

    def _decoded_as(
        self,
        kind: Kind,
        content: BufferedReader | BytesIO,
        name: str,
        shape: ImageShape,
        orientation: int,
    ) -> ImageViews:
        with opened_as(kind, content, name, orientation) as image:
            if is_moving(image):
                moving = kind.moving()
                with self._memory.lent(working_bytes(image, moving, shape.max_side)):
                    return _moving(moments(image, moving, name, shape, self._frames), shape)
            cut = grid(*image.size, shape.max_side, self._parts)
            with self._memory.lent(working_bytes(image, kind, shape.max_side * max(cut))):
                return _still(image, cut, shape)


def _moving(found: Sequence[Moment], shape: ImageShape) -> ImageViews:
    frames = {time_s: _frame(time_s, picture, shape) for time_s, picture in dict(found).items()}
    return ImageViews(Showing.MOVING, tuple(frames[time_s] for time_s, _ in found))


def _still(image: ImageFile, cut: tuple[int, int], shape: ImageShape) -> ImageViews:
    """``cut``: into how many columns and rows, of the picture as it lies in the file."""
    columns, rows = cut
    is_tall = image.width < image.height
    whole = shown(image, shape.max_side * max(cut))
    frames = [_frame(0.0, whole, shape)]
    if columns * rows == 1:
        return ImageViews(Showing.STILL, tuple(frames))
    if (whole.width < whole.height) != is_tall:
        columns, rows = rows, columns  # it was turned upright
    parts = [whole.crop(box) for box in boxes(*whole.size, columns, rows)]
    frames += [_frame(float(number), part, shape) for number, part in enumerate(parts, start=1)]
    return ImageViews(Showing.PARTS, tuple(frames), f"{columns}x{rows}")


def _frame(time_s: float, picture: Image.Image, shape: ImageShape) -> Frame:
    jpeg, width, height = encode(picture, shape)
    return Frame(time_s, width, height, jpeg)
