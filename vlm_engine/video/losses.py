"""What a file should hold and does not: stretches of time whose packets are gone.

A reader that looks for the next thing it knows passes over damage without a word. Two things give it away together: bytes
that belong to no packet of any stream, and a leap in time across them. Either alone is harmless: padding, or a
picture that stands still.

All times here are ticks of the stream's clock.
"""

from __future__ import annotations

from collections.abc import Iterator

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vlm_engine.video.container import is_avi, tick

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
