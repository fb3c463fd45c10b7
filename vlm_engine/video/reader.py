"""Read the frames that a video shows at given times, scaled and encoded, ready to send."""

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
from vlm_engine.files import media_errors
from vlm_engine.jpeg import encode
from vlm_engine.types import Frame, ImageShape, VideoInfo
from vlm_engine.video.container import FileStatus, is_on_device, open_video, status_of, time_base
from vlm_engine.video.decoder import Decoder, Picture
from vlm_engine.video.render import FrameRenderer
from vlm_engine.video.timestamps import KeyPosition, Timeline
from vlm_engine.vr import Layout
from vlm_engine.watchdog import STALL_S, Watchdog

_log = logging.getLogger(__name__)

Images = Mapping[ImageShape, Frame] | FrameError
"""One frame in each of the shapes that were asked for, or why there is none."""

# A time that was rounded may lie just before the frame that it means.
_SLACK_S, _SLACK_TICKS = 0.001, 0.5


class VideoReader:
    """Reader of one open video. Blocks while it reads and decodes; for one thread at a time.

    ``vr`` says where the eyes are in a frame; pictures then show what one of them sees ahead.
    ``hwaccel`` is the kind of device that decodes ("cuda", "videotoolbox" …); if it cannot, the
    processor does. ``stall_s`` is how many seconds it waits for a read that brings nothing.

    Opening raises ``MediaNotFoundError``, and ``MediaUnreadableError`` when the file is not the one
    that was probed or does not answer.
    """

    def __init__(
        self,
        info: VideoInfo,
        *,
        vr: Layout | None = None,
        hwaccel: str | None = None,
        stall_s: float = STALL_S,
    ) -> None:
        self._watchdog = Watchdog(info.path, stall_s)
        try:
            self._session = self._watchdog.call(lambda: _Session(info, vr, hwaccel))
        except BaseException:
            self._watchdog.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; if a read hangs, when it returns. Harmless when repeated."""
        self._watchdog.close(self._session.close)

    def frames(
        self, times_s: Sequence[float], shape: ImageShape
    ) -> Iterator[tuple[float, Frame | FrameError]]:
        """Yield each of ``times_s``, ascending, with the frame shown then; see ``pictures``."""
        counts = Counter(times_s)
        for time_s, images in self.pictures(dict.fromkeys(counts, (shape,))):
            frame = images if isinstance(images, FrameError) else images[shape]
            yield from [(time_s, frame)] * counts[time_s]

    def pictures(
        self, wanted: Mapping[float, Collection[ImageShape]]
    ) -> Iterator[tuple[float, Images]]:
        """Yield each ``wanted`` time, ascending, with the frame shown then in each of its shapes.

        A frame is decoded once, for however many shapes and times it is wanted. A time before the
        first frame gets the first, one after the last the last that can be decoded. A frame that
        cannot be decoded comes as the ``FrameError`` that says why, and later times go on. After a
        read that stalled, they fail at once until it returns.
        """
        for _, gop in groupby(sorted(wanted), key=self._gop):
            times = list(gop)
            decoder = self._session.decoder
            only_key = all(decoder.is_key(self._pts(time_s)) for time_s in times)
            for pts, group in groupby(times, key=self._pts):
                same = list(group)
                shapes = list(dict.fromkeys(shape for time_s in same for shape in wanted[time_s]))
                try:
                    images = self._watchdog.call(
                        partial(self._session.read, pts, shapes, only_key=only_key)
                    )
                except MediaUnreadableError as error:
                    images = FrameError(str(error))
                yield from ((time_s, images) for time_s in same)

    def _gop(self, time_s: float) -> int:
        return self._session.decoder.gop_of(self._pts(time_s))

    def _pts(self, time_s: float) -> int:
        """Return ``time_s`` as a PTS, moved to between the first and the last frame."""
        timeline = self._session.timeline
        tick = float(timeline.tick)
        slack = min(_SLACK_TICKS, _SLACK_S / tick)
        pts = timeline.origin + math.floor(time_s / tick + slack)
        return min(max(pts, timeline.first), timeline.last)


class _Session:
    """Open file with its decoder and renderer; used on the watchdog's thread."""

    decoder: Decoder
    timeline: Timeline

    def __init__(self, info: VideoInfo, vr: Layout | None, hwaccel: str | None) -> None:
        self._info, self._vr = info, vr
        self._open(hwaccel)

    def _open(self, hwaccel: str | None) -> None:
        info = self._info
        video = info.source or info.path
        with media_errors(info.path), ExitStack() as stack:
            if status_of(video) != FileStatus(info.size_bytes, info.modified_ns):
                raise MediaUnreadableError(
                    f"{info.path}: the file was replaced or changed since it was looked at; "
                    "try again"
                )
            container, stream = stack.enter_context(open_video(video, hwaccel))
            self.on_device = is_on_device(stream)
            tick = time_base(stream)
            origin = round(info.start_s / tick)
            first, last, *keys = [
                origin + round(time_s / tick)
                for time_s in (info.first_s, info.end_s, *info.key_frames_s)
            ]
            positions = [KeyPosition(*each) for each in info.key_places]
            self.timeline = Timeline(tick, origin, first, last, keys, positions)
            self.decoder = Decoder(
                container, stream, self.timeline, partial(open_video, video, hwaccel)
            )
            stack.enter_context(closing(self.decoder))
            self._renderer = FrameRenderer(stream, vr=self._vr, bars=info.bars)
            self._opened = stack.pop_all()

    def close(self) -> None:
        """Close the file. Harmless when it is closed already."""
        self._opened.close()

    def read(self, pts: int, shapes: Collection[ImageShape], *, only_key: bool) -> Images:
        """Return the frame shown at ``pts`` in each of the ``shapes``, or why there is none.

        ``only_key``: no other frame of its GOP will be wanted.
        """
        name, time_s = self._info.path, self.timeline.seconds(pts)
        for start_s, end_s in self._info.gaps_s:
            if start_s <= time_s < end_s:
                return FrameError(f"{name}: holds no pictures from {start_s:.1f} to {end_s:.1f} s")
        images = self._decode(pts, shapes, only_key=only_key)
        if self.on_device and isinstance(images, FrameError):
            _log.warning("%s: from here on decoded by the processor: %s", name, images)
            self._opened.close()
            self._open(None)
            images = self._decode(pts, shapes, only_key=only_key)
        return images

    def _decode(self, pts: int, shapes: Collection[ImageShape], *, only_key: bool) -> Images:
        what = f"the picture at {self.timeline.seconds(pts):.2f} s cannot be read"
        try:
            with media_errors(self._info.path, what, FrameError):
                picture = self.decoder.key_frame(pts) if only_key else self.decoder.frame(pts)
                return {shape: self._encode(picture, shape) for shape in shapes}
        except FrameError as error:
            return error

    def _encode(self, picture: Picture, shape: ImageShape) -> Frame:
        jpeg, width, height = encode(self._renderer.render(picture.frame, shape), shape)
        return Frame(self.timeline.seconds(picture.pts), width, height, jpeg)
