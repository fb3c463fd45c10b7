"""Index a stream's packets without decoding: their times and sizes, and the key frames.

It is read in one of four ways:

- MP4 and AVI list all packets in one table. FFmpeg has read it already; no media data is touched.
- Matroska and WebM list their key frames as cues. Of a large file, nothing else is read.
- Raw streams have no times. All packets are read and counted.
- Everything else is read from beginning to end.

A file that is read through also shows where packets are lost. A demuxer skips damage without a
word; bytes that belong to no packet of any stream, and a leap in time across them, give it away
together. Either alone is harmless: padding, or a picture that stands still.

All times here are ticks of the stream's time base.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vlm_engine.video.container import (
    Reopen,
    all_packets,
    has_timestamps,
    is_avi,
    is_matroska,
    packets_of,
    time_base,
)
from vlm_engine.video.timestamps import (
    ContinuousClock,
    KeyPosition,
    frame_ticks,
    repeats_frame,
    timestamped,
)

_log = logging.getLogger(__name__)

Ticks = NDArray[np.int64]

# Reading a whole file tells the size of every packet, hence better cut hints. This much takes three
# seconds over a gigabit network.
READ_THROUGH_BYTES = 256 * 1024 * 1024
_LEAST_LOSS_S = 1.0  # shorter losses are not worth naming
_PADDING_BYTES = 4096  # headers and padding between packets are smaller
_FEWEST_CUES, _CUES_TO_TRY = 3, 8
# What may follow the last packet of a Matroska file, and what each cue takes of it.
_TRAILER_BYTES, _CUE_BYTES = 8192, 64
# NAL unit types of key frames after which no picture depends on one before.
_IDR_H264, _IDR_HEVC = (5,), (19, 20)
_KEY, _HIDDEN = 1, 2


@dataclass(frozen=True, slots=True)
class PacketIndex:
    """Packets of one stream in decoding order, as arrays of one length.

    ``dts``: decoding times, ascending.
    ``pts``: presentation times; None where only the packets themselves tell them.
    ``hidden``: decoded but not shown, because of an edit list.
    ``complete``: False when the file ends, or stops being readable, before its time.
    ``keys_only``: only key frames are listed, without their sizes.
    ``losses``: stretches of time without packets, from the last picture to the next key frame.
    ``until``: when the last picture is repeated for the last time; None if it is not repeated.
    ``positions``: the position of each key frame, if its time does not lead there.
    ``jumps``: how often the file's clock starts again.
    """

    dts: Ticks
    pts: Ticks | None
    sizes: NDArray[np.int32]
    keys: NDArray[np.bool_]
    hidden: NDArray[np.bool_]
    complete: bool = True
    keys_only: bool = False
    losses: tuple[tuple[int, int], ...] = ()
    until: int | None = None
    positions: tuple[KeyPosition, ...] = ()
    jumps: int = 0


class _IndexBuilder:
    """Collects packets in compact arrays."""

    def __init__(self) -> None:
        self.dts, self.pts = array("q"), array("q")
        self.sizes, self.flags = array("i"), array("B")
        self.positions: list[KeyPosition] = []

    def add(self, dts: int, pts: int | None, size: int, *, key: bool, hidden: bool) -> None:
        self.dts.append(dts)
        if pts is not None:
            self.pts.append(pts)
        self.sizes.append(size)
        self.flags.append(_KEY * key | _HIDDEN * hidden)

    def index(self, **more: Any) -> PacketIndex:
        flags = np.frombuffer(self.flags, np.uint8)
        return PacketIndex(
            np.frombuffer(self.dts, np.int64),
            np.frombuffer(self.pts, np.int64) if self.pts else None,
            np.frombuffer(self.sizes, np.int32),
            flags & _KEY > 0,
            flags & _HIDDEN > 0,
            **more,
        )


def read_index(
    container: InputContainer,
    stream: VideoStream,
    file_size: int,
    read_through: int = READ_THROUGH_BYTES,
    reopen: Reopen | None = None,
) -> PacketIndex:
    """Index the packets of ``stream`` that have times and lie within the first ``file_size`` bytes.

    Of a Matroska file that has cues and is larger than ``read_through`` bytes, only the key frames.
    """
    if not has_timestamps(container):
        return _count_packets(container, stream)
    is_mp4 = "mp4" in container.format.name.split(",")
    has_table = (is_mp4 or is_avi(container)) and len(stream.index_entries) == stream.frames
    if has_table and not (is_avi(container) and has_palette(stream)):
        return _read_table(stream, file_size)
    if is_matroska(container) and file_size > read_through:
        cues = _read_cues(container, stream, file_size)
        if cues is not None:
            return cues
        if reopen is not None:
            # After a seek, what was appended to a Matroska file cannot be reached any more.
            with reopen() as (again, same):
                return _read_through(again, same)
        container.seek(0, stream=stream)
    return _read_through(container, stream)


def _read_table(stream: VideoStream, file_size: int) -> PacketIndex:
    found = _IndexBuilder()
    for entry in stream.index_entries:
        if entry.pos + entry.size > file_size:
            break
        key, hidden = entry.is_keyframe, entry.is_discard
        found.add(entry.timestamp, None, entry.size, key=key, hidden=hidden)
    return found.index(complete=len(found.sizes) == len(stream.index_entries))


def _read_cues(
    container: InputContainer, stream: VideoStream, file_size: int
) -> PacketIndex | None:
    """Return None where there are no cues, or some that do not lead to key frames."""
    try:
        container.seek(0, stream=stream)  # cues are at the end, and are read on the first seek
    except av.FFmpegError:
        return None
    entries = stream.index_entries
    times = np.array([entry.timestamp for entry in entries], np.int64)
    cues = times[np.array([entry.pos for entry in entries], np.int64) < file_size]
    if len(cues) < _FEWEST_CUES or not _reach_the_end(container, stream, times):
        return None
    tried = cues[np.linspace(0, len(cues) - 1, _CUES_TO_TRY).astype(int)]
    if not all(_leads_to_key(container, stream, pts) for pts in np.unique(tried).tolist()):
        return None
    complete = len(cues) == len(times)
    if complete and _more_follows(container, stream, times, file_size):
        return None
    _log.debug("%s is indexed by its %d cues", container.name, len(cues))
    keys = np.ones(len(cues), np.bool_)
    sizes = np.zeros(len(cues), np.int32)
    return PacketIndex(cues, cues, sizes, keys, ~keys, complete=complete, keys_only=True)


def _reach_the_end(container: InputContainer, stream: VideoStream, times: Ticks) -> bool:
    """Return whether these are cues, not just key frames that FFmpeg met on opening the file."""
    if not container.duration:
        return False
    end_s = (container.duration + (container.start_time or 0)) / av.time_base
    return bool(end_s / time_base(stream) - times[-1] <= 2 * np.diff(times).max())


def _leads_to_key(container: InputContainer, stream: VideoStream, wanted: int) -> bool:
    try:
        container.seek(wanted, stream=stream)
        packet, _, pts = next(timestamped(packets_of(container, stream)))
    except (av.FFmpegError, StopIteration):
        return False
    return bool(packet.is_keyframe and pts == wanted)


def _more_follows(
    container: InputContainer, stream: VideoStream, cues: Ticks, file_size: int
) -> bool:
    """Return whether another recording was appended: the clock restarts, or bytes remain unread."""
    container.seek(int(cues[-1]), stream=stream)
    end = 0
    try:
        for packet in all_packets(container):
            end = max(end, (packet.pos or 0) + packet.size)
            is_key = packet.stream_index == stream.index and packet.is_keyframe
            if is_key and (packet.pts or 0) < cues[-1]:
                return True
    except av.FFmpegError:
        return False  # it is damaged there, which shows elsewhere
    return file_size - end > _TRAILER_BYTES + _CUE_BYTES * len(cues)


class _LossDetector:
    """Notices bytes that belong to no packet.

    ``lost``: whether there were some since this was last set to False.
    """

    def __init__(self) -> None:
        self.lost = False
        self._end: int | None = None
        self._ends: dict[int, int] = {}

    def watch(self, packets: Iterator[Packet[Stream]]) -> Iterator[Packet[Stream]]:
        """Pass on ``packets``, which must be those of all streams in the order of the file."""
        for packet in packets:
            if packet.size and packet.pos is not None:
                self.lost |= self._end is not None and packet.pos - self._end > _PADDING_BYTES
                self._end = max(self._end or 0, packet.pos + packet.size)
            pts = packet.dts if packet.pts is None else packet.pts
            if pts is not None:  # also of an empty packet, which repeats the picture before it
                end = pts + (packet.duration or 0)
                self._ends[packet.stream_index] = max(self._ends.get(packet.stream_index, pts), end)
            yield packet

    def end_s(self, container: InputContainer) -> float:
        """Return where the packets of any stream end, in seconds on the file's clock."""
        return max(
            (float(end * (container.streams[n].time_base or 0)) for n, end in self._ends.items()),
            default=0.0,
        )


