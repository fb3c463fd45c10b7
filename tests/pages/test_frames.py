"""The operation ``frames``: pictures from the scene's file, or the reason why there are none."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from haven.settings.overlay import write_overlay
from sandbox.videos import VideoSpec, generate


@pytest.fixture
def video(tmp_path):
    spec = VideoSpec(duration_s=12, width=320, height=180, tags=("Foul", "Goal"), seed=3)
    return generate(spec, tmp_path / "game.mp4").path


def picture(frame) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(frame["jpeg"])))


def test_frames_come_in_the_order_of_their_times(pages, video):
    scene = pages.stash.library.add_scene(video)
    found = pages.value("frames", scene=scene, times_s=[9.0, 1.0, 9.0], width=160)["frames"]
    assert [frame["time_s"] for frame in found] == [9.0, 1.0, 9.0]
    assert {picture(frame).size for frame in found} == {(160, 90)}
    assert found[0]["jpeg"] == found[2]["jpeg"] != found[1]["jpeg"]
    assert {frame["error"] for frame in found} == {""}


def test_a_file_that_is_gone_is_named_in_every_frame(pages, video):
    scene = pages.stash.library.add_scene(video)
    video.unlink()
    found = pages.value("frames", scene=scene, times_s=[1.0, 2.0], width=160)["frames"]
    assert [frame["jpeg"] for frame in found] == [None, None]
    assert all("game.mp4" in frame["error"] for frame in found)


def test_frames_of_a_scene_that_is_gone_are_not_found(pages):
    code, message = pages.failure("frames", scene="4711", times_s=[1.0], width=160)
    assert (code, message) == (
        "not_found",
        "scene 4711 is no longer in Stash; it was deleted or merged",
    )


@pytest.mark.parametrize("wrong", [{"times_s": [1.0] * 25}, {"width": 641}, {"width": 0}])
def test_frames_are_few_and_small(pages, wrong):
    code, message = pages.failure("frames", **{"scene": "1", "times_s": [1.0], "width": 9, **wrong})
    assert code == "bad_request"
    assert next(iter(wrong)) in message


def test_frames_are_read_through_stash_where_the_file_is_elsewhere(pages, video):
    scene = pages.stash.library.add_scene(video)
    settings = {"STREAM_FROM_STASH": True, "PATH_MUTATION": {str(video.parent): "/nowhere"}}
    pages.data_dir.mkdir(exist_ok=True)
    write_overlay(pages.data_dir, settings, 0)
    (frame,) = pages.value("frames", scene=scene, times_s=[5.0], width=160)["frames"]
    assert picture(frame).size == (160, 90)
