"""Every packet of a video, without decoding: when, how large, and whether decoding can begin there.

Two ways lead to it. MP4 and its kin list all packets in one table, which FFmpeg has read already, so nothing
of the media data is touched. Every other container is read through from beginning to end.

All times here are ticks of the stream's clock.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vlm_engine.video.container import packets_of

_log = logging.getLogger(__name__)

Ticks = NDArray[np.int64]

_ENTRY = np.dtype([("decoded", np.int64), ("position", np.int64), ("size", np.int32), ("key", np.bool_), ("hidden", np.bool_)])
_KEY, _HIDDEN = 1, 2


@dataclass(frozen=True, slots=True)
class Packets:
    """The packets of one stream in the order of decoding, as arrays of one length.

    ``decoded``: decoding times, ascending. ``shown``: presentation times; None where only the packets
    themselves tell them. ``hidden``: decoded but not shown, by an edit list. ``complete``: False when the file ends,
    or stops being readable, before its time.
    """

    decoded: Ticks
    shown: Ticks | None
    sizes: NDArray[np.int32]
    keys: NDArray[np.bool_]
    hidden: NDArray[np.bool_]
    complete: bool = True


def read_packets(container: InputContainer, stream: VideoStream, file_size: int) -> Packets:
    """All packets of ``stream`` that have time stamps and lie within the first ``file_size`` bytes."""
    in_one_table = "mp4" in container.format.name.split(",") and len(stream.index_entries) == stream.frames
    return _from_table(stream, file_size) if in_one_table else _from_file(container, stream)


def _from_table(stream: VideoStream, file_size: int) -> Packets:
    rows = ((entry.timestamp, entry.pos, entry.size, entry.is_keyframe, entry.is_discard) for entry in stream.index_entries)
    table = np.fromiter(rows, dtype=_ENTRY, count=len(stream.index_entries))
    missing = table["position"] + table["size"] > file_size
    if missing.any():
        table = table[: missing.argmax()]
    return Packets(table["decoded"], None, table["size"], table["key"], table["hidden"], not missing.any())


def _from_file(container: InputContainer, stream: VideoStream) -> Packets:
    decoded, shown, sizes, flags = array("q"), array("q"), array("i"), array("B")
    complete = True
    try:
        for packet, decoded_at, shown_at in timed(packets_of(container, stream)):
            decoded.append(decoded_at)
            shown.append(shown_at)
            sizes.append(packet.size)
            flags.append(_KEY * packet.is_keyframe | _HIDDEN * packet.is_discard)
    except av.FFmpegError as error:
        complete = False
        _log.debug("%s stops being readable after %d packets: %s", container.name, len(sizes), error)
    kinds = np.array(flags, np.uint8)
    return Packets(
        np.array(decoded, np.int64),
        np.array(shown, np.int64),
        np.array(sizes, np.int32),
        kinds & _KEY > 0,
        kinds & _HIDDEN > 0,
        complete,
    )


def timed(packets: Iterator[Packet[VideoStream]]) -> Iterator[tuple[Packet[VideoStream], int, int]]:
    """The packets that hold something and have a time, each with the ticks when it is decoded and when shown."""
    for packet in packets:
        decoded = packet.pts if packet.dts is None else packet.dts
        shown = packet.dts if packet.pts is None else packet.pts
        if packet.size and decoded is not None and shown is not None:
            yield packet, decoded, shown