def _read_through(container: InputContainer, stream: VideoStream) -> PacketIndex:
    listed = len(stream.index_entries)
    found, clock, losses = _IndexBuilder(), ContinuousClock(container, stream), _LossDetector()
    behind_loss = array("q")  # numbers of the packets before which bytes are lost
    until: int | None = None
    byte = palettes = 0
    complete = True
    try:
        for packet in clock.follow(losses.watch(all_packets(container))):
            if repeats_frame(packet):
                until = packet.pts
            for _, dts, pts in timestamped(iter((packet,))):
                if losses.lost:
                    behind_loss.append(len(found.sizes))
                    losses.lost = False
                if packet.is_keyframe:
                    found.positions.append(KeyPosition(byte, pts - clock.shift))
                hidden = packet.is_discard and not clock.jumps  # see ``without_discard``
                found.add(dts, pts, packet.size, key=packet.is_keyframe, hidden=hidden)
                palettes += packet.has_sidedata("palette")
            byte = byte if packet.pos is None else packet.pos
    except av.FFmpegError as error:
        complete = False
        count = len(found.sizes)
        _log.debug("%s cannot be read beyond %d packets: %s", container.name, count, error)
    if palettes > 1:  # one that changes is known only after everything before it was read
        found.flags[1:] = array("B", (flag & ~_KEY for flag in found.flags[1:]))
        found.positions[1:] = []
    # An AVI may list pictures that are held long as many empty chunks, which are no packets.
    has_all = is_avi(container) and 0 < listed == len(found.sizes)
    missing_s = (declared_end_s(container, stream) or 0.0) - losses.end_s(container)
    index = found.index(
        complete=complete and (has_all or missing_s <= _LEAST_LOSS_S),
        until=until,
        positions=tuple(found.positions) if clock.jumps else (),
        jumps=clock.jumps,
    )
    if index.pts is None or not behind_loss or has_all:
        return index
    least = round(_LEAST_LOSS_S / time_base(stream))
    return replace(index, losses=_losses(index.pts, index.keys, behind_loss, least))


