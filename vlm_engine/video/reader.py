"""The pictures a video shows at given times, ready to send."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import groupby
from typing import Self

import av

from vlm_engine.errors import FrameError, MediaUnreadableError
from vlm_engine.picture import encode
from vlm_engine.types import Frame, ImageShape, VideoInfo
from vlm_engine.video.container import file_status, opened, tick
from vlm_engine.video.decoder import Decoder, Picture
from vlm_engine.video.render import Painter

# A time that was rounded may lie just before the picture that it means.
_SLACK_S, _SLACK_TICKS = 0.001, 0.5


class VideoReader:
    """One open video. Blocks while it reads and decodes; for one thread at a time.

    ``vr``: every frame holds two eyes' views; pictures show what one of them sees ahead. Opening raises
    ``MediaNotFoundError``, and ``MediaUnreadableError`` when the file is not the one that was probed.
    """

    def __init__(self, info: VideoInfo, *, vr: bool = False) -> None:
        _check_unchanged(info)
        with ExitStack() as stack:
            container, stream = stack.enter_context(opened(info.path))
            self._tick = tick(stream)
            self._first = round(info.start_s / self._tick)
            self._last = self._first + round(info.end_s / self._tick)
            keys = [self._first + round(time_s / self._tick) for time_s in info.key_frames_s]
            self._decoder = Decoder(container, stream, keys, self._first, self._last)
            self._painter = Painter(stream, vr=vr)
            self._path = info.path
            self._open = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file. Harmless when it is closed already."""
        self._open.close()

    def frames(self, times_s: Sequence[float], shape: ImageShape) -> Iterator[tuple[float, Frame | FrameError]]:
        """Each of ``times_s``, ascending, with the picture shown then, scaled and compressed as ``shape`` says.

        A time before the first picture gets the first, one after the last the last that can be decoded. What cannot be
        decoded comes as the ``FrameError`` that says why, and later times are served all the same.
        """
        for _, group in groupby(sorted(times_s), key=lambda time_s: self._decoder.group_of(self._ticks(time_s))):
            times = list(group)
            only_key = all(self._decoder.is_key(self._ticks(time_s)) for time_s in times)
            served: Frame | FrameError | None = None
            for before, time_s in zip([None, *times], times, strict=False):
                if served is None or before is None or self._ticks(before) != self._ticks(time_s):
                    served = self._frame(self._ticks(time_s), shape, only_key=only_key)
                yield time_s, served

    def _ticks(self, time_s: float) -> int:
        slack = min(_SLACK_TICKS, _SLACK_S / float(self._tick))
        return min(max(self._first + math.floor(time_s / float(self._tick) + slack), self._first), self._last)

    def _frame(self, ticks: int, shape: ImageShape, *, only_key: bool) -> Frame | FrameError:
        try:
            picture = self._decoder.key_picture(ticks) if only_key else self._decoder.picture(ticks)
            return self._encoded(picture, shape)
        except FrameError as error:
            return error

    def _encoded(self, picture: Picture, shape: ImageShape) -> Frame:
        time_s = float((picture.ticks - self._first) * self._tick)
        try:
            image = self._painter.paint(picture.frame, shape)
        except av.FFmpegError as error:
            raise FrameError(f"{self._path}: the picture at {time_s:.2f} s cannot be converted: {error.strerror}") from error
        jpeg, width, height = encode(image, shape)
        return Frame(time_s, width, height, jpeg)


def _check_unchanged(info: VideoInfo) -> None:
    status = file_status(info.path)
    if (status.st_size, status.st_mtime_ns) != (info.size_bytes, info.modified_ns):
        raise MediaUnreadableError(f"{info.path}: the file was replaced or changed since it was looked at; try again")
