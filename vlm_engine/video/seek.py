"""How reading gets to the packet of a key frame: it seeks near to it and reads on until it is there.

No seek is believed. Containers seek by time of decoding or of presentation, to the key frame before or after, and some not
at all; what is read tells. A file in which no seek leads to a key frame is read from its beginning.

All times here are ticks of the stream's clock.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from typing import Any, TypeAlias

import av
from av.container import InputContainer
from av.packet import Packet, PacketSideData
from av.stream import Stream
from av.video.stream import VideoStream

from vlm_engine.video.container import Open, all_packets, packets_of, seeks_by_byte, tick
from vlm_engine.video.index import has_palette, timed
from vlm_engine.video.timestamps import Place, TimeAxis, unhidden

_log = logging.getLogger(__name__)

Packets: TypeAlias = "Iterator[Packet[Any]]"

# How far before the wanted key frame to aim a seek, in seconds. Most containers hit it at once; MPEG
# streams are searched by decoding time, and land behind it.
_STEPS_BACK_S = (0.0, 0.5, 2.0, 8.0, 32.0)


class KeySeeker:
    """Brings reading to key frames, by their numbers.

    ``keys``: when they are shown, ascending. ``places``: where they are, if their times do not lead there; else empty.
    ``open_again``: opens the same file once more, to be read from its beginning.
    """

    def __init__(
        self,
        container: InputContainer,
        stream: VideoStream,
        keys: Sequence[int],
        places: Sequence[Place],
        open_again: Open,
    ) -> None:
        self._container, self._stream = container, stream
        self._keys, self._places = keys, places
        self._open_again, self._second = open_again, ExitStack()
        self._steps_back = 0  # which of _STEPS_BACK_S the last seek needed
        self._reading: _Reading | None = None
        self._reading_helps = True
        self._palette = _palette_of(stream, open_again)

    def close(self) -> None:
        """Closes what was opened again. Harmless when repeated."""
        self._reading = None
        self._second.close()

    def packets(self, number: int) -> Packets | None:
        """The packets from that key frame on, or None where it is not found. Raises ``av.FFmpegError``."""
        found = self._at_place(number) if self._places else self._at_time(self._keys[number])
        found = found or self._by_reading(number)
        if found is None:
            return None
        first = next(found)
        if self._palette is not None and not first.has_sidedata("palette"):
            first.set_sidedata(self._palette)
        return chain((first,), found)

    def from_the_start(self) -> Packets:
        """All packets. Raises ``av.FFmpegError``."""
        reading = self._read_anew()
        return (packet for packet in reading if packet.stream_index == self._stream.index)

    def _at_time(self, key: int) -> Packets | None:
        for step in range(self._steps_back, len(_STEPS_BACK_S)):
            back = int(_STEPS_BACK_S[step] / tick(self._stream))
            try:
                self._container.seek(min(key, max(key - back, 0)), stream=self._stream)
                found = _at_key(packets_of(self._container, self._stream), key)
            except av.FFmpegError as error:
                _log.debug("%s: no seek leads to %d: %s", self._container.name, key, error)
                continue
            if found is not None:
                self._steps_back = step
                return found
        return None

    def _at_place(self, number: int) -> Packets | None:
        if not seeks_by_byte(self._container):
            return None
        byte = self._places[number].byte
        self._container.seek(byte, stream=self._stream, unsupported_byte_offset=True)
        return self._found(number, _Reading(all_packets(self._container), self._stream, byte))

    def _by_reading(self, number: int) -> Packets | None:
        """Reads on from where an earlier call came to, if that lies before the key frame; else from the beginning."""
        if not self._reading_helps:
            return None
        reading = self._reading
        if reading is None or self._has_passed(reading, number):
            reading = self._read_anew()
        found = self._found(number, reading)
        self._reading_helps = found is not None
        return found

    def _read_anew(self) -> _Reading:
        self.close()
        container, stream = self._second.enter_context(self._open_again())
        self._reading = _Reading(all_packets(container), stream, 0)
        return self._reading

    def _has_passed(self, reading: _Reading, number: int) -> bool:
        if not self._places:
            return reading.key is not None and reading.key >= self._keys[number]
        byte, pts = self._places[number]
        return reading.byte > byte or (pts is None and reading.byte == byte)

    def _found(self, number: int, reading: _Reading) -> Packets | None:
        for packet in reading:
            if packet.stream_index != self._stream.index or not packet.is_keyframe:
                continue
            if self._is_it(packet, number, reading):
                reading.stream.codec_context.flush_buffers()
                return self._on_axis(number, chain((packet,), reading))
            if self._has_passed(reading, number):
                return None
        return None

    def _is_it(self, packet: Packet[Stream], number: int, reading: _Reading) -> bool:
        if not self._places:
            return reading.key == self._keys[number]
        byte, pts = self._places[number]
        return packet.pos == byte if pts is None else reading.byte >= byte and reading.pts == pts

    def _on_axis(self, number: int, packets: Packets) -> Packets:
        pts = self._places[number].pts if self._places else None
        if pts is None:
            return (packet for packet in packets if packet.stream_index == self._stream.index)
        axis = TimeAxis(self._container, self._stream, self._keys[number] - pts)
        return (unhidden(packet) if axis.shift else packet for packet in axis.follow(packets))


class _Reading:
    """Packets of all streams, in the order of the file. It knows how far it came.

    ``byte``: where the latest packet of the stream was; ``pts``: when it is shown; ``key``: when its latest key frame is.
    """

    def __init__(self, packets: Packets, stream: VideoStream, byte: int) -> None:
        self.stream, self.byte = stream, byte
        self.pts: int | None = None
        self.key: int | None = None
        self._packets = packets

    def __iter__(self) -> _Reading:
        return self

    def __next__(self) -> Packet[Stream]:
        packet = next(self._packets)
        if packet.stream_index == self.stream.index and packet.size:
            self.byte = self.byte if packet.pos is None else packet.pos
            self.pts = packet.dts if packet.pts is None else packet.pts
            self.key = self.pts if packet.is_keyframe else self.key
        return packet


def _at_key(packets: Iterator[Packet[VideoStream]], key: int) -> Packets | None:
    for packet, decoded, shown in timed(packets):
        if shown == key and packet.is_keyframe:
            return chain((packet,), packets)
        if decoded > key:
            return None  # nothing is shown before it is decoded
    return None


def _palette_of(stream: VideoStream, open_again: Open) -> PacketSideData | None:
    """The colours that the first packet brings, if the stream has a palette. Containers bring it once, whatever is read then."""
    if not has_palette(stream):
        return None
    with open_again() as (container, same):
        first = next((packet for packet in packets_of(container, same) if packet.size), None)
        return (
            first.get_sidedata("palette")
            if first is not None and first.has_sidedata("palette")
            else None
        )
