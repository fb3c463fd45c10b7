"""Measure reading frames beside other readers, and the quality of cut hints (``make bench-video``).

``make bench-video``.

Every way of reading runs in a process of its own, on the same generated files, one after the other;
ratios are those of one run. Libraries that are not installed are left out. Writes its tables into
docs/benchmarks-video.md.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from benchmarks.memory import peak_mb
from sandbox.videos import LabelledVideo, VideoSpec, generate, load
from vlm_engine.errors import FrameError
from vlm_engine.jpeg import encode
from vlm_engine.types import Frame, ImageShape
from vlm_engine.video import VideoReader, probe

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks-video.md"
SHAPE = ImageShape()
STEP_S = 2.0  # from one sample to the next
TOLERANCE_S = 0.1  # from a hint to the cut it stands for
_EDGES_PER_GROUP = 4
_RATE = 25

Times = Sequence[float]


@dataclass(frozen=True, slots=True)
class Scale:
    """Sizes of what is measured."""

    width: int = 1920
    height: int = 1080
    clip_s: float = 24.0
    short_gop_s: float = 1.0
    long_gop_s: float = 8.0
    minutes: tuple[float, float] = (10.0, 120.0)
    scored_s: float = 120.0
    codecs: tuple[str, ...] = ("h264", "hevc")
    scored: int = 5  # of the kinds of video whose cuts are looked for


QUICK = Scale(320, 180, 6.0, 1.0, 5.0, (0.3, 0.6), 10.0, ("h264",), 2)


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of reading ``frames`` pictures in one way: CPU of all threads, time, peak memory of the
    process. CPU of all its threads, time, and its process's peak memory.
    """

    frames: int
    cpu_s: float
    wall_s: float
    peak_mb: float


# --- the ways: each reads pictures of a file and makes JPEGs of them, and says how many


def key_frames(path: str, times_s: Times) -> Iterator[None]:
    """This reader, each time moved to the nearest key frame, each key frame once."""
    info = probe(path)
    keys = np.array(info.key_frames_s)
    yield
    moved = {float(keys[np.abs(keys - time_s).argmin()]) for time_s in times_s}
    with VideoReader(info) as reader:
        for _, frame in reader.frames(sorted(moved), SHAPE):
            _checked(frame)
            yield


def exact(path: str, times_s: Times) -> Iterator[None]:
    """This reader, at the very times."""
    info = probe(path)
    yield
    with VideoReader(info) as reader:
        for _, frame in reader.frames(times_s, SHAPE):
            _checked(frame)
            yield


