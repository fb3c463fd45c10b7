"""Probe a video: what its index and a few of its frames tell, as ``VideoInfo``."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vlm_engine.errors import FrameError, MediaUnreadableError
from vlm_engine.files import media_errors
from vlm_engine.types import Cut, ImageShape, VideoInfo
from vlm_engine.video.container import (
    FileStatus,
    Video,
    has_timestamps,
    is_avi,
    name_of,
    open_bytes,
    open_video,
    packets_of,
    status_of,
    time_base,
)
from vlm_engine.video.cuts import find_cuts, find_key_cuts
from vlm_engine.video.decoder import Decoder
from vlm_engine.video.index import (
    READ_THROUGH_BYTES,
    PacketIndex,
    Ticks,
    declared_end_s,
    read_index,
)
from vlm_engine.video.render import (
    BAR_SAMPLES,
    FrameRenderer,
    bar_share,
    displayed_size,
    lacks_base_layer,
    pixel_aspect,
    rotation_of,
)
from vlm_engine.video.timestamps import Timeline, frame_rate, timestamped
from vlm_engine.watchdog import STALL_S, Watchdog

_log = logging.getLogger(__name__)

_HASHED_BYTES = 64 * 1024
_SENT_BYTES = 16 * 1024 * 1024
_KEYS_TO_TRY = 20
_SMALL = ImageShape(320)
_STEPS_BACK_S = (0, 2, 32)  # how far before the wanted packet to aim a seek
_UNKNOWN = np.iinfo(np.int64).min
_JUMPS = (
    "recordings were joined in it: its clock begins anew %d x. Times are counted on from the "
    "beginning of the file; a player that follows the clock shows others after the first joint"
)
_NO_BASE_LAYER = (
    "Dolby Vision without a base layer (profile 5): its colours cannot be made out here, and come "
    "out green and purple. Expect poor answers, or convert it to HDR10 or SDR"
)


def probe(
    video: Video,
    *,
    identity: str | None = None,
    stall_s: float = STALL_S,
    read_through_bytes: int = READ_THROUGH_BYTES,
) -> VideoInfo:
    """Return what ``video`` holds. Blocks while it reads the index and decodes a few frames.

    ``identity`` names the content permanently; without one, it is made of size, time of change and
    both ends of the file. A Matroska file of more than ``read_through_bytes`` is indexed by its
    cues, if it has any: at once, but with fewer cut hints. For content that somebody else sends,
    the limit is far lower.

    Raises ``MediaNotFoundError``, and ``MediaUnreadableError``, also when nothing arrives for
    ``stall_s`` seconds.
    """
    with media_errors(name_of(video)), closing(Watchdog(name_of(video), stall_s)) as watchdog:
        return watchdog.call(partial(_probe, video, identity, read_through_bytes))


def identity_of(video: Video, *, stall_s: float = STALL_S) -> str:
    """Return the name that ``probe`` gives to the content of ``video`` by itself.

    Blocks, and raises, as ``probe`` does.
    """
    with media_errors(name_of(video)), closing(Watchdog(name_of(video), stall_s)) as watchdog:
        return watchdog.call(lambda: _identity(video, status_of(video)))


@dataclass(frozen=True, slots=True)
class _Summary:
    """Summary of an index: a few thousand times, not one for every packet.

    ``cuts`` are PTS with the strength of each hint. ``losses`` go from the last picture before each
    to the first one after it.
    """

    timeline: Timeline
    cuts: tuple[tuple[int, float], ...]
    losses: tuple[tuple[int, int], ...]
    jumps: int


def _probe(video: Video, identity: str | None, read_through: int) -> VideoInfo:
    name, status = name_of(video), status_of(video)
    source = None if isinstance(video, str | Path) else video
    reopen = partial(open_video, video)
    limit = min(read_through, _SENT_BYTES) if source else read_through
    with open_video(video) as (container, stream):
        summary = _summarize(
            container, stream, read_index(container, stream, status.size_bytes, limit, reopen)
        )
        timeline = summary.timeline
        seconds = timeline.seconds
        with closing(Decoder(container, stream, timeline, reopen)) as decoder:
            width, height = _displayed_size(decoder, stream, timeline)
            bars = bar_share(_samples(decoder, stream, timeline)) if width > height else 0.0
        _warn(name, summary)
        frame_s = 1 / frame_rate(stream)
        # The last picture before a loss is there.
        gaps_s = [(seconds(start) + frame_s, seconds(end)) for start, end in summary.losses]
        return VideoInfo(
            path=name,
            identity=identity or _identity(video, status),
            duration_s=seconds(timeline.last) + frame_s,
            first_s=seconds(timeline.first),
            end_s=seconds(timeline.last),
            width=width,
            height=height,
            frame_rate=frame_rate(stream),
            codec=stream.codec_context.codec.canonical_name,
            key_frames_s=tuple(map(seconds, timeline.keys)),
            key_places=tuple(timeline.positions),
            cuts=tuple(Cut(seconds(pts), strength) for pts, strength in summary.cuts),
            start_s=float(timeline.origin * timeline.tick),
            size_bytes=status.size_bytes,
            modified_ns=status.modified_ns,
            gaps_s=tuple((start_s, end_s) for start_s, end_s in gaps_s if end_s > start_s),
            bars=bars,
            source=source,
        )


def _warn(name: str, summary: _Summary) -> None:
    timeline = summary.timeline
    if summary.losses and summary.losses[-1][0] == timeline.last:
        end_s = timeline.seconds(timeline.last)
        _log.warning("%s: cut short; what can be read of it ends at %.1f s", name, end_s)
    if summary.jumps:
        _log.warning(f"%s: {_JUMPS}", name, summary.jumps)


def _summarize(container: InputContainer, stream: VideoStream, index: PacketIndex) -> _Summary:
    """Raise ``MediaUnreadableError`` where decoding can begin nowhere."""
    if not index.keys.any():
        raise MediaUnreadableError(
            f"{container.name}: its video has no time stamps, or no picture to begin decoding at"
        )
    all_keys = _pts_of(container, stream, index, np.flatnonzero(index.keys))
    first, last = _extent(container, stream, index, all_keys)
    visible = np.where(index.hidden[index.keys], first - 1, all_keys)
    keys, chosen = np.unique(visible, return_index=True)
    chosen, keys = chosen[keys >= first], keys[keys >= first].tolist()
    positions = [index.positions[number] for number in chosen.tolist()] if index.positions else []
    cuts = [cut for cut in _cuts(container, stream, index) if cut[0] > first]
    losses = [(start, end) for start, end in index.losses if start >= first]
    if not index.complete:
        declared = round((declared_end_s(container, stream) or 0.0) / time_base(stream))
        losses.append((last, max(last, declared)))
    origin = _origin(container, stream, index, first)
    timeline = Timeline(time_base(stream), origin, first, last, keys, positions)
    return _Summary(timeline, tuple(cuts), tuple(losses), index.jumps)


def _origin(container: InputContainer, stream: VideoStream, index: PacketIndex, first: int) -> int:
    """Return what players show as 0:00: where the first stream of any kind begins."""
    if not has_timestamps(container):
        return 0
    start: int | None = container.start_time  # its stub leaves the None out
    if start is None:
        return first
    origin = round(start / av.time_base / time_base(stream))
    if is_avi(container):  # its first packet is the first picture, whatever time FFmpeg guesses
        origin += first - int(index.dts[0])
    return min(origin, first)


def _pts_of(
    container: InputContainer, stream: VideoStream, index: PacketIndex, wanted: NDArray[np.intp]
) -> Ticks:
    """Return the PTS of the packets with these numbers.

    With B-frames, PTS and DTS differ by an amount that changes from packet to packet, and an index
    table has only the DTS. Reading one packet of a local file takes 40 microseconds, so it is done
    for the few that matter. One that cannot be read gets its DTS, which is a few frames too early.
    """
    if index.pts is not None:
        return index.pts[wanted]
    dts = index.dts[wanted]
    if not stream.codec_context.has_b_frames:
        container.seek(int(index.dts[0]), stream=stream)
        packets = timestamped(packets_of(container, stream))
        return dts + next((pts - dts for _, dts, pts in packets), 0)
    read = (_read_pts(container, stream, each) for each in dts.tolist())
    pts = np.fromiter(read, np.int64, count=len(dts))
    return np.where(pts == _UNKNOWN, dts, pts)


def _read_pts(container: InputContainer, stream: VideoStream, wanted: int) -> int:
    """Return the PTS of the packet whose DTS is ``wanted``.

    MP4 seeks by PTS, and never to a key frame of an open GOP that is shown later than asked for: it
    lands some way before the packet.
    """
    for back_s in _STEPS_BACK_S:
        try:
            back = round(back_s / time_base(stream))
            container.seek(wanted - back, stream=stream, any_frame=True)
            for _, dts, pts in timestamped(packets_of(container, stream)):
                if dts == wanted:
                    return pts
                if dts > wanted:
                    break
        except av.FFmpegError as error:
            _log.debug("%s: no packet is found at %d: %s", container.name, wanted, error)
    return int(_UNKNOWN)


def _extent(
    container: InputContainer, stream: VideoStream, index: PacketIndex, keys: Ticks
) -> tuple[int, int]:
    """Return the PTS of the first and the last picture. ``keys``: those of all key frames, also
    hidden.

    A picture shown before the first key frame, though it follows it in the file, depends on
    something that was cut off: it cannot be decoded and does not count.
    """
    floor, last_key = int(keys[0]), int(keys.max())
    if index.keys_only:
        return floor, _last_pts(container, stream, None, last_key)
    if index.pts is None:
        end = int(index.dts[-1])
        return (
            _first_pts(container, stream, index, floor),
            _last_pts(container, stream, end, last_key),
        )
    seen = index.pts[~index.hidden & (index.pts >= floor)]
    until = floor if index.until is None else index.until
    return int(seen.min()), max(int(seen.max()), until)


def _first_pts(
    container: InputContainer, stream: VideoStream, index: PacketIndex, floor: int
) -> int:
    first: int | None = None
    container.seek(int(index.dts[index.keys.argmax()]), stream=stream)
    for packet, dts, pts in timestamped(packets_of(container, stream)):
        if first is not None and dts > first:
            break  # nothing is shown before it is decoded
        if pts >= floor and not packet.is_discard:
            first = pts if first is None else min(first, pts)
    return floor if first is None else first


def _last_pts(
    container: InputContainer, stream: VideoStream, end: int | None, last_key: int
) -> int:
    last = last_key
    try:
        container.seek(last_key, stream=stream)
        for packet, dts, pts in timestamped(packets_of(container, stream)):
            if end is not None and dts > end:
                break  # the file ends within this packet
            if not packet.is_discard:
                last = max(last, pts)
    except av.FFmpegError as error:
        _log.debug("%s cannot be read to its end: %s", container.name, error)
    return last


def _displayed_size(decoder: Decoder, stream: VideoStream, timeline: Timeline) -> tuple[int, int]:
    """Return the size in which players show it; only a decoded frame tells its rotation.

    Raises ``MediaUnreadableError`` when the first key frames do not decode.
    """
    problems = []
    for pts in timeline.keys[:_KEYS_TO_TRY] or [timeline.first]:
        try:
            frame = decoder.frame(pts).frame
            if lacks_base_layer(frame):
                _log.warning(f"%s: {_NO_BASE_LAYER}", stream.container.name)
            return displayed_size(frame, pixel_aspect(stream), rotation_of(frame))
        except FrameError as error:
            problems.append(error)
    raise MediaUnreadableError(
        f"{problems[0]}; nor can the next key frames be decoded"
    ) from problems[0]


def _samples(
    decoder: Decoder, stream: VideoStream, timeline: Timeline
) -> Iterator[NDArray[np.uint8]]:
    """Yield key frames from all over the video, small; those that decode."""
    renderer, keys = FrameRenderer(stream), timeline.keys
    for number in np.unique(np.linspace(0, len(keys) - 1, BAR_SAMPLES).astype(int)) if keys else ():
        try:
            with media_errors(stream.container.name, "no picture to look for bars in", FrameError):
                frame = decoder.key_frame(keys[number]).frame
                yield np.asarray(renderer.render(frame, _SMALL))
        except FrameError as error:
            _log.debug("%s", error)


def _cuts(
    container: InputContainer, stream: VideoStream, index: PacketIndex
) -> list[tuple[int, float]]:
    """Return the PTS where a shot seems to begin, ascending, each with the strength of the hint."""
    if index.keys_only:
        since_s = (index.dts - index.dts[0]) * float(time_base(stream))
        found, strengths = find_key_cuts(np.rint(since_s * frame_rate(stream)).astype(np.intp))
    else:
        found, strengths = find_cuts(index.sizes, index.keys)
    times = _pts_of(container, stream, index, found)
    return sorted(zip(times.tolist(), strengths.tolist(), strict=True))


def _identity(video: Video, status: FileStatus) -> str:
    digest = hashlib.blake2b(digest_size=8)
    with open_bytes(video) as file:
        digest.update(file.read(_HASHED_BYTES))
        file.seek(max(0, status.size_bytes - _HASHED_BYTES))
        digest.update(file.read(_HASHED_BYTES))
    return f"{status.size_bytes:x}-{status.modified_ns:x}-{digest.hexdigest()}"
