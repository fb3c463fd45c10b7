"""Time stamps of a stream: PTS and DTS, frame rate, and one timeline where its clock jumps.

Recordings that were joined byte by byte, and what some recorders write, restart their clock in
mid-file. Players count on there, and so does ``ContinuousClock``. Raw streams have no clock at all:
their frames are counted (``index``).

All times here are ticks of the stream's time base.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple, TypeVar

from av import VideoFrame
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from vlm_engine.video.container import time_base

_S = TypeVar("_S", bound=Stream)

_JUMPS_ALLOWED = 0x0200  # AVFMT_TS_DISCONT: players also bridge jumps forward in such formats
_BACK_S, _AHEAD_S = 1.0, 10.0  # smaller differences are disorder, or pictures that stand still
_ABSURD_S = 24 * 3600.0  # from one packet to the next, in any format: such a time is damaged
_USUAL_FRAME_RATE = 25.0  # for a file that names none
_PREDICTED = 2  # FFmpeg's picture types: 0 unknown, 1 intra, from 2 on predicted from others


class KeyPosition(NamedTuple):
    """Position of a key frame in the file, for files in which its time does not lead to it.

    Reading starts at ``byte``. ``pts`` is its own time there; None if it has none and starts at
    ``byte``.
    """

    byte: int
    pts: int | None


@dataclass(frozen=True, slots=True)
class Timeline:
    """Key frames and extent of a stream, in ticks.

    ``keys`` are the PTS of the key frames, ascending; ``positions`` where they are in the file, if
    their times do not lead there, else empty. ``first`` and ``last`` are the PTS of the first and
    the last frame. Players show ``origin`` as 0:00.
    """

    tick: Fraction
    origin: int
    first: int
    last: int
    keys: Sequence[int]
    positions: Sequence[KeyPosition] = ()

    def seconds(self, ticks: int) -> float:
        """Return a PTS as seconds from 0:00."""
        return float((ticks - self.origin) * self.tick)


class ContinuousClock:
    """Shifts the times of packets so that they run on where the file's clock jumps.

    ``shift`` is what it now adds to the file's times, ``jumps`` how many jumps it has seen.
    """

    def __init__(self, container: InputContainer, stream: VideoStream, shift: int = 0) -> None:
        self.shift, self.jumps = shift, 0
        self._index = stream.index
        self._frame_ticks = frame_ticks(stream)
        # Seconds of a tick, by stream. Streams may still turn up in mid-file.
        self._seconds: dict[int, float] = {}
        tick = float(time_base(stream))
        self._back, self._absurd = _BACK_S / tick, _ABSURD_S / tick
        self._may_jump = bool(container.format.flags & _JUMPS_ALLOWED)
        self._dts: int | None = None
        self._latest_s: float | None = None
        self._end: int | None = None

    def follow(self, packets: Iterator[Packet[Stream]]) -> Iterator[Packet[Stream]]:
        """Yield the stream's packets among ``packets``, which are those of all streams in file
        order."""
        for packet in packets:
            dts = packet.pts if packet.dts is None else packet.dts
            if packet.stream_index == self._index:
                if dts is not None:
                    self._shift(packet, dts)
                yield packet
            if dts is not None and self._may_jump:
                self._latest_s = dts * self._second(packet)

    def _second(self, packet: Packet[Stream]) -> float:
        if packet.stream_index not in self._seconds:
            self._seconds[packet.stream_index] = float(packet.time_base)
        return self._seconds[packet.stream_index]

    def _shift(self, packet: Packet[Stream], dts: int) -> None:
        pts = dts if packet.pts is None else packet.pts
        if self._end is not None and self._jumps(packet, pts, self._end - self.shift):
            self.shift = self._end - pts
            self.jumps += 1
        self._dts = packet.dts
        end = pts + self.shift + (packet.duration or self._frame_ticks)
        self._end = end if self._end is None else max(self._end, end)
        if self.shift:
            packet.pts = pts + self.shift
            packet.dts = dts + self.shift

    def _jumps(self, packet: Packet[Stream], pts: int, end: int) -> bool:
        """Return whether the clock jumps before ``packet``; ``end`` is where the last picture
        ended.

        Packets before a key frame are shown before it, so a key frame far back tells a jump.
        """
        if packet.is_keyframe and pts < end - self._back:
            return True
        if abs(pts - end) > self._absurd:
            return True
        if not self._may_jump or packet.dts is None or self._dts is None:
            return False
        ahead_s = packet.dts * self._second(packet) - (self._latest_s or 0.0)
        return packet.dts < self._dts - self._back or ahead_s > _AHEAD_S


def timestamped(packets: Iterator[Packet[_S]]) -> Iterator[tuple[Packet[_S], int, int]]:
    """Yield the packets that have content and a time, each with its DTS and PTS."""
    for packet in packets:
        dts = packet.pts if packet.dts is None else packet.dts
        pts = packet.dts if packet.pts is None else packet.pts
        if packet.size and dts is not None and pts is not None:
            yield packet, dts, pts


def without_discard(packet: Packet[Stream]) -> Packet[Stream]:
    """Return the packet without its discard flag.

    FFmpeg sets it for a fragment that begins before the end of the one before.
    """
    if not packet.is_discard:
        return packet
    kept: Packet[Stream] = Packet(bytes(packet))
    for name in ("stream", "pts", "dts", "time_base", "is_keyframe", "duration"):
        setattr(kept, name, getattr(packet, name))
    return kept


def frame_rate(stream: VideoStream) -> float:
    """Return the frames per second, as far as the file tells."""
    return float(stream.average_rate or stream.guessed_rate or _USUAL_FRAME_RATE)


def frame_ticks(stream: VideoStream) -> int:
    """Return the usual duration of a frame, in ticks."""
    return max(1, round(1 / (frame_rate(stream) * float(time_base(stream)))))


def is_predicted(frame: VideoFrame) -> bool:
    """Return whether the decoder says that this frame depends on others. Some do not say."""
    return not frame.key_frame and int(frame.pict_type) >= _PREDICTED


def repeats_frame(packet: Packet[Stream]) -> bool:
    """Return whether the packet is empty and so repeats the frame before it.

    A decoder would take it for the end of the stream.
    """
    return packet.size == 0 and (packet.pts is not None or packet.dts is not None)
