"""Every packet of a video, without decoding: when, how large, and whether decoding can begin there.

Three ways lead to it. MP4 and its kin, and AVI, list all packets in one table, which FFmpeg has read already, so nothing
of the media data is touched. Matroska and WebM list their key frames as cues, which is all that is read of a large
file. Everything else is read through from beginning to end; raw streams, which have no times, are counted meanwhile.

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

from vlm_engine.video.container import Open, all_packets, has_clock, is_avi, packets_of, tick
from vlm_engine.video.timestamps import Place, TimeAxis, frame_ticks, repeats

LEAST_S = 1.0  # shorter ones are not worth naming
_BETWEEN_PACKETS = 4096  # bytes; headers and padding are smaller


class Census:
    """Counts the bytes of a file that belong to packets.

    ``torn``: whether bytes were lost before the latest packet, or before one that went by since it was last set to False.
    """

    def __init__(self) -> None:
        self.torn = False
        self._end: int | None = None
        self._reached: dict[int, int] = {}

    def of(self, packets: Iterator[Packet[Stream]]) -> Iterator[Packet[Stream]]:
        """``packets``, which must be those of all streams in the order of the file, each counted before it goes on."""
        for packet in packets:
            if packet.size and packet.pos is not None:
                self.torn |= self._end is not None and packet.pos - self._end > _BETWEEN_PACKETS
                self._end = max(self._end or 0, packet.pos + packet.size)
            shown = packet.dts if packet.pts is None else packet.pts
            if shown is not None:  # an empty packet shows the picture before it again
                reached = self._reached.get(packet.stream_index, shown)
                self._reached[packet.stream_index] = max(reached, shown + (packet.duration or 0))
            yield packet

    def reached_s(self, container: InputContainer) -> float:
        """Until when there are packets, of whatever stream, in seconds on the file's clock."""
        return max(
            (
                float(ticks * (container.streams[n].time_base or 0))
                for n, ticks in self._reached.items()
            ),
            default=0.0,
        )


def holes(
    shown: NDArray[np.int64], keys: NDArray[np.bool_], torn: NDArray[np.int64], least: int
) -> tuple[tuple[int, int], ...]:
    """From the last picture before lost bytes to the next key frame, for those that took more than ``least`` away.

    ``torn``: the numbers of the packets before which bytes were lost.
    """
    torn = torn[torn > 0]
    before = np.maximum.accumulate(shown)[torn - 1]
    leaps = shown[torn] - before > least
    where = np.append(np.flatnonzero(keys), len(shown))
    after = np.append(shown, shown.max())[where[np.searchsorted(where, torn[leaps])]]
    return tuple(zip(before[leaps].tolist(), after.tolist(), strict=True))


def told_end_s(container: InputContainer, stream: VideoStream) -> float | None:
    """When the video ends by what the file says of itself, on the file's clock."""
    if is_avi(container):
        return float(stream.frames * tick(stream))
    if "matroska" in container.format.name.split(
        ","
    ):  # counts from 0, whenever the first picture is shown
        return container.duration / av.time_base if container.duration else None
    if stream.duration:
        return float((stream.duration + (stream.start_time or 0)) * tick(stream))
    return (
        (container.duration + (container.start_time or 0)) / av.time_base
        if container.duration
        else None
    )


_log = logging.getLogger(__name__)

Ticks = NDArray[np.int64]
_S = TypeVar("_S", bound=Stream)

_KEY, _HIDDEN = 1, 2
# Reading a whole file tells the size of every packet, hence better cut hints; so much takes three seconds over a gigabit network.
READ_THROUGH_BYTES = 256 * 1024 * 1024
_FEWEST_CUES, _CUES_TO_TRY = 3, 8
_AFTER_PACKETS, _OF_A_CUE = (
    8192,
    64,
)  # bytes: what may follow the last packet of a Matroska file, and what a cue takes of it
_IDR_OF_H264, _IDR_OF_HEVC = (
    (5,),
    (19, 20),
)  # NAL unit types of key frames that nothing before leans across
_UNKNOWN = int(np.iinfo(np.int64).min)


