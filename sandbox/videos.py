"""Generated videos that carry their own truth: what every frame shows is drawn into it and written
beside the file.

::

    video = generate(VideoSpec(duration_s=60, seed=1), Path("match.mp4"))
    video.truth["Foul"]     # ((12.4, 17.8), ...)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.plane import VideoPlane
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from sandbox import vr
from sandbox.sound import Tone
from sandbox.world import SPORT_TAGS, Timeline, VideoSpec, plan
from vlm_engine.testing import glyphs

__all__ = ["SPORT_TAGS", "LabelledVideo", "VideoSpec", "generate", "load", "truth_path"]

Pixels = NDArray[np.uint8]

_PAN_ROOM = 256  # pixels of the background beyond the picture, for the camera to pan over
_PATCHES = (
    36,
    64,
)  # rows and columns of a background: so fine that two cuts in three get a key frame
_KEPT_SHARE = 0.6  # of the frames, in a video of variable rate

# The fastest presets, with x264's default scene-cut detection, which that preset leaves out.
_ENCODERS: Mapping[str, tuple[str, dict[str, str]]] = {
    "h264": (
        "libx264",
        {"preset": "ultrafast", "crf": "27", "x264-params": "scenecut=40:min-keyint=4"},
    ),
    "hevc": (
        "libx265",
        {"preset": "ultrafast", "crf": "28", "x265-params": "log-level=none:scenecut=40:pools=2"},
    ),
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "crf": "32", "b": "0"}),
    "mpeg4": ("mpeg4", {"qscale": "4", "flags": "qscale", "global_quality": "472"}),
}
_SOUND = {"webm": "libopus", "avi": "mp2"}
_FORMATS = {"mp4": "mp4", "mkv": "matroska", "webm": "webm", "avi": "avi", "mpegts": "mpegts"}


@dataclass(frozen=True, slots=True)
class LabelledVideo:
    """A generated file and what is true of it, in seconds from its first frame.

    ``cuts_s``: time of the first frame of each shot but the first. ``truth``: for every tag its
    spans, each from the first frame that shows the tag to the first that no longer does; none for a
    tag that is never present.
    """

    path: Path
    spec: VideoSpec
    cuts_s: tuple[float, ...]
    truth: Mapping[str, tuple[tuple[float, float], ...]]

    def tags_at(self, time_s: float) -> frozenset[str]:
        """Return the tags that the picture at ``time_s`` shows."""
        return frozenset(
            tag
            for tag, spans in self.truth.items()
            if any(start <= time_s < end for start, end in spans)
        )


def generate(spec: VideoSpec, path: Path | str) -> LabelledVideo:
    """Encode ``spec`` as ``path`` and writes its truth beside it.

    Raises ``ValueError`` for an unknown codec or container.
    """
    path = Path(path)
    if spec.codec not in _ENCODERS or spec.container not in _FORMATS:
        raise ValueError(
            f"cannot make {spec.codec} in {spec.container}; codecs: {[*_ENCODERS]}, containers: "
            f"{[*_FORMATS]}"
        )
    timeline = plan(spec)
    with closing(av.open(path, "w", format=_FORMATS[spec.container])) as container:
        _encode(container, spec, timeline)
    return _labelled(spec, timeline, path)


def truth_path(path: Path | str) -> Path:
    """Return the path of the truth of the video at ``path``."""
    return Path(f"{path}.truth.json")


def load(path: Path | str) -> LabelledVideo:
    """Return the video at ``path`` with the truth that ``generate`` wrote beside it.

    Raises ``OSError`` without one.
    """
    written = json.loads(truth_path(path).read_text(encoding="utf-8"))
    spec = written["spec"]
    spec |= {"tags": tuple(spec["tags"])} | {
        key: Fraction(spec[key]) for key in ("frame_rate", "pixel_aspect")
    }
    truth = {
        tag: tuple((start, end) for start, end in spans) for tag, spans in written["truth"].items()
    }
    return LabelledVideo(Path(path), VideoSpec(**spec), tuple(written["cuts_s"]), truth)


def _encode(container: Any, spec: VideoSpec, timeline: Timeline) -> None:
    stream = _open_stream(container, spec)
    tone = Tone(container, _SOUND.get(spec.container, "aac")) if spec.audio else None
    first = round(spec.start_offset_s * spec.frame_rate)
    for number, frame in _pictures(spec, timeline):
        frame.pts = first + number
        frame.time_base = Fraction(1, 1) / spec.frame_rate
        container.mux(stream.encode(frame))
        for packet in tone.until(float(number / spec.frame_rate)) if tone else ():
            container.mux(packet)
    container.mux(stream.encode(None))
    for packet in tone.end() if tone else ():
        container.mux(packet)


def _open_stream(container: Any, spec: VideoSpec) -> VideoStream:
    encoder, options = _ENCODERS[spec.codec]
    stream: VideoStream = container.add_stream(
        encoder, rate=Fraction(spec.frame_rate), options=options
    )
    turned = spec.rotation in (90, 270)
    stream.width, stream.height = (spec.height, spec.width) if turned else (spec.width, spec.height)
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.time_base = Fraction(1, 1) / spec.frame_rate
    context.gop_size = max(1, round(spec.gop_s * spec.frame_rate))
    context.sample_aspect_ratio = Fraction(spec.pixel_aspect)
    context.max_b_frames = spec.b_frames
    context.thread_count = 2
    if spec.rotation:
        stream.set_display_rotation(-spec.rotation)
    return stream


def _pictures(spec: VideoSpec, timeline: Timeline) -> Iterator[tuple[int, av.VideoFrame]]:
    """Every frame that is encoded, with its number."""
    rng = np.random.default_rng((spec.seed, 1))
    codes = glyphs.codes(spec.tags)
    changes = timeline.changes()
    shot = _Shot.random(rng, spec, 0, None)
    for number in range(spec.frames):
        if number in timeline.cuts:
            shot = _Shot.random(rng, spec, number, shot)
        must_stay = number in changes or number in (0, spec.frames - 1)
        if spec.variable_rate and not must_stay and rng.random() > _KEPT_SHARE:
            continue
        luma, chroma = shot.planes(number, spec.width)
        tiles = [code if timeline.is_on(tag, number) else None for tag, code in codes.items()]
        yield (
            number,
            _frame(
                luma,
                chroma,
                _Drawing(tiles, list(codes.values()), number, spec.vr),
                spec.rotation // 90,
            ),
        )


@dataclass(frozen=True, slots=True)
class _Shot:
    """Return a background to pan over: brightness level in the middle, soft patches, one tint."""

    first: int
    level: float
    speed: int
    ground: Pixels
    chroma: tuple[Pixels, Pixels]

    @classmethod
    def random(
        cls, rng: np.random.Generator, spec: VideoSpec, first: int, before: _Shot | None
    ) -> _Shot:
        """Return a shot that visibly differs from the one ``before``."""
        level = float(rng.uniform(100, 150))
        if before is not None and abs(level - before.level) < 20:
            level += 20 if before.level < 125 else -20
        size = (spec.width + _PAN_ROOM, spec.height)
        patches = Image.fromarray(rng.uniform(-22, 22, _PATCHES).astype(np.float32)).resize(
            size, Image.Resampling.BICUBIC
        )
        ground = np.clip(
            np.asarray(patches) + level, glyphs.DARKEST_GROUND, glyphs.LIGHTEST_GROUND
        ).astype(np.uint8)
        half = (spec.height // 2, spec.width // 2)
        blue, red = (np.full(half, round(128 + rng.uniform(-30, 30)), np.uint8) for _ in range(2))
        return cls(first, level, int(rng.integers(0, 3)), ground, (blue, red))

    def planes(self, number: int, width: int) -> tuple[Pixels, tuple[Pixels, Pixels]]:
        """Return the background of one frame, not to be drawn on. The camera goes to and fro."""
        way = (number - self.first) * self.speed % (2 * _PAN_ROOM)
        offset = min(way, 2 * _PAN_ROOM - way)
        return self.ground[:, offset : offset + width], self.chroma


@dataclass(frozen=True, slots=True)
class _Drawing:
    """Drawing on a background: the codes ``shown``, of all there are, and the frame's number."""

    tiles: list[int | None]
    codes: list[int]
    number: int
    vr: str

    def draw(self, luma: Pixels) -> None:
        """On the upright picture."""
        if self.vr:
            vr.draw(luma, self.vr, self.tiles, self.codes, self.number)
        else:
            glyphs.draw(luma, self.tiles, self.number)