def groups_once(path: str, times_s: Times) -> Iterator[None]:
    """PyAV, each group of pictures that holds one of the times decoded once from its beginning to
    its end.
    """
    keys = np.array(probe(path).key_frames_s)
    yield
    groups = sorted({int(np.searchsorted(keys, time_s, "right")) - 1 for time_s in times_s})
    with closing(av.open(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "SLICE"
        for group in groups:
            end_s = keys[group + 1] if group + 1 < len(keys) else np.inf
            container.seek(round((keys[group] + 1e-3) * av.time_base))
            pictures = (
                (frame.time or 0.0, frame.to_image)
                for frame in _until(container.decode(stream), end_s)
            )
            wanted = [time_s for time_s in times_s if keys[group] <= time_s < end_s]
            yield from _at(pictures, wanted)


def _until(frames: Iterator[av.VideoFrame], end_s: float) -> Iterator[av.VideoFrame]:
    for frame in frames:
        if (frame.time or 0.0) >= end_s - 1e-3:
            return
        yield frame


def pyav_in_order(path: str, times_s: Times) -> Iterator[None]:
    """PyAV with all its threads, every frame decoded."""
    yield
    with closing(av.open(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        yield from _at(
            ((frame.time or 0.0, frame.to_image) for frame in container.decode(video=0)), times_s
        )


def opencv_in_order(path: str, times_s: Times) -> Iterator[None]:
    """OpenCV, every frame grabbed, the wanted ones retrieved."""
    cv2 = importlib.import_module("cv2")
    yield
    video = cv2.VideoCapture(path)
    step_s = 1 / video.get(cv2.CAP_PROP_FPS)
    count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    grabbed = (number * step_s for number in range(count) if video.grab())
    yield from _at(
        ((time_s, lambda: _from_bgr(video.retrieve()[1])) for time_s in grabbed), times_s
    )
    video.release()


def opencv_seek(path: str, times_s: Times) -> Iterator[None]:
    """OpenCV, one seek for every frame."""
    cv2 = importlib.import_module("cv2")
    yield
    video = cv2.VideoCapture(path)
    rate = video.get(cv2.CAP_PROP_FPS)
    for time_s in times_s:
        video.set(cv2.CAP_PROP_POS_FRAMES, int(time_s * rate + 1e-3))
        encode(_from_bgr(video.read()[1]), SHAPE)
        yield
    video.release()


def decord_reader(path: str, times_s: Times) -> Iterator[None]:
    """decord, one reader."""
    decord = importlib.import_module("decord")
    yield
    video = decord.VideoReader(path)
    rate = video.get_avg_fps()
    for time_s in times_s:
        encode(
            Image.fromarray(video[min(int(time_s * rate + 1e-3), len(video) - 1)].asnumpy()), SHAPE
        )
        yield


def whole_run(path: str, times_s: Times) -> Iterator[None]:
    """Read a file as a search does: key frames from end to end, then exact ones."""
    yield
    info = probe(path)
    with VideoReader(info) as reader:
        keys = info.key_frames_s
        for wanted in (keys[:: max(1, len(keys) // len(times_s))], times_s):
            for _, frame in reader.frames(wanted, SHAPE):
                _checked(frame)
                yield


WAYS: dict[str, Callable[[str, Times], Iterator[None]]] = {
    "this reader, key frames": key_frames,
    "this reader, exact": exact,
    "PyAV, in order": pyav_in_order,
    "OpenCV, grabbed in order": opencv_in_order,
    "OpenCV, a seek for each": opencv_seek,
    "decord, one reader": decord_reader,
}
_OTHERS = {"groups decoded once": groups_once, "whole run": whole_run}
_LIBRARIES = {"OpenCV": "cv2", "decord": "decord"}


def _checked(frame: Frame | FrameError) -> None:
    if isinstance(frame, FrameError):
        raise frame


def _at(
    pictures: Iterator[tuple[float, Callable[[], Image.Image]]], times_s: Times
) -> Iterator[None]:
    """Encode the picture shown at each time, given all of them in order, each with the time from
    which it is shown.
    """
    wanted = iter(times_s)
    time_s = next(wanted, None)
    for began_s, image in pictures:
        if time_s is None:
            return
        if began_s + 1 / _RATE > time_s + 1e-3:
            encode(image(), SHAPE)
            yield
            time_s = next(wanted, None)


def _from_bgr(pixels: Any) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels[:, :, ::-1]))


# --- one way, one process


def measured(way: str, path: Path, times_s: Times) -> Cost:
    """``way`` run in a process of its own.

    Raises ``subprocess.CalledProcessError`` where it fails.
    """
    command = [sys.executable, "-m", "benchmarks.video", "--way", way, "--file", str(path)]
    given = json.dumps(list(times_s))
    done = subprocess.run(
        command, cwd=ROOT, input=given, capture_output=True, text=True, check=True, timeout=3600
    )
    return Cost(**json.loads(done.stdout))


def _measure_here(way: str, path: str) -> None:
    reading = (WAYS | _OTHERS)[way](path, json.load(sys.stdin))
    next(reading)  # libraries are loaded and the file's index is known; what follows is measured
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    frames = sum(1 for _ in reading)
    cost = Cost(frames, time.process_time() - cpu_s, time.perf_counter() - wall_s, peak_mb())
    sys.stdout.write(json.dumps(asdict(cost)))


# --- the files


def footage(path: Path, codec: str, gop_s: float, scale: Scale) -> Path:
    """Return a clip at the bit rate of footage: two textures that glide over each other, grain, and
    a cut every seven seconds.
    """
    rng = np.random.default_rng(11)
    encoders = {
        "h264": ("libx264", {"preset": "superfast"}),
        "hevc": ("libx265", {"preset": "ultrafast"}),
    }
    name, options = encoders[codec]
    options |= {"x265-params": "log-level=none"} if codec == "hevc" else {}
    grain = [
        np.clip(rng.normal(12, 4, (scale.height, scale.width)), 0, 24).astype(np.uint8)
        for _ in range(6)
    ]
    with closing(av.open(path, "w")) as container:
        stream: Any = container.add_stream(name, rate=_RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = scale.width, scale.height, "yuv420p"
        stream.codec_context.gop_size = round(gop_s * _RATE)
        stream.bit_rate = round(5.6e6 * scale.width * scale.height / (1920 * 1080))
        for number in range(round(scale.clip_s * _RATE)):
            if number % 173 == 0:
                ground, veil = _texture(rng, scale), _texture(rng, scale)
            luma = (
                np.roll(ground, number * 2, axis=1)
                + np.roll(veil, number * 3, axis=0)
                + grain[int(rng.integers(6))]
            )
            pixels = np.full((scale.height * 3 // 2, scale.width), 128, np.uint8)
            pixels[: scale.height] = luma
            frame = av.VideoFrame.from_ndarray(pixels, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, _RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _texture(rng: np.random.Generator, scale: Scale) -> Any:
    coarse = rng.integers(20, 108, (scale.height // 20, scale.width // 20), dtype=np.uint8)
    return np.asarray(
        Image.fromarray(coarse).resize((scale.width, scale.height), Image.Resampling.BILINEAR),
        np.uint8,
    )


def repeated(clip: Path, path: Path, duration_s: float) -> Path:
    """Return the packets of ``clip`` again and again, for at least ``duration_s``; nothing is
    encoded.
    """
    with closing(av.open(clip)) as given, closing(av.open(path, "w")) as made:
        old = given.streams.video[0]
        new = made.add_stream_from_template(old)
        assert old.time_base is not None
        length, shift = int(old.duration or 0), 0
        while shift * old.time_base < duration_s:
            given.seek(0)
            for packet in given.demux(old):
                if packet.dts is not None and packet.pts is not None:
                    packet.pts, packet.dts, packet.stream = (
                        packet.pts + shift,
                        packet.dts + shift,
                        new,
                    )
                    made.mux(packet)
            shift += length
    return path


# --- cut hints

# Codec, container, longest time between key frames in seconds.
_SCORED = (
    ("h264", "mp4", 10.0),
    ("h264", "mkv", 2.0),
    ("hevc", "mp4", 8.0),
    ("vp9", "webm", 8.0),
    ("mpeg4", "avi", 4.0),
)


@dataclass(frozen=True, slots=True)
class Hints:
    """Number of ``wanted`` cuts that one of the ``given`` hints met, and the cost for that much
    video.
    """

    met: int
    wanted: int
    given: int
    cpu_s: float
    video_s: float


def hints_of(finder: Callable[[str], Times], videos: Sequence[LabelledVideo]) -> Hints:
    """Return the scores of one way to find cuts, all videos together."""
    met = wanted = given = 0
    cpu_s = time.process_time()
    found = [finder(str(video.path)) for video in videos]
    cpu_s = time.process_time() - cpu_s
    for hints, video in zip(found, videos, strict=True):
        met += _pairs(sorted(hints), video.cuts_s)
        wanted, given = wanted + len(video.cuts_s), given + len(hints)
    return Hints(met, wanted, given, cpu_s, sum(video.spec.duration_s for video in videos))


def _pairs(hints: Times, cuts_s: Times) -> int:
    """Return how many cuts have a hint of their own within the tolerance; both ascending."""
    waiting, met = list(hints), 0
    for cut_s in cuts_s:
        waiting = [hint for hint in waiting if hint >= cut_s - TOLERANCE_S]
        if waiting and waiting[0] <= cut_s + TOLERANCE_S:
            waiting.pop(0)
            met += 1
    return met


def _hints_from(strength: float) -> Callable[[str], Times]:
    return lambda path: [cut.time_s for cut in probe(path).cuts if cut.strength >= strength]


def _scenedetect(detector: str) -> Callable[[str], Times]:
    library = importlib.import_module("scenedetect")

    def find(path: str) -> Times:
        scenes = library.detect(path, getattr(library, detector)())
        return [float(start.seconds) for start, _ in scenes[1:]]

    return find


def finders() -> dict[str, Callable[[str], Times]]:
    """Every way to find cuts that is installed."""
    ways = {"hints of this reader": _hints_from(0.0), "those of strength ≥ .5": _hints_from(0.5)}
    if _installed("scenedetect"):
        ways["PySceneDetect, content"] = _scenedetect("ContentDetector")
        ways["PySceneDetect, adaptive"] = _scenedetect("AdaptiveDetector")
    return ways


# --- the tables


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _installed(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def reading(folder: Path, scale: Scale) -> Iterator[str]:
    """One table for every codec and length of groups: each way at a picture every two seconds."""
    times = [float(time_s) for time_s in np.arange(0.5, scale.clip_s - 0.5, STEP_S)]
    ways = [
        way
        for way in WAYS
        if all(_installed(module) for name, module in _LIBRARIES.items() if way.startswith(name))
    ]
    for codec in scale.codecs:
        for kind, gop_s in (("short", scale.short_gop_s), ("long", scale.long_gop_s)):
            clip = footage(folder / f"{codec}-{kind}.mp4", codec, gop_s, scale)
            costs = {way: measured(way, clip, times) for way in ways}
            exact_ms = min(
                1000 * cost.cpu_s / cost.frames
                for way, cost in costs.items()
                if way != "this reader, key frames"
            )
            title = f"**{codec}, {scale.width} × {scale.height}, groups of {gop_s:g} s**"
            head = (
                "way",
                "pictures",
                "CPU ms per picture",
                "of the best exact way",
                "wall ms",
                "peak memory",
            )
            rows = [_row(way, cost, exact_ms) for way, cost in costs.items()]
            yield f"{title}\n\n{_table(head, rows)}"
            if kind == "long":
                yield _edges(clip, codec)


def _row(way: str, cost: Cost, exact_ms: float) -> tuple[str, ...]:
    cpu_ms, wall_ms = 1000 * cost.cpu_s / cost.frames, 1000 * cost.wall_s / cost.frames
    return (
        way,
        str(cost.frames),
        f"{cpu_ms:.0f}",
        f"{cpu_ms / exact_ms:.2f}",
        f"{wall_ms:.0f}",
        f"{cost.peak_mb:.0f} MB",
    )


def _edges(clip: Path, codec: str) -> str:
    """Compare a few exact pictures in every other group with decoding each of them once."""
    info = probe(clip)
    keys = (*info.key_frames_s, info.end_s)
    shares = np.random.default_rng(4).uniform(0.05, 0.95, (len(keys), _EDGES_PER_GROUP))
    chosen = [
        (keys[n], keys[n + 1]) for n in range(0, len(keys) - 1, 2) if keys[n + 1] - keys[n] > 1
    ]
    times = sorted(
        start + (end - start) * float(share)
        for (start, end), separate in zip(chosen, shares, strict=False)
        for share in separate
    )
    separate, once = (
        measured("this reader, exact", clip, times),
        measured("groups decoded once", clip, times),
    )
    return (
        f"Edges, {codec}: {separate.frames} exact pictures in {len(chosen)} groups took "
        f"{separate.cpu_s:.2f} s of CPU; "
        f"decoding each group once took {once.cpu_s:.2f} s ({separate.cpu_s / once.cpu_s:.2f} of "
        "it)."
    )


def lengths(folder: Path, scale: Scale) -> str:
    """Peak memory of a whole run, and time for the index, by length of the file and container."""
    spec = VideoSpec(
        duration_s=20, width=scale.width, height=scale.height, frame_rate=_RATE, b_frames=2, seed=2
    )
    clip = generate(spec, folder / "clip.mp4").path
    rows = []
    for suffix in ("mp4", "mkv", "ts"):
        for minutes in scale.minutes:
            path = repeated(clip, folder / f"long.{suffix}", minutes * 60)
            cost = measured(
                "whole run", path, [float(at) for at in np.linspace(1.0, minutes * 60 - 1.0, 20)]
            )
            began = time.perf_counter()
            info = probe(path)
            took_s = time.perf_counter() - began
            size = f"{path.stat().st_size / 1e6:.0f} MB"
            hour_s = took_s * 3600 / info.duration_s
            rows.append(
                (
                    suffix,
                    f"{minutes:g} min",
                    size,
                    f"{took_s:.2f} s",
                    f"{hour_s:.2f} s",
                    f"{cost.peak_mb:.0f} MB",
                )
            )
            path.unlink()
    head = (
        "container",
        "length",
        "file",
        "index and cut hints",
        "per hour of video",
        "peak memory of a whole run",
    )
    return f"**Length of the file**, {scale.width} × {scale.height}\n\n{_table(head, rows)}"


def hinting(folder: Path, scale: Scale) -> str:
    """Cut hints scored against the truth of generated videos."""
    kinds = _SCORED[: scale.scored]
    spec = VideoSpec(duration_s=scale.scored_s, width=640, height=360, shot_median_s=5)
    videos = []
    for seed, (codec, container, gop_s) in enumerate(kinds):
        separate = replace(spec, codec=codec, container=container, gop_s=gop_s, seed=100 + seed)
        generate(separate, folder / f"cuts{seed}.{container}")
        videos.append(load(folder / f"cuts{seed}.{container}"))
    rows = []
    for name, finder in finders().items():
        hints = hints_of(finder, videos)
        precision, recall = hints.met / max(1, hints.given), hints.met / hints.wanted
        rows.append(
            (
                name,
                str(hints.given),
                f"{precision:.2f}",
                f"{recall:.2f}",
                f"{hints.cpu_s * 3600 / hints.video_s:.1f} s",
            )
        )
    title = (
        f"**Cut hints**, {len(videos)} videos of 640 × 360 with "
        f"{sum(len(video.cuts_s) for video in videos)} cuts"
    )
    head = ("way", "hints", f"precision at ± {TOLERANCE_S:g} s", "recall", "CPU per hour of video")
    return (
        f"{title} "
        f"({', '.join(f'{codec} in {container}' for codec, container, _ in kinds)})"
        f"\n\n{_table(head, rows)}"
    )


def _show(text: str, page: Path) -> None:
    pattern = r"(<!-- video: made by make bench-video -->\n).*?(<!-- end of video -->)"
    text, count = re.subn(
        pattern,
        lambda part: f"{part[1]}{text}\n{part[2]}",
        page.read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    if not count:
        raise SystemExit(f"{page} has no place for the tables")
    page.write_text(text, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, prints the tables and puts them on the page."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--quick", action="store_true", help="small and short files, to see that it works"
    )
    options.add_argument("--page", type=Path, default=PAGE, help="the page that shows the tables")
    options.add_argument("--way", help=argparse.SUPPRESS)
    options.add_argument("--file", help=argparse.SUPPRESS)
    given = options.parse_args(arguments)
    if given.way:
        _measure_here(given.way, given.file)
        return
    scale = QUICK if given.quick else Scale()
    parts = []
    with tempfile.TemporaryDirectory() as name:
        for part in _parts(Path(name), scale):
            parts.append(part)
            sys.stdout.write(f"{part}\n\n")
            sys.stdout.flush()
    _show("\n\n".join(parts), given.page)


def _parts(folder: Path, scale: Scale) -> Iterator[str]:
    yield from reading(folder, scale)
    yield lengths(folder, scale)
    yield hinting(folder, scale)


if __name__ == "__main__":
    main()
