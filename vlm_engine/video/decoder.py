"""Decodes as little as possible of one stream to get at given pictures.

All times here are ticks of the stream's clock.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av import VideoFrame
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from vlm_engine.errors import FrameError
from vlm_engine.video.container import has_clock, is_avi, tick
from vlm_engine.video.seek import KeySeeker
from vlm_engine.video.timestamps import frame_ticks, is_no_key, repeats


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded frame, and since when it is shown."""

    ticks: int
    frame: VideoFrame


@dataclass(frozen=True, slots=True)
class _Damaged:
    """Makes the errors that say where a file is damaged."""

    name: str
    origin: int
    tick: Fraction

    def __call__(self, ticks: int, error: av.FFmpegError | None = None) -> FrameError:
        cause = f": {error.strerror}" if error is not None else ""
        return FrameError(
            f"{self.name}: damaged at {float((ticks - self.origin) * self.tick):.2f} s{cause}"
        )


class Decoder:
    """Serves the pictures of one stream; one that lies ahead in the group being decoded needs no seek.

    ``keys``: when the key frames are shown, ascending. ``first`` and ``last``: when the first and last picture are.
    ``origin``: what players show as 0:00; errors count from there.
    """

    def __init__(
        self,
        container: InputContainer,
        stream: VideoStream,
        seeker: KeySeeker,
        keys: Sequence[int],
        first: int,
        last: int,
        origin: int,
    ) -> None:
        self._seeker, self._keys, self._first, self._last = seeker, keys, first, last
        self._damaged = _Damaged(container.name, origin, tick(stream))
        self._run: _Run | None = None
        self._no_keys: set[int] = set()  # packets that are only said to be key frames
        self._step = frame_ticks(stream)
        self._times = "clock" if has_clock(container) else "count"
        if is_avi(container):
            self._times = "order"

    def group_of(self, ticks: int) -> int:
        """Number of the group of pictures that holds ``ticks``; -1 before the first key frame."""
        return bisect_right(self._keys, ticks) - 1

    def is_key(self, ticks: int) -> bool:
        """Whether a key frame begins to be shown at ``ticks``."""
        group = self.group_of(ticks)
        return group >= 0 and self._keys[group] == ticks and group not in self._no_keys

    def key_picture(self, ticks: int) -> Picture:
        """The key frame shown from ``ticks`` on; decodes only that where it can. Raises ``FrameError``."""
        self._run = None
        group = self.group_of(ticks)
        frames: list[VideoFrame] = []
        try:
            packet = next(self._seeker.packets(group) or iter(()), None)
            if packet is not None:
                frames = _frames(packet) or packet.stream.decode(None)
        except av.FFmpegError:
            pass  # a packet that is no key frame may not be decoded by itself
        if frames and not frames[0].is_corrupt and not is_no_key(frames[0]):
            return Picture(ticks, frames[0])
        return self.picture(ticks)

    def picture(self, ticks: int) -> Picture:
        """The picture shown at ``ticks``; the nearest one before the first and after the last.

        Raises ``FrameError`` when something between the key frame before it and the picture is damaged.
        """
        group = self.group_of(ticks)
        if self._run is not None and self._run.leads_to(group, ticks):
            picture = self._picture(ticks)
            if picture is not None:
                return picture
        problem = self._damaged(ticks)
        for number, began in enumerate(self._beginnings(group)):
            try:
                self._run = self._start(group, began)
                picture = self._picture(ticks) or (self._run.ahead if began <= 0 else None)
            except FrameError as error:
                problem = problem if number else error
                if self._run is not None and self._run.has_begun:
                    raise
                self._no_keys.add(began)
                continue
            if picture is not None:
                return picture
            self._learn(began)
        raise problem

    def _learn(self, began: int) -> None:
        """Notes what a run tells that brought only later pictures: those that lead to a true key frame began at none."""
        ahead = self._run.ahead if self._run is not None else None
        if ahead is not None and ahead.frame.key_frame:
            self._no_keys.update(range(began, self.group_of(ahead.ticks)))

    def _picture(self, ticks: int) -> Picture | None:
        assert self._run is not None
        return self._run.picture(ticks, at_the_end=ticks >= self._last)

    def _beginnings(self, group: int) -> Iterator[int]:
        """The groups to begin decoding at, one after the other, until the wanted picture comes out.

        It is the group itself, if its key frame is one. Else it is whole only some groups later: what is flagged as a
        key frame may be none, and some pictures are refreshed bit by bit instead.
        """
        back, latest = 0, group + 1
        while True:
            began = max(group - back, min(group, 0))
            while began in self._no_keys and began > 0:
                began -= 1
            if began < latest:
                yield began
            latest, back = began, max(1, 2 * back)
            if began <= 0:
                return

    def _start(self, group: int, began: int) -> _Run:
        self._run = None
        begin = self._keys[began] if began >= 0 else self._first
        try:
            packets = self._seeker.packets(began) if began >= 0 else self._seeker.from_the_start()
        except av.FFmpegError as error:
            raise self._damaged(begin, error) from error
        if packets is None:
            raise self._damaged(begin)
        pictures = _decoded(
            packets, begin, self._damaged, at_key=began >= 0, has_times=self._times != "count"
        )
        if self._times != "clock":
            pictures = _retimed(pictures, by_order=self._times == "order", step=self._step)
        return _Run(pictures, group)


