"""What a video is, told by its index and a few of its pictures."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vlm_engine.errors import FrameError, MediaUnreadableError
from vlm_engine.files import mapped
from vlm_engine.types import Cut, ImageShape, VideoInfo
from vlm_engine.video.container import (
    Status,
    Video,
    bytes_of,
    has_clock,
    is_avi,
    name_of,
    opened,
    packets_of,
    status_of,
    tick,
)
from vlm_engine.video.cuts import find_cuts, find_key_cuts
from vlm_engine.video.decoder import Decoder
from vlm_engine.video.index import (
    READ_THROUGH_BYTES,
    Packets,
    Ticks,
    read_packets,
    timed,
    told_end_s,
)
from vlm_engine.video.render import (
    PICTURES,
    Painter,
    bar_share,
    displayed_size,
    lacks_base_layer,
    pixel_aspect,
    turn_of,
)
from vlm_engine.video.seek import KeySeeker
from vlm_engine.video.timestamps import Place, frame_rate
from vlm_engine.watchdog import STALL_S, Watch

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


_log = logging.getLogger(__name__)

_HASHED_BYTES = 64 * 1024
_SENT_BYTES = 16 * 1024 * 1024
_KEYS_TO_TRY = 20
_SMALL = ImageShape(320)
_JUMPS = (
    "recordings were joined in it: its clock begins anew %d x. Times are counted on from the beginning of the file; "
    "a player that follows the clock shows others after the first joint"
)
_NO_BASE_LAYER = (
    "Dolby Vision without a base layer (profile 5): its colours cannot be made out here, and come out green and purple. "
    "Expect poor answers, or convert it to HDR10 or SDR"
)


def probe(
    video: Video,
    *,
    identity: str | None = None,
    stall_s: float = STALL_S,
    read_through_bytes: int = READ_THROUGH_BYTES,
) -> VideoInfo:
    """What ``video`` holds, from its index; only its first picture is decoded, and a few more where black bars may be.

    ``identity`` names the content for good; without one, it is made of size, time of change and both ends of the
    file. Blocks while it reads. Raises ``MediaNotFoundError``, and ``MediaUnreadableError``, also when no more
    of the file arrives for ``stall_s`` seconds. A Matroska file of more than ``read_through_bytes`` is known by its
    cues, where it has any: in no time, but with fewer cut hints; of what somebody else sends, already a far smaller one.
    """
    watch = Watch(name_of(video), stall_s)
    try:
        return watch.call(lambda: _probe(video, identity, read_through_bytes))
    finally:
        watch.close()


@dataclass(frozen=True, slots=True)
class _Timeline:
    """What is left of the packets when they are read, in ticks: a few thousand times, and not one of every packet.

    ``origin``: what players show as 0:00. ``lost``: from the last picture before each loss to the first one after it.
    """

    origin: int
    first: int
    last: int
    keys: Ticks
    places: tuple[Place, ...]
    cuts: tuple[tuple[int, float], ...]
    lost: tuple[tuple[int, int], ...]
    jumps: int


def _probe(video: Video, identity: str | None, read_through: int) -> VideoInfo:
    path, status = name_of(video), status_of(video)
    source = None if isinstance(video, str | Path) else video
    again = partial(opened, video)
    most = min(read_through, _SENT_BYTES) if source else read_through
    with opened(video) as (container, stream):
        line = _timeline(
            container, stream, read_packets(container, stream, status.size_bytes, most, again)
        )
        seconds = _Seconds(line.origin, tick(stream))
        keys = line.keys.tolist()
        with closing(KeySeeker(container, stream, keys, line.places, again)) as seeker:
            decoder = Decoder(container, stream, seeker, keys, line.first, line.last, line.origin)
            width, height = _displayed_size(decoder, stream, line)
            bars = bar_share(_some_pictures(decoder, stream, line.keys)) if width > height else 0.0
        _warn(path, line, seconds)
        rate = frame_rate(stream)
        return VideoInfo(
            path=path,
            identity=identity or _identity(video, status),
            duration_s=seconds(line.last) + 1 / rate,
            first_s=seconds(line.first),
            end_s=seconds(line.last),
            width=width,
            height=height,
            frame_rate=rate,
            codec=stream.codec_context.codec.canonical_name,
            key_frames_s=tuple(seconds(ticks) for ticks in keys),
            key_places=line.places,
            cuts=tuple(Cut(seconds(ticks), strength) for ticks, strength in line.cuts),
            start_s=float(line.origin * tick(stream)),
            size_bytes=status.size_bytes,
            modified_ns=status.modified_ns,
            gaps_s=_gaps_s(line, seconds, 1 / rate),
            bars=bars,
            source=source,
        )


@dataclass(frozen=True, slots=True)
class _Seconds:
    """Turns ticks of the stream's clock into seconds from what players show as 0:00."""

    origin: int
    tick: Fraction

    def __call__(self, ticks: int) -> float:
        return float((ticks - self.origin) * self.tick)


