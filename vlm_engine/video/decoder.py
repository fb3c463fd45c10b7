"""Decodes as little as possible of one stream to get at given pictures.

All times here are ticks of the stream's clock.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain

import av
from av import VideoFrame
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from vlm_engine.errors import FrameError
from vlm_engine.video.container import packets_of, tick
from vlm_engine.video.index import timed

# How far before the wanted key frame to aim a seek, in seconds. Most containers hit it at once; MPEG
# streams are searched by decoding time, and land behind it.
_STEPS_BACK_S = (0.0, 0.5, 2.0, 8.0, 32.0)
# How many groups of pictures before the wanted one to begin decoding. Where the picture is refreshed bit by
# bit instead of by key frames, it is whole only some groups later.
_GROUPS_BACK = (0, 1, 2, 4, 8)


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded frame, and since when it is shown."""

    ticks: int
    frame: VideoFrame


@dataclass(frozen=True, slots=True)
class _Damaged:
    """Makes the errors that say where a file is damaged."""

    name: str
    first: int
    tick: Fraction

    def __call__(self, ticks: int, error: av.FFmpegError | None = None) -> FrameError:
        cause = f": {error.strerror}" if error is not None else ""
        return FrameError(f"{self.name}: damaged at {float((ticks - self.first) * self.tick):.2f} s{cause}")


class Decoder:
    """Serves the pictures of one stream; one that lies ahead in the group being decoded needs no seek.

    ``keys``: when the key frames are shown, ascending. ``first`` and ``last``: when the first and last picture are.
    """

    def __init__(self, container: InputContainer, stream: VideoStream, keys: Sequence[int], first: int, last: int) -> None:
        self._container, self._stream = container, stream
        self._keys, self._first, self._last = keys, first, last
        self._steps_back = 0  # which of _STEPS_BACK_S the last seek needed
        self._damaged = _Damaged(container.name, first, tick(stream))
        self._run: _Run | None = None

    def group_of(self, ticks: int) -> int:
        """Number of the group of pictures that holds ``ticks``; -1 before the first key frame."""
        return bisect_right(self._keys, ticks) - 1

    def is_key(self, ticks: int) -> bool:
        """Whether a key frame begins to be shown at ``ticks``."""
        group = self.group_of(ticks)
        return group >= 0 and self._keys[group] == ticks

    def key_picture(self, ticks: int) -> Picture:
        """The key frame shown from ``ticks`` on; decodes only that where it can. Raises ``FrameError``."""
        self._run = None
        packet, _ = self._seek(ticks)
        try:
            frames = packet.decode() or self._stream.decode(None)
        except av.FFmpegError as error:
            raise self._damaged(ticks, error) from error
        if frames and not frames[0].is_corrupt:
            return Picture(ticks, frames[0])
        return self.picture(ticks)

    def picture(self, ticks: int) -> Picture:
        """The picture shown at ``ticks``; the nearest one before the first and after the last.

        Raises ``FrameError`` when something between the key frame before it and the picture is damaged.
        """
        group = self.group_of(ticks)
        for groups_back in _GROUPS_BACK:
            began = max(group - groups_back, min(group, 0))
            if self._run is None or groups_back or not self._run.leads_to(group, ticks):
                self._run = self._start(group, began)
            picture = self._run.picture(ticks, at_the_end=ticks >= self._last)
            if picture is None and began <= 0:
                picture = self._run.ahead
            if picture is not None:
                return picture
        raise self._damaged(ticks)

    def _start(self, group: int, began: int) -> _Run:
        self._run = None
        begin = self._keys[began] if began >= 0 else self._first
        packet, others = self._seek(begin) if began >= 0 else self._from_the_start()
        pictures = _decoded(chain([packet], others), begin, self._damaged)
        if "avi" in self._container.format.name.split(","):
            pictures = _retimed(pictures)
        return _Run(pictures, group)

    def _seek(self, key: int) -> tuple[Packet[VideoStream], Iterator[Packet[VideoStream]]]:
        """The packet of the key frame shown at ``key``, and those after it."""
        for step in range(self._steps_back, len(_STEPS_BACK_S)):
            back = int(_STEPS_BACK_S[step] / tick(self._stream))
            try:
                self._container.seek(key - back, stream=self._stream)
                found = self._wait_for(key)
            except av.FFmpegError as error:
                raise self._damaged(key, error) from error
            if found is not None:
                self._steps_back = step
                return found
        raise self._damaged(key)

    def _wait_for(self, key: int) -> tuple[Packet[VideoStream], Iterator[Packet[VideoStream]]] | None:
        packets = packets_of(self._container, self._stream)
        for packet, decoded, shown in timed(packets):
            if shown == key and packet.is_keyframe:
                return packet, packets
            if decoded > key:
                return None  # nothing is shown before it is decoded
        return None

    def _from_the_start(self) -> tuple[Packet[VideoStream], Iterator[Packet[VideoStream]]]:
        try:
            self._container.seek(self._first, stream=self._stream)
            packets = packets_of(self._container, self._stream)
            return next(packets), packets
        except (av.FFmpegError, StopIteration) as error:
            raise self._damaged(self._first) from error


class _Run:
    """One pass of decoding on the way to pictures of ``group``, that can only go on."""

    def __init__(self, pictures: Iterator[Picture], group: int) -> None:
        self._pictures, self._group = pictures, group
        self._shown: Picture | None = None
        self.ahead: Picture | None = None
        self._damage: FrameError | None = None

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


def _decoded(packets: Iterable[Packet[VideoStream]], begin: int, damaged: _Damaged) -> Iterator[Picture]:
    """The pictures from ``begin`` on, in the order of display, up to the first that is damaged.

    FFmpeg mends a damaged picture by guessing, and builds those after it on the guess; none of them may be judged.
    Asked to give up instead (``err_detect=explode``), it would refuse sound pictures of open groups.

    Does not know the decoder that holds it: in a cycle, container and pictures would wait for the garbage collector.
    """
    at = begin
    try:
        for packet in packets:
            for frame in _decode(packet, begin):
                at = at if frame.pts is None else frame.pts
                if at >= begin and frame.is_corrupt:
                    raise damaged(at)
                if at >= begin:
                    yield Picture(at, frame)
    except av.FFmpegError as error:
        raise damaged(at, error) from error


def _decode(packet: Packet[VideoStream], begin: int) -> list[VideoFrame]:
    try:
        return packet.decode()
    except av.InvalidDataError:
        # It leans on the group before, which was not decoded, and is shown before anything that was asked for.
        if packet.pts is not None and packet.pts < begin:
            return []
        raise


def _retimed(pictures: Iterator[Picture]) -> Iterator[Picture]:
    """AVI has no presentation times, and FFmpeg's guess is wrong with B-frames; but frames come out one tick apart."""
    first: Picture | None = None
    ticks = 0
    for picture in pictures:
        first = first or picture
        decoded, began = picture.frame.dts, first.frame.dts
        ticks = ticks + 1 if decoded is None or began is None else first.ticks + decoded - began
        yield Picture(ticks, picture.frame)
