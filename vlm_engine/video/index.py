"""Every packet of a video, without decoding: when, how large, and whether decoding can begin there.

Three ways lead to it. MP4 and its kin, and AVI, list all packets in one table, which FFmpeg has read already, so nothing
of the media data is touched. Matroska and WebM list their key frames as cues, which is all that is read of a large
file. Everything else is read through from beginning to end.

All times here are ticks of the stream's clock.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vlm_engine.video.container import all_packets, packets_of, tick
from vlm_engine.video.losses import LEAST_S, Census, holes, told_end_s

_log = logging.getLogger(__name__)

Ticks = NDArray[np.int64]
_S = TypeVar("_S", bound=Stream)

_KEY, _HIDDEN = 1, 2
# Reading a whole file tells the size of every packet, hence better cut hints; so much takes three seconds over a gigabit network.
READ_THROUGH_BYTES = 256 * 1024 * 1024
_FEWEST_CUES, _CUES_TO_TRY = 3, 8


@dataclass(frozen=True, slots=True)
class Packets:
    """The packets of one stream in the order of decoding, as arrays of one length.

    ``decoded``: decoding times, ascending. ``shown``: presentation times; None where only the packets
    themselves tell them. ``hidden``: decoded but not shown, by an edit list. ``complete``: False when the file ends,
    or stops being readable, before its time. ``keys_only``: there are more packets, but only key frames are listed, and
    their sizes are not known. ``holes``: stretches of time whose packets are lost, from the last picture before each to
    the key frame after it.
    """

    decoded: Ticks
    shown: Ticks | None
    sizes: NDArray[np.int32]
    keys: NDArray[np.bool_]
    hidden: NDArray[np.bool_]
    complete: bool = True
    keys_only: bool = False
    holes: tuple[tuple[int, int], ...] = ()


def read_packets(
    container: InputContainer, stream: VideoStream, file_size: int, read_through: int = READ_THROUGH_BYTES
) -> Packets:
    """All packets of ``stream`` that have time stamps and lie within the first ``file_size`` bytes.

    Only the key frames of a Matroska file that has cues and is larger than ``read_through`` bytes.
    """
    names = container.format.name.split(",")
    if {"mp4", "avi"} & {*names} and len(stream.index_entries) == stream.frames:
        return _from_table(stream, file_size)
    cues = _from_cues(container, stream, file_size) if "matroska" in names and file_size > read_through else None
    return cues or _from_file(container, stream)


def _from_table(stream: VideoStream, file_size: int) -> Packets:
    decoded, sizes, flags = array("q"), array("i"), array("B")
    for entry in stream.index_entries:
        if entry.pos + entry.size > file_size:
            break
        decoded.append(entry.timestamp)
        sizes.append(entry.size)
        flags.append(_KEY * entry.is_keyframe | _HIDDEN * entry.is_discard)
    complete = len(sizes) == len(stream.index_entries)
    return _packets(decoded, None, sizes, flags, complete=complete)


def _from_cues(container: InputContainer, stream: VideoStream, file_size: int) -> Packets | None:
    """None where there are no cues, or some that do not lead to key frames."""
    try:
        container.seek(0, stream=stream)  # cues stand at the end, and are read on the first seek
    except av.FFmpegError:
        return None
    entries = stream.index_entries
    times = np.array([entry.timestamp for entry in entries], np.int64)
    there = times[np.array([entry.pos for entry in entries], np.int64) < file_size]
    if len(there) < _FEWEST_CUES or not _reach_the_end(container, stream, times):
        return None
    tried = there[np.linspace(0, len(there) - 1, _CUES_TO_TRY).astype(int)]
    if not all(_is_key(container, stream, ticks) for ticks in np.unique(tried).tolist()):
        container.seek(int(times[0]), stream=stream)
        return None
    _log.debug("%s is known by its %d cues", container.name, len(there))
    none, every = np.zeros(len(there), np.int32), np.ones(len(there), np.bool_)
    return Packets(there, there, none, every, ~every, complete=len(there) == len(times), keys_only=True)


def _reach_the_end(container: InputContainer, stream: VideoStream, times: Ticks) -> bool:
    """Whether these are the cues, and not only the key frames that FFmpeg came across as it opened the file."""
    if not container.duration:
        return False
    end_s = (container.duration + (container.start_time or 0)) / av.time_base
    return bool(end_s / tick(stream) - times[-1] <= 2 * np.diff(times).max())


def _is_key(container: InputContainer, stream: VideoStream, ticks: int) -> bool:
    try:
        container.seek(ticks, stream=stream)
        packet, _, shown = next(timed(packets_of(container, stream)))
    except (av.FFmpegError, StopIteration):
        return False
    return bool(packet.is_keyframe and shown == ticks)


def _from_file(container: InputContainer, stream: VideoStream) -> Packets:
    decoded, shown, sizes, flags, torn = array("q"), array("q"), array("i"), array("B"), array("q")
    census = Census()
    own = (packet for packet in census.of(all_packets(container)) if packet.stream_index == stream.index)
    complete = True
    try:
        for packet, decoded_at, shown_at in timed(own):
            if census.torn:
                torn.append(len(sizes))
                census.torn = False
            decoded.append(decoded_at)
            shown.append(shown_at)
            sizes.append(packet.size)
            flags.append(_KEY * packet.is_keyframe | _HIDDEN * packet.is_discard)
    except av.FFmpegError as error:
        complete = False
        _log.debug("%s stops being readable after %d packets: %s", container.name, len(sizes), error)
    complete &= (told_end_s(container, stream) or 0.0) - census.reached_s(container) <= LEAST_S
    packets = _packets(decoded, shown, sizes, flags, complete=complete)
    if packets.shown is None or not torn:
        return packets
    least = round(LEAST_S / tick(stream))
    return replace(packets, holes=holes(packets.shown, packets.keys, np.frombuffer(torn, np.int64), least))


def _packets(decoded: array[int], shown: array[int] | None, sizes: array[int], flags: array[int], *, complete: bool) -> Packets:
    kinds = np.frombuffer(flags, np.uint8)
    return Packets(
        np.frombuffer(decoded, np.int64),
        None if shown is None else np.frombuffer(shown, np.int64),
        np.frombuffer(sizes, np.int32),
        kinds & _KEY > 0,
        kinds & _HIDDEN > 0,
        complete,
    )


def timed(packets: Iterator[Packet[_S]]) -> Iterator[tuple[Packet[_S], int, int]]:
    """The packets that hold something and have a time, each with the ticks when it is decoded and when shown."""
    for packet in packets:
        decoded = packet.pts if packet.dts is None else packet.dts
        shown = packet.dts if packet.pts is None else packet.pts
        if packet.size and decoded is not None and shown is not None:
            yield packet, decoded, shown