@dataclass(frozen=True, slots=True)
class Packets:
    """The packets of one stream in the order of decoding, as arrays of one length.

    ``decoded``: decoding times, ascending. ``shown``: presentation times; None where only the packets
    themselves tell them. ``hidden``: decoded but not shown, by an edit list. ``complete``: False when the file ends,
    or stops being readable, before its time. ``keys_only``: there are more packets, but only key frames are listed, and
    their sizes are not known. ``holes``: stretches of time whose packets are lost, from the last picture before each to
    the key frame after it. ``until``: when the last picture is shown again, for the last time; None where it is not repeated.
    ``places``: where each key frame is found, if not by its time. ``jumps``: how often the file's clock begins anew.
    """

    decoded: Ticks
    shown: Ticks | None
    sizes: NDArray[np.int32]
    keys: NDArray[np.bool_]
    hidden: NDArray[np.bool_]
    complete: bool = True
    keys_only: bool = False
    holes: tuple[tuple[int, int], ...] = ()
    until: int | None = None
    places: tuple[Place, ...] = ()
    jumps: int = 0


def read_packets(
    container: InputContainer,
    stream: VideoStream,
    file_size: int,
    read_through: int = READ_THROUGH_BYTES,
    open_again: Open | None = None,
) -> Packets:
    """All packets of ``stream`` that have time stamps and lie within the first ``file_size`` bytes.

    Only the key frames of a Matroska file that has cues and is larger than ``read_through`` bytes. ``open_again``: opens the
    same file once more, to be read from its beginning.
    """
    names = container.format.name.split(",")
    if not has_clock(container):
        return _counted(container, stream)
    has_table = {"mp4", "avi"} & {*names} and len(stream.index_entries) == stream.frames
    if has_table and not ("avi" in names and has_palette(stream)):
        return _from_table(stream, file_size)
    if "matroska" in names and file_size > read_through:
        cues = _from_cues(container, stream, file_size)
        if cues is not None:
            return cues
        if (
            open_again is not None
        ):  # after a seek, what was appended to a Matroska file is not reached any more
            with open_again() as (anew, same):
                return _from_file(anew, same)
        container.seek(0, stream=stream)
    return _from_file(container, stream)


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
    all_lead = all(_is_key(container, stream, ticks) for ticks in np.unique(tried).tolist())
    if not all_lead or (
        len(there) == len(times) and _more_follows(container, stream, times, file_size)
    ):
        return None
    _log.debug("%s is known by its %d cues", container.name, len(there))
    none, every = np.zeros(len(there), np.int32), np.ones(len(there), np.bool_)
    return Packets(
        there, there, none, every, ~every, complete=len(there) == len(times), keys_only=True
    )


def _reach_the_end(container: InputContainer, stream: VideoStream, times: Ticks) -> bool:
    """Whether these are the cues, and not only the key frames that FFmpeg came across as it opened the file."""
    if not container.duration:
        return False
    end_s = (container.duration + (container.start_time or 0)) / av.time_base
    return bool(end_s / tick(stream) - times[-1] <= 2 * np.diff(times).max())


def _more_follows(
    container: InputContainer, stream: VideoStream, cues: Ticks, file_size: int
) -> bool:
    """Whether another recording was appended to the one that has these cues: its clock begins anew, or nobody reads it."""
    container.seek(int(cues[-1]), stream=stream)
    ends = 0
    try:
        for packet in all_packets(container):
            ends = max(ends, (packet.pos or 0) + packet.size)
            if (
                packet.stream_index == stream.index
                and packet.is_keyframe
                and (packet.pts or 0) < cues[-1]
            ):
                return True
    except av.FFmpegError:
        return False  # it is damaged there, which others tell
    return file_size - ends > _AFTER_PACKETS + _OF_A_CUE * len(cues)


def _is_key(container: InputContainer, stream: VideoStream, ticks: int) -> bool:
    try:
        container.seek(ticks, stream=stream)
        packet, _, shown = next(timed(packets_of(container, stream)))
    except (av.FFmpegError, StopIteration):
        return False
    return bool(packet.is_keyframe and shown == ticks)


def _from_file(container: InputContainer, stream: VideoStream) -> Packets:
    listed = len(stream.index_entries)
    census, axis, found = Census(), TimeAxis(container, stream), _Found()
    complete = True
    try:
        for packet in axis.follow(census.of(all_packets(container))):
            found.add(packet, axis, census)
    except av.FFmpegError as error:
        complete = False
        _log.debug(
            "%s stops being readable after %d packets: %s", container.name, len(found.sizes), error
        )
    has_all = _has_all_that_is_listed(container, len(found.sizes), listed)
    complete &= (
        has_all or (told_end_s(container, stream) or 0.0) - census.reached_s(container) <= LEAST_S
    )
    packets = found.packets(complete=complete, is_joined=axis.jumps > 0)
    if packets.shown is None or not found.torn or has_all:
        return replace(packets, jumps=axis.jumps)
    least = round(LEAST_S / tick(stream))
    lost = holes(packets.shown, packets.keys, np.frombuffer(found.torn, np.int64), least)
    return replace(packets, jumps=axis.jumps, holes=lost)


