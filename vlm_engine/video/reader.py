"""The pictures a video shows at given times, ready to send."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Self

from vlm_engine.errors import FrameError, MediaUnreadableError
from vlm_engine.types import Frame, ImageShape, VideoInfo
from vlm_engine.video.session import Session
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
        self, info: VideoInfo, *, vr: Layout | None = None, hwaccel: str | None = None, stall_s: float = STALL_S
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

    def frames(self, times_s: Sequence[float], shape: ImageShape) -> Iterator[tuple[float, Frame | FrameError]]:
        """Each of ``times_s``, ascending, with the picture shown then, scaled and compressed as ``shape`` says.

        A time before the first picture gets the first, one after the last the last that can be decoded. What cannot be
        decoded comes as the ``FrameError`` that says why, and later times are served all the same. After a read that
        stalled, they fail at once until it returns.
        """
        session = self._session
        for _, group in groupby(sorted(times_s), key=session.group_of):
            times = list(group)
            only_key = all(session.is_key(time_s) for time_s in times)
            served: Frame | FrameError | None = None
            for before, time_s in zip([None, *times], times, strict=False):
                if served is None or before is None or session.ticks(before) != session.ticks(time_s):
                    served = self._frame(session.ticks(time_s), shape, only_key=only_key)
                yield time_s, served

    def _frame(self, ticks: int, shape: ImageShape, *, only_key: bool) -> Frame | FrameError:
        try:
            return self._watch.call(lambda: self._session.frame(ticks, shape, only_key=only_key))
        except MediaUnreadableError as error:
            return FrameError(str(error))
