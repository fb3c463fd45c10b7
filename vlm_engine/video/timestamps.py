"""The time axis of a stream whose own clock does not give one.

Recordings that were joined byte by byte, and what some recorders write, begin their clock again in mid-file. Players let the
time run on there, and so does this. Raw streams have no clock at all: their frames are counted.

All times here are ticks of the stream's clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from av import VideoFrame
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from vlm_engine.video.container import tick

_JUMPS_ALLOWED = 0x0200  # AVFMT_TS_DISCONT: players bridge jumps forward in such formats, too
_BACK_S, _AHEAD_S = 1.0, 10.0  # smaller differences are disorder, and pictures that stand still
_ABSURD_S = 24 * 3600.0  # from one packet to the next, in any format: such a time is damaged
_USUAL_FRAME_RATE = 25.0  # for a file that names none


class Place(NamedTuple):
    """Where a key frame is found if its time does not lead there.

    ``byte``: where to begin to read in the file. ``pts``: its own time there; None where it has none, and begins at ``byte``.
    """

    byte: int
    pts: int | None


class TimeAxis:
    """Moves the times of packets, as they go by, so that they run on where the file's clock jumps.

    ``shift``: what is added to the file's times now. ``jumps``: how many jumps went by.
    """

    def __init__(self, container: InputContainer, stream: VideoStream, shift: int = 0) -> None:
        self.shift, self.jumps = shift, 0
        self._own = stream.index
        self._step = frame_ticks(stream)
        self._seconds: dict[
            int, float
        ] = {}  # of a tick, by stream; streams may still turn up in the middle of a file
        self._back, self._absurd = (
            seconds / float(tick(stream)) for seconds in (_BACK_S, _ABSURD_S)
        )
        self._may_jump = bool(container.format.flags & _JUMPS_ALLOWED)
        self._decoded: int | None = None
        self._latest_s: float | None = None
        self._reached: int | None = None

    def follow(self, packets: Iterator[Packet[Stream]]) -> Iterator[Packet[Stream]]:
        """The packets of the stream among ``packets``, which must be those of all streams in the order of the file."""
        for packet in packets:
            known = packet.pts if packet.dts is None else packet.dts
            if packet.stream_index == self._own:
                if known is not None:
                    self._move(packet, known)
                yield packet
            if known is not None and self._may_jump:
                self._latest_s = known * self._second(packet)

    def _second(self, packet: Packet[Stream]) -> float:
        if packet.stream_index not in self._seconds:
            self._seconds[packet.stream_index] = float(packet.time_base)
        return self._seconds[packet.stream_index]

    def _move(self, packet: Packet[Stream], decoded: int) -> None:
        shown = decoded if packet.pts is None else packet.pts
        if self._reached is not None and self._jumps(packet, shown, self._reached - self.shift):
            self.shift = self._reached - shown
            self.jumps += 1
        self._decoded = packet.dts
        until = shown + self.shift + (packet.duration or self._step)
        self._reached = until if self._reached is None else max(self._reached, until)
        if self.shift:
            packet.pts = shown + self.shift
            packet.dts = decoded + self.shift

    def _jumps(self, packet: Packet[Stream], shown: int, reached: int) -> bool:
        """``reached``: until when pictures were shown, on the file's clock. What precedes a key frame is shown before it."""
        if (packet.is_keyframe and shown < reached - self._back) or abs(
            shown - reached
        ) > self._absurd:
            return True
        if not self._may_jump or packet.dts is None or self._decoded is None:
            return False
        ahead_s = packet.dts * self._second(packet) - (self._latest_s or 0.0)
        return packet.dts < self._decoded - self._back or ahead_s > _AHEAD_S


def unhidden(packet: Packet[Stream]) -> Packet[Stream]:
    """The same packet, to be shown. FFmpeg marks a fragment for hiding that begins before the end of the one before."""
    if not packet.is_discard:
        return packet
    kept: Packet[Stream] = Packet(bytes(packet))
    kept.stream, kept.pts, kept.dts = packet.stream, packet.pts, packet.dts
    kept.time_base, kept.is_keyframe, kept.duration = (
        packet.time_base,
        packet.is_keyframe,
        packet.duration,
    )
    return kept


def frame_rate(stream: VideoStream) -> float:
    """Pictures per second, as far as the file tells."""
    return float(stream.average_rate or stream.guessed_rate or _USUAL_FRAME_RATE)


def frame_ticks(stream: VideoStream) -> int:
    """How long a picture is usually shown."""
    return max(1, round(1 / (frame_rate(stream) * float(tick(stream)))))


def is_no_key(frame: VideoFrame) -> bool:
    """Whether the decoder says that this picture leans on others. Some decoders say nothing."""
    leans_on_others = (
        2  # of FFmpeg's picture types, 0 is unknown, 1 a picture by itself, and all others lean
    )
    return not frame.key_frame and int(frame.pict_type) >= leans_on_others


def repeats(packet: Packet[Stream]) -> bool:
    """Whether the packet is empty: the picture before it is shown again. A decoder would take it for the end."""
    return packet.size == 0 and (packet.pts is not None or packet.dts is not None)