def _losses(
    pts: Ticks, keys: NDArray[np.bool_], behind_loss: array[int], least: int
) -> tuple[tuple[int, int], ...]:
    """Return losses of more than ``least`` ticks: last picture before, next key frame after."""
    numbers = np.frombuffer(behind_loss, np.int64)
    numbers = numbers[numbers > 0]
    before = np.maximum.accumulate(pts)[numbers - 1]
    leaps = pts[numbers] - before > least
    key_numbers = np.append(np.flatnonzero(keys), len(pts))
    next_keys = key_numbers[np.searchsorted(key_numbers, numbers[leaps])]
    after = np.append(pts, pts.max())[next_keys]
    return tuple(zip(before[leaps].tolist(), after.tolist(), strict=True))


def declared_end_s(container: InputContainer, stream: VideoStream) -> float | None:
    """Return when the video ends according to its header, in seconds on the file's clock."""
    if is_avi(container):
        return float(stream.frames * time_base(stream))
    start = container.start_time or 0
    if is_matroska(container):
        start = 0  # its duration counts from 0, whenever the first picture is shown
    elif stream.duration:
        return float((stream.duration + (stream.start_time or 0)) * time_base(stream))
    return (container.duration + start) / av.time_base if container.duration else None


def has_palette(stream: VideoStream) -> bool:
    """Return whether pixels are numbers of colours in a palette, which packets bring."""
    return stream.codec_context.pix_fmt == "pal8"


def _count_packets(container: InputContainer, stream: VideoStream) -> PacketIndex:
    """Index a raw stream: the duration of the pictures before it makes the time of each.

    FFmpeg guesses times for some codecs. They tell the order, and nothing else: after a seek they
    are different.
    """
    found, guessed, durations = _IndexBuilder(), list[int | None](), array("q")
    usual = frame_ticks(stream)
    for packet in packets_of(container, stream):
        if not packet.size or packet.pos is None:
            continue
        key = packet.is_keyframe and (
            packet.pts is not None or not found.sizes or _is_idr(packet, stream)
        )
        if key:
            found.positions.append(KeyPosition(packet.pos, None))
        guessed.append(packet.pts)
        durations.append(packet.duration or usual)
        found.add(0, None, packet.size, key=key, hidden=False)
    lengths = np.frombuffer(durations, np.int64)
    order = np.arange(len(lengths))
    if None not in guessed:
        order = np.argsort(np.array(guessed, np.int64), kind="stable")
    pts = np.empty(len(order), np.int64)
    pts[order] = lengths[order].cumsum() - lengths[order]
    dts = lengths.cumsum() - lengths
    return replace(found.index(), dts=dts, pts=pts, positions=tuple(found.positions))


def _is_idr(packet: Packet[VideoStream], stream: VideoStream) -> bool:
    """Return whether no picture after this one depends on one before it; False where not known."""
    units = [unit[0] for unit in bytes(packet).split(b"\0\0\1")[1:] if unit]
    if stream.codec_context.name == "h264":
        return any(unit & 31 in _IDR_H264 for unit in units)
    return stream.codec_context.name == "hevc" and any(
        unit >> 1 & 63 in _IDR_HEVC for unit in units
    )
