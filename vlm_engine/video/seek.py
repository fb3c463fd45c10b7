"""Seek to a key frame: seek near it, then read on until its packet comes.

No seek is trusted. Containers seek by DTS or by PTS, to the key frame before or after, and some not
at all; only what is read tells. If no seek leads to a key frame, the file is read from its
beginning.

All times here are ticks of the stream's time base.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from typing import Any, Self, TypeAlias

import av
from av.container import InputContainer
from av.packet import Packet, PacketSideData
from av.stream import Stream
from av.video.stream import VideoStream

from vlm_engine.video.container import Reopen, all_packets, packets_of, seeks_by_byte, time_base
from vlm_engine.video.index import has_palette
from vlm_engine.video.timestamps import ContinuousClock, Timeline, timestamped, without_discard

_log = logging.getLogger(__name__)

Packets: TypeAlias = "Iterator[Packet[Any]]"

# How far before the wanted key frame to aim, in seconds. Most containers hit it at once; MPEG
# streams are searched by decoding time, and land behind it.
_STEPS_BACK_S = (0.0, 0.5, 2.0, 8.0, 32.0)


class KeySeeker:
    """Seeks to the key frames of ``timeline``, by their numbers. Close it in the end."""

    def __init__(
        self, container: InputContainer, stream: VideoStream, timeline: Timeline, reopen: Reopen
    ) -> None:
        self._container, self._stream = container, stream
        self._keys, self._positions = timeline.keys, timeline.positions
        self._reopen, self._reopened = reopen, ExitStack()
        self._step = 0  # which of _STEPS_BACK_S the last seek needed
        self._reading: _Reading | None = None
        self._reading_helps = True
        self._palette = _first_palette(stream, reopen)

    def close(self) -> None:
        """Close what was opened again. Harmless when repeated."""
        self._reading = None
        self._reopened.close()

    def packets(self, number: int) -> Packets | None:
        """Return the packets from a key frame on; None if it is not found. Raises
        ``av.FFmpegError``."""
        found = self._seek_byte(number) if self._positions else self._seek_time(number)
        found = found or self._read_to(number)
        if found is None:
            return None
        first = next(found)
        if self._palette is not None and not first.has_sidedata("palette"):
            first.set_sidedata(self._palette)
        return chain((first,), found)

    def packets_from_start(self) -> Packets:
        """Return all packets of the stream. Raises ``av.FFmpegError``."""
        return self._of_stream(self._restart())

    def _seek_time(self, number: int) -> Packets | None:
        key = self._keys[number]
        for step in range(self._step, len(_STEPS_BACK_S)):
            back = int(_STEPS_BACK_S[step] / time_base(self._stream))
            try:
                self._container.seek(min(key, max(key - back, 0)), stream=self._stream)
                found = _packets_from(packets_of(self._container, self._stream), key)
            except av.FFmpegError as error:
                _log.debug("%s: no seek leads to %d: %s", self._container.name, key, error)
                continue
            if found is not None:
                self._step = step
                return found
        return None

    def _seek_byte(self, number: int) -> Packets | None:
        if not seeks_by_byte(self._container):
            return None
        byte = self._positions[number].byte
        self._container.seek(byte, stream=self._stream, unsupported_byte_offset=True)
        return self._find(number, _Reading(all_packets(self._container), self._stream, byte))

    def _read_to(self, number: int) -> Packets | None:
        """Read on from where an earlier call came to; if that is too far, from the beginning."""
        if not self._reading_helps:
            return None
        reading = self._reading
        if reading is None or self._has_passed(reading, number):
            reading = self._restart()
        found = self._find(number, reading)
        self._reading_helps = found is not None
        return found

    def _restart(self) -> _Reading:
        self.close()
        container, stream = self._reopened.enter_context(self._reopen())
        self._reading = _Reading(all_packets(container), stream, 0)
        return self._reading

    def _has_passed(self, reading: _Reading, number: int) -> bool:
        if not self._positions:
            return reading.key is not None and reading.key >= self._keys[number]
        byte, pts = self._positions[number]
        return reading.byte > byte or (pts is None and reading.byte == byte)

    def _find(self, number: int, reading: _Reading) -> Packets | None:
        for packet in reading:
            if packet.stream_index != self._stream.index or not packet.is_keyframe:
                continue
            if self._is_at(packet, number, reading):
                reading.stream.codec_context.flush_buffers()
                return self._on_timeline(number, chain((packet,), reading))
            if self._has_passed(reading, number):
                return None
        return None

    def _is_at(self, packet: Packet[Stream], number: int, reading: _Reading) -> bool:
        if not self._positions:
            return reading.key == self._keys[number]
        byte, pts = self._positions[number]
        return packet.pos == byte if pts is None else reading.byte >= byte and reading.pts == pts

    def _on_timeline(self, number: int, packets: Packets) -> Packets:
        pts = self._positions[number].pts if self._positions else None
        if pts is None:
            return self._of_stream(packets)
        clock = ContinuousClock(self._container, self._stream, self._keys[number] - pts)
        return (without_discard(each) if clock.shift else each for each in clock.follow(packets))

    def _of_stream(self, packets: Packets) -> Packets:
        return (packet for packet in packets if packet.stream_index == self._stream.index)


class _Reading:
    """Packets of all streams in file order, and how far they came.

    ``byte`` and ``pts`` are those of the stream's latest packet, ``key`` is the PTS of its latest
    key frame.
    """

    def __init__(self, packets: Packets, stream: VideoStream, byte: int) -> None:
        self.stream, self.byte = stream, byte
        self.pts: int | None = None
        self.key: int | None = None
        self._packets = packets

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Packet[Stream]:
        packet = next(self._packets)
        if packet.stream_index == self.stream.index and packet.size:
            self.byte = self.byte if packet.pos is None else packet.pos
            self.pts = packet.dts if packet.pts is None else packet.pts
            self.key = self.pts if packet.is_keyframe else self.key
        return packet


def _packets_from(packets: Iterator[Packet[VideoStream]], key: int) -> Packets | None:
    for packet, dts, pts in timestamped(packets):
        if pts == key and packet.is_keyframe:
            return chain((packet,), packets)
        if dts > key:
            return None  # nothing is shown before it is decoded
    return None


def _first_palette(stream: VideoStream, reopen: Reopen) -> PacketSideData | None:
    """Return the palette of the first packet, if it has one; containers bring it only once."""
    if not has_palette(stream):
        return None
    with reopen() as (container, same):
        first = next((packet for packet in packets_of(container, same) if packet.size), None)
        has_one = first is not None and first.has_sidedata("palette")
        return first.get_sidedata("palette") if first is not None and has_one else None
