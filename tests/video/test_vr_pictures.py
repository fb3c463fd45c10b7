"""Of a VR frame, what the first eye sees ahead is served: all of that, nothing else, and in its true proportions."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from sandbox import vr
from sandbox.videos import LabelledVideo, VideoSpec, generate
from vlm_engine.testing import glyphs
from vlm_engine.types import Frame, ImageShape
from vlm_engine.video import VideoReader, probe
from vlm_engine.vr import layout_of

TAGS = ("Foul", "Turnover", "Goal", "Timeout")
SIZES = {
    "mono-180": (480, 480),
    "mono-360": (960, 480),
    "sbs-180": (960, 480),
    "sbs-360": (1440, 360),
    "sbs-fisheye200": (960, 480),
    "sbs-flat": (640, 360),
    "tb-180": (480, 960),
    "tb-360": (960, 960),
    "tb-flat": (640, 720),
}
TIME_S = 1.7


@pytest.fixture(scope="module", params=vr.LAYOUTS)
def video(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> LabelledVideo:
    width, height = SIZES[request.param]
    spec = VideoSpec(duration_s=6, width=width, height=height, tags=TAGS, seed=2, vr=request.param)
    return generate(spec, tmp_path_factory.mktemp("vr") / "match.mp4")


@contextmanager
def picture(video: LabelledVideo, setting: str, shape: ImageShape) -> Iterator[Image.Image]:
    info = probe(video.path)
    layout = layout_of(setting, info.path, info.width, info.height)
    with VideoReader(info, vr=layout) as reader:
        ((_, frame),) = reader.frames([TIME_S], shape)
    assert isinstance(frame, Frame), frame
    with Image.open(io.BytesIO(frame.jpeg)) as image:
        assert image.size == (frame.width, frame.height)
        yield image


def truth(video: LabelledVideo) -> glyphs.Shown:
    codes = frozenset(glyphs.codes(sorted(video.tags_at(TIME_S))).values())
    return glyphs.Shown(codes, int(TIME_S * video.spec.frame_rate))


@pytest.mark.parametrize("side", [256, 1024])
def test_the_first_eye_s_front_is_served_whole(video: LabelledVideo, side: int) -> None:
    assert 0 < len(video.tags_at(TIME_S)) < len(TAGS)  # else both eyes would tell the same
    with picture(video, video.spec.vr, ImageShape(side)) as image:
        assert glyphs.read(image) == truth(video)
        assert max(image.size) <= side
        assert image.width / image.height == pytest.approx(
            16 / 9 if video.spec.vr.endswith("flat") else 1, rel=0.02
        )


def test_the_layout_makes_the_difference(video: LabelledVideo) -> None:
    for setting in {"off", *vr.LAYOUTS} - {video.spec.vr}:
        with picture(video, setting, ImageShape()) as image:
            assert glyphs.read(image) != truth(video), setting


def test_frames_are_taken_as_one_says_who_switches_vr_off(tmp_path: Path) -> None:
    flat = generate(
        VideoSpec(duration_s=3, width=640, height=320, tags=TAGS), tmp_path / "Final_LR_180.mp4"
    )
    with picture(flat, "off", ImageShape()) as image:
        assert image.size == (640, 320)
        assert glyphs.read(image).frame_number == int(TIME_S * flat.spec.frame_rate)