class _Run:
    """One pass of decoding on the way to pictures of ``group``, that can only go on."""

    def __init__(self, pictures: Iterator[Picture], group: int) -> None:
        self._pictures, self._group = pictures, group
        self._shown: Picture | None = None
        self.ahead: Picture | None = None
        self._damage: FrameError | None = None

    @property
    def has_begun(self) -> bool:
        """Whether a picture came out."""
        return self._shown is not None or self.ahead is not None

    def leads_to(self, group: int, ticks: int) -> bool:
        """Whether the picture shown at ``ticks`` lies ahead, in the same group."""
        return group == self._group and self._shown is not None and self._shown.ticks <= ticks

    def picture(self, ticks: int, *, at_the_end: bool) -> Picture | None:
        """The latest picture shown at ``ticks``; None when only later ones come out.

        Raises ``FrameError`` when damage lies before it; ``at_the_end``, what comes before the damage will do.
        """
        while self.ahead is None or self.ahead.ticks <= ticks:
            self._shown, self.ahead = self.ahead or self._shown, None
            if self._shown is not None and self._shown.ticks == ticks:
                break
            self.ahead = self._next()
            if self.ahead is None:
                if self._damage is not None and not (at_the_end and self._shown is not None):
                    raise self._damage
                break
        return self._shown

    def _next(self) -> Picture | None:
        try:
            return next(self._pictures, None)
        except FrameError as error:
            self._damage = error
            return None


def _decoded(
    packets: Iterable[Packet[Stream]],
    begin: int,
    damaged: _Damaged,
    *,
    at_key: bool,
    has_times: bool,
) -> Iterator[Picture]:
    """The pictures from ``begin`` on, in the order of display, up to the first that is damaged.

    FFmpeg mends a damaged picture by guessing, and builds those after it on the guess; none of them may be judged.
    Asked to give up instead (``err_detect=explode``), it would refuse sound pictures of open groups. Where the first of all
    leans on others, nothing is right: a packet that is no key frame was flagged as one.

    Does not know the decoder that holds it: in a cycle, container and pictures would wait for the garbage collector.
    """
    at, is_first = begin, at_key
    try:
        for packet in packets:
            for frame in _decode(packet, begin):
                at = at if frame.pts is None or not has_times else frame.pts
                if at < begin:
                    continue
                if frame.is_corrupt or (is_first and at == begin and is_no_key(frame)):
                    raise damaged(at)
                is_first = False
                yield Picture(at, frame)
    except av.FFmpegError as error:
        raise damaged(at, error) from error


def _decode(packet: Packet[Stream], begin: int) -> list[VideoFrame]:
    try:
        return _frames(packet)
    except av.InvalidDataError:
        # It leans on the group before, which was not decoded, and is shown before anything that was asked for.
        if packet.pts is not None and packet.pts < begin:
            return []
        raise


def _frames(packet: Packet[Any]) -> list[VideoFrame]:
    return [] if repeats(packet) else packet.decode()


def _retimed(pictures: Iterator[Picture], *, by_order: bool, step: int) -> Iterator[Picture]:
    """Gives pictures times that have none, or wrong ones, after the first.

    AVI has no presentation times (``by_order``), and FFmpeg's guess is wrong with B-frames; but frames come out one tick
    apart. Those of raw streams come out one after the other.
    """
    first: Picture | None = None
    ticks = 0
    for picture in pictures:
        if first is None:
            first, ticks = picture, picture.ticks
            yield picture
            lasts = picture.frame.duration or step
            continue
        decoded, began = picture.frame.dts, first.frame.dts
        if by_order:
            ticks = ticks + 1 if decoded is None or began is None else first.ticks + decoded - began
        else:
            ticks += lasts
        lasts = picture.frame.duration or step
        yield Picture(ticks, picture.frame)
