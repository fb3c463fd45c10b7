"""The pictures a video shows at given times, ready to send."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from itertools import groupby
from typing import Self

from vlm_engine.errors import FrameError, MediaUnreadableError
from vlm_engine.files import mapped
from vlm_engine.jpeg import encode
from vlm_engine.types import Frame, ImageShape, VideoInfo
from vlm_engine.video.container import Status, is_on_device, opened, status_of, tick
from vlm_engine.video.decoder import Decoder, Picture
from vlm_engine.video.render import Painter
from vlm_engine.video.seek import KeySeeker
from vlm_engine.video.timestamps import Place
from vlm_engine.vr import Layout
from vlm_engine.watchdog import STALL_S, Watch

_log = logging.getLogger(__name__)

Served = Mapping[ImageShape, Frame] | FrameError
"""One picture in each of the shapes that were asked for, or why there is none."""

# A time that was rounded may lie just before the picture that it means.
_SLACK_S, _SLACK_TICKS = 0.001, 0.5


class Session:
    """For one thread at a time. Raises as ``VideoReader`` does."""

    def __init__(self, info: VideoInfo, *, vr: Layout | None, hwaccel: str | None) -> None:
        self._info, self._vr = info, vr
        self._open = self._opened(hwaccel)

    def close(self) -> None:
        """Closes the file. Harmless when it is closed already."""
        self._open.close()

    def group_of(self, time_s: float) -> int:
        """Number of the group of pictures that holds ``time_s``."""
        return self._decoder.group_of(self.ticks(time_s))

    def is_key(self, time_s: float) -> bool:
        """Whether the picture shown at ``time_s`` is a key frame that begins then."""
        return self._decoder.is_key(self.ticks(time_s))

    def ticks(self, time_s: float) -> int:
        """``time_s`` as a time stamp of the file, moved into what it shows."""
        slack = min(_SLACK_TICKS, _SLACK_S / float(self._tick))
        return min(
            max(self._origin + math.floor(time_s / float(self._tick) + slack), self._first),
            self._last,
        )

    def frame(self, ticks: int, shapes: Collection[ImageShape], *, only_key: bool) -> Served:
        """The picture shown at ``ticks`` in each of the ``shapes``, or why there is none.

        ``only_key``: nothing else of its group will be wanted.
        """
        time_s = float((ticks - self._origin) * self._tick)
        for start_s, end_s in self._info.gaps_s:
            if start_s <= time_s < end_s:
                return FrameError(
                    f"{self._info.path}: holds no pictures from {start_s:.1f} to {end_s:.1f} s"
                )
        served = self._frame(ticks, shapes, only_key=only_key)
        if self._on_device and isinstance(served, FrameError):
            _log.warning("%s: from here on decoded by the processor: %s", self._info.path, served)
            self._open.close()
            self._open = self._opened(None)
            served = self._frame(ticks, shapes, only_key=only_key)
        return served

    def _opened(self, hwaccel: str | None) -> ExitStack:
        info = self._info
        _check_unchanged(info)
        with ExitStack() as stack:
            container, stream = stack.enter_context(opened(info.source or info.path, hwaccel))
            self._on_device = is_on_device(stream)
            self._tick = tick(stream)
            self._origin = round(info.start_s / self._tick)
            self._first, self._last, *keys = [
                self._origin + round(time_s / self._tick)
                for time_s in (info.first_s, info.end_s, *info.key_frames_s)
            ]
            places = [Place(*place) for place in info.key_places]
            again = partial(opened, info.source or info.path, hwaccel)
            seeker = stack.enter_context(closing(KeySeeker(container, stream, keys, places, again)))
            self._decoder = Decoder(
                container, stream, seeker, keys, self._first, self._last, self._origin
            )
            self._painter = Painter(stream, vr=self._vr, bars=info.bars)
            return stack.pop_all()

    def _frame(self, ticks: int, shapes: Collection[ImageShape], *, only_key: bool) -> Served:
        what = f"the picture at {float((ticks - self._origin) * self._tick):.2f} s cannot be read"
        try:
            with mapped(self._info.path, what, FrameError):
                picture = (
                    self._decoder.key_picture(ticks) if only_key else self._decoder.picture(ticks)
                )
                return {shape: self._encoded(picture, shape) for shape in shapes}
        except FrameError as error:
            return error

    def _encoded(self, picture: Picture, shape: ImageShape) -> Frame:
        time_s = float((picture.ticks - self._origin) * self._tick)
        image = self._painter.paint(picture.frame, shape)
        jpeg, width, height = encode(image, shape)
        return Frame(time_s, width, height, jpeg)


def _check_unchanged(info: VideoInfo) -> None:
    if status_of(info.source or info.path) != Status(info.size_bytes, info.modified_ns):
        raise MediaUnreadableError(
            f"{info.path}: the file was replaced or changed since it was looked at; try again"
        )


class VideoReader:
    """One open video. Blocks while it reads and decodes; for one thread at a time.

    ``vr``: how the eyes lie in a frame; pictures show what one of them sees ahead. ``hwaccel``: the kind of device that
    decodes ("cuda", "videotoolbox" …); where it cannot, the processor does. ``stall_s``: so long it waits, in seconds, for
    a read that brings nothing.

    Opening raises ``MediaNotFoundError``, and ``MediaUnreadableError`` when the file is not the one that was probed or
    does not answer.
    """

    def __init__(
        self,
        info: VideoInfo,
        *,
        vr: Layout | None = None,
        hwaccel: str | None = None,
        stall_s: float = STALL_S,
    ) -> None:
        self._watch = Watch(info.path, stall_s)
        try:
            self._session = self._watch.call(lambda: Session(info, vr=vr, hwaccel=hwaccel))
        except BaseException:
            self._watch.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file; one whose read hangs, when that returns. Harmless when it is closed already."""
        self._watch.close(self._session.close)

    def frames(
        self, times_s: Sequence[float], shape: ImageShape
    ) -> Iterator[tuple[float, Frame | FrameError]]:
        """Each of ``times_s``, ascending, with the picture shown then, in one shape; see ``pictures``."""
        often = Counter(times_s)
        for time_s, served in self.pictures(dict.fromkeys(often, (shape,))):
            frame = served if isinstance(served, FrameError) else served[shape]
            yield from [(time_s, frame)] * often[time_s]

    def pictures(
        self, wanted: Mapping[float, Collection[ImageShape]]
    ) -> Iterator[tuple[float, Served]]:
        """Each time that is ``wanted``, ascending, with the picture shown then, scaled and compressed as each of its shapes says.

        A picture is decoded once, in however many shapes and for however many times it is wanted. A time before the first
        picture gets the first, one after the last the last that can be decoded. What cannot be decoded comes as the
        ``FrameError`` that says why, and later times are served all the same. After a read that stalled, they fail at once
        until it returns.
        """
        session = self._session
        for _, group in groupby(sorted(wanted), key=session.group_of):
            times = list(group)
            only_key = all(session.is_key(time_s) for time_s in times)
            for ticks, alike in groupby(times, key=session.ticks):
                same = list(alike)
                shapes = list(dict.fromkeys(shape for time_s in same for shape in wanted[time_s]))
                served = self._frame(ticks, shapes, only_key=only_key)
                yield from ((time_s, served) for time_s in same)

    def _frame(self, ticks: int, shapes: Collection[ImageShape], *, only_key: bool) -> Served:
        try:
            return self._watch.call(lambda: self._session.frame(ticks, shapes, only_key=only_key))
        except MediaUnreadableError as error:
            return FrameError(str(error))