def _frame(
    ground: Pixels, chroma: tuple[Pixels, Pixels], drawing: _Drawing, quarter_turns: int
) -> av.VideoFrame:
    """One picture, stored turned anticlockwise so that a player has to turn it back."""
    height, width = ground.shape[::-1] if quarter_turns % 2 else ground.shape
    frame = av.VideoFrame(width, height, "yuv420p")
    luma, *tint = (_upright(plane, quarter_turns) for plane in frame.planes)
    luma[:] = ground
    drawing.draw(luma)
    for plane, colour in zip(tint, chroma, strict=True):
        plane[:] = colour
    return frame


def _upright(plane: VideoPlane, quarter_turns: int) -> Pixels:
    """Return a frame's plane as an array to draw the upright picture on, without copying."""
    pixels = np.frombuffer(plane, np.uint8)  # type: ignore[call-overload]  # a buffer
    stored = pixels.reshape(plane.height, plane.line_size)[:, : plane.width]
    return np.rot90(stored, -quarter_turns)


def _labelled(spec: VideoSpec, timeline: Timeline, path: Path) -> LabelledVideo:
    def seconds(number: int) -> float:
        return float(number / Fraction(spec.frame_rate))

    cuts = tuple(seconds(cut) for cut in timeline.cuts)
    truth = {
        tag: tuple((seconds(first), seconds(end)) for first, end in spans)
        for tag, spans in timeline.spans.items()
    }
    plain_spec = asdict(spec) | {
        "frame_rate": str(spec.frame_rate),
        "pixel_aspect": str(spec.pixel_aspect),
    }
    written = {"spec": plain_spec, "cuts_s": cuts, "truth": truth}
    truth_path(path).write_text(json.dumps(written, indent=1, ensure_ascii=False), encoding="utf-8")
    return LabelledVideo(path, spec, cuts, truth)
