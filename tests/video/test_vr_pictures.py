"""Of a VR frame, what the first eye sees ahead is served: all of it, alone, in true proportions."""

from __future__ import annotations

import pytest
from PIL import Image

from sandbox import vr
from sandbox.videos import LabelledVideo, VideoSpec, generate
from tests.video.numbered import SHAPE, frames_of, image_of
from vlm_engine.testing import glyphs
from vlm_engine.types import ImageShape
from vlm_engine.video import probe
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
    spec = VideoSpec(6, *SIZES[request.param], 5, tags=TAGS, seed=2, vr=request.param)
    return generate(spec, tmp_path_factory.mktemp("vr") / "match.mp4")


def picture(video: LabelledVideo, setting: str, shape: ImageShape = SHAPE) -> Image.Image:
    info = probe(video.path)
    layout = layout_of(setting, info.path, info.width, info.height)
    return image_of(*frames_of(info, [TIME_S], shape, vr=layout))


def test_only_the_first_eyes_front_is_served_and_whole(video):
    layout = video.spec.vr
    assert 0 < len(video.tags_at(TIME_S)) < len(TAGS)  # else both eyes would tell the same
    codes = frozenset(glyphs.codes(sorted(video.tags_at(TIME_S))).values())
    truth = glyphs.Shown(codes, int(TIME_S * video.spec.frame_rate))
    for side in (256, 1024):
        image = picture(video, layout, ImageShape(side))
        assert glyphs.read(image) == truth
        assert max(image.size) <= side
        aspect = 16 / 9 if layout.endswith("flat") else 1
        assert image.width / image.height == pytest.approx(aspect, rel=0.02)
    for other in {"off", *vr.LAYOUTS} - {layout}:
        assert glyphs.read(picture(video, other)) != truth, other


def test_frames_are_shown_as_they_are_without_vr(tmp_path):
    spec = VideoSpec(3, 640, 320, 10, tags=TAGS)
    flat = generate(spec, tmp_path / "Final_LR_180.mp4")
    image = picture(flat, "off")
    assert image.size == (640, 320)
    assert glyphs.read(image).frame_number == int(TIME_S * flat.spec.frame_rate)
