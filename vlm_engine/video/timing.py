"""When packets are shown, where the index tells only when they are decoded.

With B-frames the two differ by an amount that changes from packet to packet, and only the packet itself knows
it. Reading one off a local file takes 40 microseconds, so it is read for the few packets that matter.

All times here are ticks of the stream's clock.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vlm_engine.video.container import packets_of, tick
from vlm_engine.video.index import Packets, Ticks, timed

_log = logging.getLogger(__name__)

# How far before the wanted packet to aim a seek, in seconds.
_STEPS_BACK_S = (0, 2, 32)
_UNKNOWN, _FAR = np.iinfo(np.int64).min, int(np.iinfo(np.int64).max)


def presentation_times(
    container: InputContainer, stream: VideoStream, packets: Packets, wanted: NDArray[np.intp]
) -> Ticks:
    """When each packet whose number is in ``wanted`` is shown.

    One that cannot be read gets its decoding time, which is a few frames too early.
    """
    if packets.shown is not None:
        return packets.shown[wanted]
    decoded = packets.decoded[wanted]
    if not stream.codec_context.has_b_frames:
        return decoded + _wait(container, stream, int(packets.decoded[0]))
    times = np.fromiter(
        _read_times(container, stream, decoded.tolist()), np.int64, count=len(decoded)
    )
    return np.where(times == _UNKNOWN, decoded, times)


def _wait(container: InputContainer, stream: VideoStream, first: int) -> int:
    """Ticks between decoding and display, for a stream in which nothing is reordered."""
    container.seek(first, stream=stream)
    return next((shown - decoded for _, decoded, shown in timed(packets_of(container, stream))), 0)


def _read_times(
    container: InputContainer, stream: VideoStream, decoded: list[int]
) -> Iterator[int]:
    for wanted in decoded:
        times = (
            _time_of(container, stream, wanted, round(back / tick(stream)))
            for back in _STEPS_BACK_S
        )
        yield next((time for time in times if time != _UNKNOWN), _UNKNOWN)


def _time_of(container: InputContainer, stream: VideoStream, wanted: int, back: int) -> int:
    """When the packet that is decoded at ``wanted`` is shown, read on for from ``back`` ticks before it.

    MP4 seeks by presentation, and never to a key frame of an open group that is shown later than asked for: it lands before
    the packet, by how much nobody knows.
    """
    try:
        container.seek(wanted - back, stream=stream, any_frame=True)
        for _, decoded, shown in timed(packets_of(container, stream)):
            if decoded >= wanted:
                return shown if decoded == wanted else _UNKNOWN
    except av.FFmpegError as error:
        _log.debug("%s: no packet is found at %d: %s", container.name, wanted, error)
    return _UNKNOWN


def extent(
    container: InputContainer, stream: VideoStream, packets: Packets, keys: Ticks
) -> tuple[int, int]:
    """When the first and when the last picture is shown. ``keys``: when the key frames are, hidden ones included.

    A picture shown before the first key frame, though it follows it in the file, leans on something that was
    cut off: it cannot be decoded and does not count.
    """
    floor = int(keys[0])
    if packets.keys_only:
        return floor, _last_shown(container, stream, _FAR, int(keys.max()))
    if packets.shown is not None:
        seen = packets.shown[~packets.hidden & (packets.shown >= floor)]
        return int(seen.min()), max(
            int(seen.max()), floor if packets.until is None else packets.until
        )
    return _first_shown(container, stream, packets, floor), _last_shown(
        container, stream, int(packets.decoded[-1]), int(keys.max())
    )


def _first_shown(
    container: InputContainer, stream: VideoStream, packets: Packets, floor: int
) -> int:
    first = None
    container.seek(int(packets.decoded[packets.keys.argmax()]), stream=stream)
    for packet, decoded, shown in timed(packets_of(container, stream)):
        if first is not None and decoded > first:
            break  # nothing is shown before it is decoded
        if shown >= floor and not packet.is_discard:
            first = shown if first is None else min(first, shown)
    return floor if first is None else first


def _last_shown(container: InputContainer, stream: VideoStream, end: int, last_key: int) -> int:
    last = last_key
    try:
        container.seek(last_key, stream=stream)
        for packet, decoded, shown in timed(packets_of(container, stream)):
            if decoded > end:
                break  # the file ends within this packet
            if not packet.is_discard:
                last = max(last, shown)
    except av.FFmpegError as error:
        _log.debug(
            "%s stops being readable in its last group of pictures: %s", container.name, error
        )
    return last