class _Found:
    """The packets of a file that is read through, so far. ``torn``: the numbers of those before which bytes are lost."""

    def __init__(self) -> None:
        self.sizes, self.torn = array("i"), array("q")
        self._decoded, self._shown, self._flags = array("q"), array("q"), array("B")
        self._places: list[Place] = []
        self._until: int | None = None
        self._byte = self._palettes = 0

    def add(self, packet: Packet[Stream], axis: TimeAxis, census: Census) -> None:
        """The next one."""
        if repeats(packet):
            self._until = packet.pts
        for _, decoded, shown in timed(iter((packet,))):
            if census.torn:
                self.torn.append(len(self.sizes))
                census.torn = False
            if packet.is_keyframe:
                self._places.append(Place(self._byte, shown - axis.shift))
            hidden = packet.is_discard and not axis.jumps  # as ``unhidden`` does
            self._decoded.append(decoded)
            self._shown.append(shown)
            self._flags.append(_KEY * packet.is_keyframe | _HIDDEN * hidden)
            self.sizes.append(packet.size)
            self._palettes += packet.has_sidedata("palette")
        self._byte = self._byte if packet.pos is None else packet.pos

    def packets(self, *, complete: bool, is_joined: bool) -> Packets:
        """All of them."""
        if self._palettes > 1:  # one that changes is known only to who has read all before
            self._flags[1:] = array("B", (flag & ~_KEY for flag in self._flags[1:]))
            self._places = self._places[:1]
        packets = _packets(self._decoded, self._shown, self.sizes, self._flags, complete=complete)
        return replace(packets, until=self._until, places=tuple(self._places) if is_joined else ())


def has_palette(stream: VideoStream) -> bool:
    """Whether its pictures are numbers of colours that are told apart from them."""
    return stream.codec_context.pix_fmt == "pal8"


def _has_all_that_is_listed(container: InputContainer, count: int, listed: int) -> bool:
    """Whether an AVI's own list says that nothing is lost. Pictures that are held long are many empty chunks, in no packet."""
    return is_avi(container) and 0 < listed == count


def _counted(container: InputContainer, stream: VideoStream) -> Packets:
    """The packets of a raw stream. Their times are made of how many pictures were shown before.

    FFmpeg guesses times for some codecs. Those tell the order, and are else of no use: after a seek they are others.
    """
    guessed, lengths, sizes, flags = array("q"), array("q"), array("i"), array("B")
    places: list[Place] = []
    usual = frame_ticks(stream)
    for packet in packets_of(container, stream):
        if not packet.size or packet.pos is None:
            continue
        begins = packet.is_keyframe and (
            packet.pts is not None or not sizes or _stands_alone(packet, stream)
        )
        if begins:
            places.append(Place(packet.pos, None))
        guessed.append(_UNKNOWN if packet.pts is None else packet.pts)
        lengths.append(packet.duration or usual)
        sizes.append(packet.size)
        flags.append(_KEY * begins)
    if _UNKNOWN in guessed:
        guessed = array("q", range(len(sizes)))
    order, lasting = (
        np.argsort(np.frombuffer(guessed, np.int64), kind="stable"),
        np.frombuffer(lengths, np.int64),
    )
    shown = np.empty(len(order), np.int64)
    shown[order] = lasting[order].cumsum() - lasting[order]
    packets = _packets(array("q", range(len(sizes))), None, sizes, flags, complete=True)
    return replace(packets, decoded=lasting.cumsum() - lasting, shown=shown, places=tuple(places))


def _stands_alone(packet: Packet[VideoStream], stream: VideoStream) -> bool:
    """Whether no picture after this one leans on one before it. Where that is not known, it is no place to begin at."""
    units = bytes(packet).split(b"\0\0\1")[1:]
    kinds = [unit[0] for unit in units if unit]
    if stream.codec_context.name == "h264":
        return any(kind & 31 in _IDR_OF_H264 for kind in kinds)
    return stream.codec_context.name == "hevc" and any(
        kind >> 1 & 63 in _IDR_OF_HEVC for kind in kinds
    )


def _packets(
    decoded: array[int],
    shown: array[int] | None,
    sizes: array[int],
    flags: array[int],
    *,
    complete: bool,
) -> Packets:
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
