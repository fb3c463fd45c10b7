"""The pictures a video shows at given times, ready to send."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Self

from vlm_engine.errors import FrameError, MediaUnreadableError
from vlm_engine.types import Frame, ImageShape, VideoInfo
from vlm_engine.video.session import Served, Session
from vlm_engine.vr import Layout
from vlm_engine.watch import STALL_S, Watch


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
