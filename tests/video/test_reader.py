"""Every picture that is served carries its number, which must be that of the time asked for."""

from __future__ import annotations

import gc
from bisect import bisect_right
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from sandbox.videos import LabelledVideo, VideoSpec, generate
from tests.video.numbered import (
    HEIGHT,
    RATE,
    SHAPE,
    WIDTH,
    frames_of,
    image_of,
    number_of,
    numbers_at,
)
from vlm_engine.types import Frame, ImageShape
from vlm_engine.video import VideoReader, probe

NTSC = Fraction(30_000, 1001)
SPECS: dict[str, dict[str, object]] = {
    "h264 in mp4": {},
    "hevc in mp4": {"codec": "hevc"},
    "h264 in mkv": {"container": "mkv"},
    "vp9 in webm": {"codec": "vp9", "container": "webm"},
    "h264 in mpegts": {"container": "mpegts"},
    "mpeg4 in avi": {"codec": "mpeg4", "container": "avi"},
    "h264 in avi": {"container": "avi"},
    "29.97 in mp4": {"frame_rate": NTSC},
    "29.97 in mkv": {"frame_rate": NTSC, "container": "mkv"},
    "variable rate in mp4": {"variable_rate": True},
    "variable rate in mkv": {"variable_rate": True, "container": "mkv"},
    "late start in mp4": {"start_offset_s": 5.0},
    "late start in mkv": {"start_offset_s": 5.0, "container": "mkv"},
    "quarter turn": {"rotation": 90},
    "half turn": {"rotation": 180},
    "three quarter turn": {"rotation": 270},
    "wide pixels": {"pixel_aspect": Fraction(4, 3)},
    "narrow pixels": {"pixel_aspect": Fraction(3, 4)},
}
USUAL: dict[str, object] = {
    "duration_s": 4,
    "width": WIDTH,
    "height": HEIGHT,
    "frame_rate": RATE,
    "seed": 3,
    "gop_s": 1.5,
}


def make(path: Path, **changes: object) -> LabelledVideo:
    return generate(VideoSpec(**(USUAL | changes)), path)  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=SPECS)
def video(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> LabelledVideo:
    return make(tmp_path_factory.mktemp("videos") / "match", **SPECS[request.param])


def decoded(path: Path) -> list[tuple[float, bool]]:
    """Times of all frames, each with whether it is a key frame, by decoding all of them."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        assert stream.time_base is not None
        frames = [
            (frame.pts, frame.key_frame)
            for frame in container.decode(stream)
            if frame.pts is not None
        ]
        if container.format.name == "avi":  # frames come in order, but their times are guesses
            frames = [(number, is_key) for number, (_, is_key) in enumerate(frames)]
        return [(float((pts - frames[0][0]) * stream.time_base), is_key) for pts, is_key in frames]


def test_the_picture_is_the_one_shown_at_the_time_asked_for(video):
    info = probe(video.path)
    frames = decoded(video.path)
    keys = [time_s for time_s, is_key in frames if is_key]
    assert len(keys) >= 3
    assert info.key_frames_s == pytest.approx(keys, abs=1e-9)
    assert info.end_s == pytest.approx(frames[-1][0], abs=1e-9)
    assert info.end_s < info.duration_s < info.end_s + 0.1
    rate = float(video.spec.frame_rate)
    numbers = list(range(video.spec.frames))
    if video.spec.variable_rate:
        numbers = [round(time_s * rate) for time_s, _ in frames]
        assert len(numbers) < video.spec.frames - 20
    within = np.random.default_rng(5).integers(0, video.spec.frames, 25) + 0.5
    times_s = sorted([0.0, info.end_s, *info.key_frames_s, *(within / rate).tolist()])
    for time_s, frame in zip(times_s, frames_of(info, times_s), strict=True):
        number = numbers[bisect_right(numbers, time_s * rate + 0.1) - 1]
        assert number_of(frame) == number
        assert isinstance(frame, Frame)
        # Matroska rounds to milliseconds.
        assert frame.time_s == pytest.approx(number / rate, abs=0.0006)


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({"rotation": 90, "width": 240, "height": 320}, (240, 320)),
        ({"pixel_aspect": Fraction(4, 3)}, (427, 240)),
        ({"pixel_aspect": Fraction(3, 4)}, (240, 240)),
    ],
)
def test_size_is_that_of_the_displayed_picture(changes, size, tmp_path):
    spec = {"duration_s": 1, "width": 320, "height": 240} | changes
    info = probe(make(tmp_path / "match.mp4", **spec).path)
    assert (info.width, info.height) == size
    (whole,), (small,) = (frames_of(info, [0.5], shape) for shape in (SHAPE, ImageShape(160)))
    assert image_of(whole).size == size
    assert image_of(small).size == pytest.approx([160 * side / max(size) for side in size], abs=1)
    assert number_of(small) == number_of(whole) == 12


def test_times_come_ascending_and_as_often_as_asked_for(match):
    with VideoReader(match) as reader:
        served = list(reader.frames([1e6, 3.0, -3.0, 1.0, 3.0, match.duration_s], SHAPE))
        nothing = list(reader.frames([], SHAPE))
    assert [time_s for time_s, _ in served] == [-3.0, 1.0, 3.0, 3.0, match.duration_s, 1e6]
    assert [number_of(frame) for _, frame in served] == [0, 25, 75, 75, 99, 99]
    assert nothing == []


def test_one_reader_serves_calls_forwards_and_backwards(match):
    times = [0.4, 1.0, 3.4, 0.2, 3.88, 3.92, 3.0, 3.04]
    with VideoReader(match) as reader:
        frames = [frame for time_s in times for _, frame in reader.frames([time_s], SHAPE)]
    assert [number_of(frame) for frame in frames] == [round(time_s * RATE) for time_s in times]


def test_files_and_pictures_do_not_wait_for_garbage_collection(match):
    def alive() -> int:
        return sum(
            isinstance(each, av.container.InputContainer)
            or (isinstance(each, av.VideoFrame) and each.width > 2)
            for each in gc.get_objects()
        )

    gc.collect()
    gc.disable()
    try:
        before = alive()
        assert len(frames_of(probe(match.path), [n / RATE for n in range(100)])) == 100
        assert alive() == before
    finally:
        gc.enable()


def test_a_path_may_hold_spaces_colons_and_any_letters(tmp_path, monkeypatch):
    make(tmp_path / "Finale: zweite Hälfte – 決勝.mp4", duration_s=1)
    monkeypatch.chdir(tmp_path)
    assert numbers_at(probe("Finale: zweite Hälfte – 決勝.mp4"), [0.2]) == [5]
