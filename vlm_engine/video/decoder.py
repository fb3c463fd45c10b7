"""Decode the frames shown at given times, and as little as possible besides.

A frame needs its group of pictures (GOP) up to it, from the key frame on. One that lies ahead in
the GOP being decoded needs no seek; a key frame needs one packet.

All times here are ticks of the stream's time base.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import av
from av import VideoFrame
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from vlm_engine.errors import FrameError
from vlm_engine.video.container import Reopen, has_timestamps, is_avi
from vlm_engine.video.seek import KeySeeker
from vlm_engine.video.timestamps import Timeline, frame_ticks, is_predicted, repeats_frame


@dataclass(frozen=True, slots=True)
class Picture:
    """Decoded frame that is shown from ``pts`` on."""

    pts: int
    frame: VideoFrame


class Decoder:
    """Decodes frames of one stream by their times on ``timeline``. Close it in the end."""

    def __init__(
        self, container: InputContainer, stream: VideoStream, timeline: Timeline, reopen: Reopen
    ) -> None:
        self._timeline, self._keys = timeline, timeline.keys
        self._seeker = KeySeeker(container, stream, timeline, reopen)
        self._error = partial(_damage_error, container.name, timeline)
        self._run: _DecodeRun | None = None
        self._false_keys: set[int] = set()  # GOPs whose first packet only claims to be a key frame
        self._frame_ticks = frame_ticks(stream)
        self._has_times, self._is_avi = has_timestamps(container), is_avi(container)

    def close(self) -> None:
        """Close what seeking opened. Harmless when repeated."""
        self._seeker.close()

    def gop_of(self, pts: int) -> int:
        """Return the number of the GOP at ``pts``; -1 before the first key frame."""
        return bisect_right(self._keys, pts) - 1

    def is_key(self, pts: int) -> bool:
        """Return whether a key frame is shown from exactly ``pts`` on."""
        gop = self.gop_of(pts)
        return gop >= 0 and self._keys[gop] == pts and gop not in self._false_keys

    def key_frame(self, pts: int) -> Picture:
        """Decode the key frame shown from ``pts`` on, and only that if possible.

        Raises ``FrameError``.
        """
        self._run = None
        frames: list[VideoFrame] = []
        try:
            packet = next(self._seeker.packets(self.gop_of(pts)) or iter(()), None)
            if packet is not None:
                frames = _frames_of(packet) or packet.stream.decode(None)
        except av.FFmpegError:
            pass  # a packet that is no key frame may not decode by itself
        if frames and not frames[0].is_corrupt and not is_predicted(frames[0]):
            return Picture(pts, frames[0])
        return self.frame(pts)

    def frame(self, pts: int) -> Picture:
        """Decode the frame shown at ``pts``; the nearest one before the first and after the last.

        Raises ``FrameError`` when something between its key frame and it is damaged.
        """
        gop = self.gop_of(pts)
        at_end = pts >= self._timeline.last
        if self._run is not None and self._run.leads_to(gop, pts):
            picture = self._run.frame(pts, at_end=at_end)
            if picture is not None:
                return picture
        problem = self._error(pts)
        for number, start in enumerate(self._starts(gop)):
            try:
                self._run = None
                run = self._run = self._decode_from(start, gop)
                picture = run.frame(pts, at_end=at_end) or (run.ahead if start <= 0 else None)
            except FrameError as error:
                problem = problem if number else error
                if self._run is not None and self._run.has_frames:
                    raise
                self._false_keys.add(start)
                continue
            if picture is not None:
                return picture
            if run.ahead is not None and run.ahead.frame.key_frame:
                # Only later pictures came out: what leads up to a true key frame holds none.
                self._false_keys.update(range(start, self.gop_of(run.ahead.pts)))
        raise problem

    def _starts(self, gop: int) -> Iterator[int]:
        """Yield the GOPs to start decoding at, one after the other, until the frame comes out.

        The first is the frame's own GOP. If its key frame is none, the frame is whole only some
        GOPs later: a packet may be wrongly flagged, and some streams refresh the picture bit by
        bit.
        """
        back, latest = 0, gop + 1
        while True:
            start = max(gop - back, min(gop, 0))
            while start in self._false_keys and start > 0:
                start -= 1
            if start < latest:
                yield start
            latest, back = start, max(1, 2 * back)
            if start <= 0:
                return

    def _decode_from(self, start: int, gop: int) -> _DecodeRun:
        begin = self._keys[start] if start >= 0 else self._timeline.first
        try:
            packets = (
                self._seeker.packets(start) if start >= 0 else self._seeker.packets_from_start()
            )
        except av.FFmpegError as error:
            raise self._error(begin, error) from error
        if packets is None:
            raise self._error(begin)
        pictures = _decode(
            packets, begin, self._error, at_key=start >= 0, has_times=self._has_times
        )
        if self._is_avi or not self._has_times:
            pictures = _retime(pictures, by_order=self._is_avi, frame_ticks=self._frame_ticks)
        return _DecodeRun(pictures, gop)


class _DecodeRun:
    """One forward pass of decoding on the way to frames of ``gop``.

    ``ahead`` is a picture that came out and is shown later than what was asked for.
    """

    def __init__(self, pictures: Iterator[Picture], gop: int) -> None:
        self._pictures, self._gop = pictures, gop
        self._latest: Picture | None = None
        self.ahead: Picture | None = None
        self._damage: FrameError | None = None

    @property
    def has_frames(self) -> bool:
        """Return whether a frame came out."""
        return self._latest is not None or self.ahead is not None

    def leads_to(self, gop: int, pts: int) -> bool:
        """Return whether the frame at ``pts`` lies ahead, in the same GOP."""
        return gop == self._gop and self._latest is not None and self._latest.pts <= pts

    def frame(self, pts: int, *, at_end: bool) -> Picture | None:
        """Return the frame shown at ``pts``; None if only later ones come out.

        Raises ``FrameError`` if damage lies before it; ``at_end``, the last one before the damage
        will do.
        """
        while self.ahead is None or self.ahead.pts <= pts:
            self._latest, self.ahead = self.ahead or self._latest, None
            if self._latest is not None and self._latest.pts == pts:
                break
            self.ahead = self._next()
            if self.ahead is None:
                if self._damage is not None and not (at_end and self._latest is not None):
                    raise self._damage
                break
        return self._latest

    def _next(self) -> Picture | None:
        try:
            return next(self._pictures, None)
        except FrameError as error:
            self._damage = error
            return None


def _damage_error(
    name: str, timeline: Timeline, pts: int, error: av.FFmpegError | None = None
) -> FrameError:
    cause = f": {error.strerror}" if error is not None else ""
    return FrameError(f"{name}: damaged at {timeline.seconds(pts):.2f} s{cause}")


def _decode(
    packets: Iterable[Packet[Stream]],
    begin: int,
    error_at: partial[FrameError],
    *,
    at_key: bool,
    has_times: bool,
) -> Iterator[Picture]:
    """Yield the pictures from ``begin`` on, in display order, up to the first damaged one.

    FFmpeg repairs a damaged picture by guessing and builds the next ones on the guess; none of them
    may be judged. If told to give up instead (``err_detect=explode``), it refuses sound pictures of
    open GOPs. If the first picture depends on others, its packet was no key frame, and all is
    wrong.

    It does not know the ``Decoder``: in a reference cycle, container and frames would wait for the
    garbage collector.
    """
    pts, is_first = begin, at_key
    try:
        for packet in packets:
            for frame in _decode_packet(packet, begin):
                pts = pts if frame.pts is None or not has_times else frame.pts
                if pts < begin:
                    continue
                if frame.is_corrupt or (is_first and pts == begin and is_predicted(frame)):
                    raise error_at(pts)
                is_first = False
                yield Picture(pts, frame)
    except av.FFmpegError as error:
        raise error_at(pts, error) from error


def _decode_packet(packet: Packet[Stream], begin: int) -> list[VideoFrame]:
    try:
        return _frames_of(packet)
    except av.InvalidDataError:
        # It depends on the GOP before, which was not decoded, and is shown before ``begin``.
        if packet.pts is not None and packet.pts < begin:
            return []
        raise


def _frames_of(packet: Packet[Any]) -> list[VideoFrame]:
    return [] if repeats_frame(packet) else packet.decode()


def _retime(pictures: Iterator[Picture], *, by_order: bool, frame_ticks: int) -> Iterator[Picture]:
    """Give times to all pictures after the first, where the file has none or wrong ones.

    AVI has no PTS (``by_order``), and FFmpeg's guess is wrong with B-frames; but its pictures are
    one tick apart. Those of raw streams follow one after the other.
    """
    first: Picture | None = None
    pts = duration = 0
    for picture in pictures:
        frame = picture.frame
        if first is None:
            first, pts = picture, picture.pts
        elif not by_order:
            pts += duration
        elif frame.dts is None or first.frame.dts is None:
            pts += 1
        else:
            pts = first.pts + frame.dts - first.frame.dts
        duration = frame.duration or frame_ticks
        yield Picture(pts, frame)
