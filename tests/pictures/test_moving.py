"""Of a picture that moves, a handful of moments: evenly spaced in time, each once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sandbox.stills import saved, scene
from tests.pictures.stored import differs_by, pixels_of
from vlm_engine.errors import MediaUnreadableError
from vlm_engine.pictures import ImageViews, PictureReader, ViewKind, animation, spread
from vlm_engine.types import ImageShape

SHAPE = ImageShape(256, 92)


def plain_frames(count: int, size: tuple[int, int] = (96, 64)) -> list[Image.Image]:
    """Frames that tell their number by their brightness."""
    return [Image.new("RGB", size, (20 + number * 200 // count,) * 3) for number in range(count)]


def animated(
    frames: list[Image.Image], form: str, durations_ms: int | list[int] = 100, **options: object
) -> bytes:
    return saved(
        frames[0], form, save_all=True, append_images=frames[1:], duration=durations_ms, **options
    )


def views_of(data: bytes, count: int = 5) -> ImageViews:
    return PictureReader(frames=count).views(data, SHAPE)


def brightness(views: ImageViews) -> list[int]:
    return [round(float(pixels_of(frame).mean())) for frame in views.frames]


LOSSLESS = {"GIF": {}, "PNG": {}, "WEBP": {"lossless": True}, "AVIF": {"quality": 95, "speed": 10}}


@pytest.mark.parametrize("form", LOSSLESS)
def test_one_moment_of_every_stretch_is_shown(form):
    frames = plain_frames(20)
    views = views_of(animated(frames, form, **LOSSLESS[form]))
    assert views.kind is ViewKind.MOVING
    assert [frame.time_s for frame in views.frames] == pytest.approx([0.2, 0.4, 1.0, 1.3, 1.9])
    expected = [20 + number * 10 for number in (2, 4, 10, 13, 19)]
    assert brightness(views) == pytest.approx(expected, abs=4)


@given(st.floats(0.01, 10_000), st.integers(1, 20))
def test_times_are_spread_over_all_of_it(duration, count):
    for number, time in enumerate(spread(duration, count)):
        assert number * duration / count <= time <= (number + 1) * duration / count * (1 + 1e-9)


@pytest.mark.parametrize("form", LOSSLESS)
def test_a_frame_counts_by_its_duration_and_is_there_once(form):
    frames = plain_frames(2)
    views = views_of(animated(frames, form, [100, 3900], **LOSSLESS[form]))
    assert brightness(views) == pytest.approx([120] * 5, abs=4)
    assert len({frame.time_s for frame in views.frames}) == 1
    views = views_of(animated(frames, form, [400, 600], **LOSSLESS[form]))
    assert [frame.time_s for frame in views.frames] == pytest.approx([0, 0, 0.4, 0.4, 0.4])


def test_hundreds_of_frames_are_thinned_evenly():
    frames = plain_frames(200, (24, 16))
    views = views_of(animated(frames, "GIF", 40))
    times = [frame.time_s for frame in views.frames]
    assert len(times) == 5
    assert times == pytest.approx(spread(8.0, 5), abs=0.8)
    assert brightness(views) == pytest.approx([20 + time / 8 * 200 for time in times], abs=4)


def test_frames_that_change_only_a_part_are_whole():
    first = Image.fromarray(scene(96, 64))
    second = first.copy()
    second.paste((250, 250, 250), (10, 10, 30, 30))
    views = views_of(animated([first, second], "GIF"))
    assert differs_by(pixels_of(views.frames[-1]), np.asarray(second)) < 8


def test_transparent_frames_lie_on_grey():
    frames = [
        Image.new("RGBA", (64, 64), (200, 30, 30, 255 - 255 * (number % 2))) for number in range(2)
    ]
    for form in ("PNG", "WEBP"):
        assert brightness(views_of(animated(frames, form)))[-1] == pytest.approx(128, abs=3)


def test_the_stand_in_of_an_animated_png_is_no_frame_of_it():
    stand_in = Image.new("RGB", (96, 64), (255, 255, 255))
    data = animated([stand_in, *plain_frames(2)], "PNG", default_image=True)
    assert brightness(views_of(data)) == pytest.approx([20, 20, 120, 120, 120], abs=3)


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_one_frame_is_a_still(form):
    assert views_of(saved(plain_frames(1)[0], form)).kind is ViewKind.STILL


def test_a_file_cut_off_is_read_up_to_there(caplog):
    noise = np.random.default_rng(3)
    frames = [Image.fromarray(noise.integers(0, 255, (64, 96, 3), np.uint8)) for _ in range(10)]
    data = animated(frames, "GIF")
    views = views_of(data[: len(data) * 6 // 10])
    assert views.kind is ViewKind.MOVING
    assert 3 <= len(views.frames) <= 5
    assert views.frames[-1].time_s <= 0.6
    with pytest.raises(MediaUnreadableError, match="damaged"):
        views_of(data[:1000])


def test_endless_animations_come_to_an_end(monkeypatch):
    data = animated(plain_frames(60), "GIF")
    monkeypatch.setattr(animation, "_MAX_FRAMES", 10)
    assert views_of(data).frames[-1].time_s <= 1.0
    monkeypatch.setattr(animation, "_MAX_FRAMES", 1000)
    monkeypatch.setattr(animation, "_MAX_PIXELS", 20 * 96 * 64)
    assert 1.0 < views_of(data).frames[-1].time_s <= 2.1


def test_frames_that_name_no_time_get_the_usual_one():
    views = views_of(animated(plain_frames(10), "GIF", 0))
    assert [frame.time_s for frame in views.frames] == pytest.approx([0.1, 0.2, 0.5, 0.6, 0.9])