def _warn(path: str, line: _Timeline, seconds: _Seconds) -> None:
    if line.lost and line.lost[-1][0] == line.last:
        _log.warning(
            "%s: cut short; what can be read of it ends at %.1f s", path, seconds(line.last)
        )
    if line.jumps:
        _log.warning(f"%s: {_JUMPS}", path, line.jumps)


def _timeline(container: InputContainer, stream: VideoStream, packets: Packets) -> _Timeline:
    """Raises ``MediaUnreadableError`` where there is nothing to begin decoding at."""
    if not packets.keys.any():
        raise MediaUnreadableError(
            f"{container.name}: its video has no time stamps, or no picture to begin decoding at"
        )
    all_keys = presentation_times(container, stream, packets, np.flatnonzero(packets.keys))
    first, last = extent(container, stream, packets, all_keys)
    keys, chosen = np.unique(
        np.where(packets.hidden[packets.keys], first - 1, all_keys), return_index=True
    )
    chosen, keys = chosen[keys >= first], keys[keys >= first]
    cuts = tuple(cut for cut in _cuts(container, stream, packets) if cut[0] > first)
    lost = [(start, end) for start, end in packets.holes if start >= first]
    if not packets.complete:
        lost.append((last, max(last, _told_end(container, stream))))
    places = tuple(packets.places[number] for number in chosen.tolist()) if packets.places else ()
    origin = _origin(container, stream, packets, first)
    return _Timeline(origin, first, last, keys, places, cuts, tuple(lost), packets.jumps)


def _origin(container: InputContainer, stream: VideoStream, packets: Packets, first: int) -> int:
    """What players show as 0:00: when the first stream of any kind begins, though the pictures may come later."""
    if not has_clock(container):
        return 0
    start: int | None = container.start_time  # its stub leaves the None out
    if start is None:
        return first
    origin = round(start / av.time_base / tick(stream))
    if is_avi(
        container
    ):  # its first packet is the first picture, whenever FFmpeg guesses that it is shown
        origin += first - int(packets.decoded[0])
    return min(origin, first)


def _told_end(container: InputContainer, stream: VideoStream) -> int:
    return round((told_end_s(container, stream) or 0.0) / tick(stream))


def _gaps_s(line: _Timeline, seconds: _Seconds, frame_s: float) -> tuple[tuple[float, float], ...]:
    """The last picture before a loss is there."""
    lost = [(seconds(start) + frame_s, seconds(end)) for start, end in line.lost]
    return tuple((start_s, end_s) for start_s, end_s in lost if end_s > start_s)


def _displayed_size(decoder: Decoder, stream: VideoStream, line: _Timeline) -> tuple[int, int]:
    """Only a decoded picture tells how it is turned. Raises ``MediaUnreadableError`` when the first ones do not decode."""
    problems = []
    for ticks in line.keys[:_KEYS_TO_TRY].tolist() or [line.first]:
        try:
            frame = decoder.picture(ticks).frame
            if lacks_base_layer(frame):
                _log.warning(f"%s: {_NO_BASE_LAYER}", stream.container.name)
            return displayed_size(frame, pixel_aspect(stream), turn_of(frame))
        except FrameError as error:
            problems.append(error)
    raise MediaUnreadableError(
        f"{problems[0]}; nor can the next key frames be decoded"
    ) from problems[0]


def _some_pictures(
    decoder: Decoder, stream: VideoStream, keys: Ticks
) -> Iterator[NDArray[np.uint8]]:
    """Key frames from all over the video, small; those that decode."""
    painter = Painter(stream)
    chosen = (
        keys[np.unique(np.linspace(0, len(keys) - 1, PICTURES).astype(int))] if len(keys) else keys
    )
    for ticks in chosen.tolist():
        try:
            with mapped(stream.container.name, "no picture to look for bars in", FrameError):
                yield np.asarray(painter.paint(decoder.key_picture(ticks).frame, _SMALL))
        except FrameError as error:
            _log.debug("%s", error)


def _cuts(
    container: InputContainer, stream: VideoStream, packets: Packets
) -> list[tuple[int, float]]:
    """When a shot seems to begin, ascending, and the strength of each hint."""
    if packets.keys_only:
        found, strengths = find_key_cuts(_numbers(packets, stream))
    else:
        found, strengths = find_cuts(packets.sizes, packets.keys)
    times = presentation_times(container, stream, packets, found)
    return sorted(zip(times.tolist(), strengths.tolist(), strict=True))


def _numbers(packets: Packets, stream: VideoStream) -> NDArray[np.intp]:
    """About which number each packet has among all of them."""
    since_s = (packets.decoded - packets.decoded[0]) * float(tick(stream))
    numbers: NDArray[np.intp] = np.rint(since_s * frame_rate(stream)).astype(np.intp)
    return numbers


def _identity(video: Video, status: Status) -> str:
    digest = hashlib.blake2b(digest_size=8)
    with bytes_of(video) as content:
        digest.update(content.read(_HASHED_BYTES))
        content.seek(max(0, status.size_bytes - _HASHED_BYTES))
        digest.update(content.read(_HASHED_BYTES))
    return f"{status.size_bytes:x}-{status.modified_ns:x}-{digest.hexdigest()}"
