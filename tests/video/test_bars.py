"""Upright videos put into wide ones: what is black on both sides is cropped, and nothing else ever."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from vlm_engine.testing import glyphs
from vlm_engine.types import Frame, ImageShape
from vlm_engine.video import VideoReader, probe
from vlm_engine.video.render import are_black, bar_share
from vlm_engine.vr import Layout, layout_of

RATE = 25
WIDTH, HEIGHT = 640, 360
INNER = 240  # of an upright picture: bars of 200 pixels
SHAPE = ImageShape(max_side=512)

Draw = Callable[[int], Image.Image]


def upright(number: int) -> Image.Image:
    picture = Image.new("RGB", (WIDTH, HEIGHT))
    picture.paste(glyphs.picture([], INNER, HEIGHT, number), ((WIDTH - INNER) // 2, 0))
    return picture


def write(path: Path, draw: Draw, count: int = 75) -> Path:
    with av.open(path, "w") as container:
        stream: Any = container.add_stream(
            "libx264", rate=RATE, options={"x264-params": "scenecut=0"}
        )
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size = 12
        for number in range(count):
            frame = av.VideoFrame.from_image(draw(number))
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def served(path: Path, numbers: Sequence[int], *, vr: Layout | None = None) -> list[Image.Image]:
    times = [(number + 0.5) / RATE for number in numbers]
    with VideoReader(probe(path), vr=vr) as reader:
        frames = [frame for _, frame in reader.frames(times, SHAPE)]
    assert all(isinstance(frame, Frame) for frame in frames)
    return [
        Image.open(io.BytesIO(frame.jpeg)).convert("RGB")
        for frame in frames
        if isinstance(frame, Frame)
    ]


def test_the_bars_of_an_upright_video_are_not_sent(tmp_path: Path) -> None:
    path = write(tmp_path / "free throw.mp4", upright)
    info = probe(path)
    assert (info.width, info.height) == (WIDTH, HEIGHT)
    assert 0.29 < info.bars <= 200 / WIDTH
    for number, image in zip((3, 30, 74), served(path, [3, 30, 74]), strict=True):
        assert glyphs.read(image).frame_number == number
        assert image.width / image.height == pytest.approx(INNER / HEIGHT, rel=0.05)
        assert max(image.size) >= HEIGHT


def test_a_picture_without_bars_among_those_with_them_is_sent_whole(tmp_path: Path) -> None:
    def draw(number: int) -> Image.Image:
        return glyphs.picture([], WIDTH, HEIGHT, number) if 5 <= number < 8 else upright(number)

    path = write(tmp_path / "highlights.mp4", draw)
    assert probe(path).bars > 0
    first, whole, later = served(path, [2, 6, 40])
    assert whole.width / whole.height == pytest.approx(WIDTH / HEIGHT, rel=0.02)
    assert first.size == later.size != whole.size
    assert [glyphs.read(image).frame_number for image in (first, whole, later)] == [2, 6, 40]


def with_logo(number: int) -> Image.Image:
    picture = upright(number)
    picture.paste((200, 200, 200), (20, 20, 80, 50))
    return picture


def to_the_left(number: int) -> Image.Image:
    picture = Image.new("RGB", (WIDTH, HEIGHT))
    picture.paste(glyphs.picture([], INNER, HEIGHT, number), (60, 0))
    return picture


def wandering(number: int) -> Image.Image:
    """A light that moves over a dark stage."""
    picture = Image.new("RGB", (WIDTH, HEIGHT))
    picture.paste((180, 160, 140), (220 + number, 100, 340 + number, 300))
    return picture


def dark(number: int) -> Image.Image:
    return Image.new("RGB", (WIDTH, HEIGHT), (number % 8,) * 3)


@pytest.mark.parametrize(
    "draw", [with_logo, to_the_left, wandering, dark], ids=lambda draw: draw.__name__
)
def test_what_may_be_part_of_the_picture_is_left(draw: Draw, tmp_path: Path) -> None:
    path = write(tmp_path / "match.mp4", draw)
    assert probe(path).bars == 0
    ((image),) = served(path, [30])
    assert image.width / image.height == pytest.approx(WIDTH / HEIGHT, rel=0.02)


def test_of_vr_nothing_is_cropped_but_to_the_front(tmp_path: Path) -> None:
    path = write(tmp_path / "court.mp4", upright)
    (image,) = served(path, [30], vr=layout_of("sbs-180", "", WIDTH, HEIGHT))
    assert image.width / image.height == pytest.approx(1, rel=0.01)


def picture_of(left: int, right: int, light: int = 120) -> Any:
    pixels = np.zeros((36, 100, 3), np.uint8)
    pixels[:, left : 100 - right] = light
    return pixels


@pytest.mark.parametrize(
    ("pictures", "share"),
    [
        ([picture_of(30, 30)] * 3, 0.30),
        ([picture_of(30, 31)] * 3, 0.30),
        ([picture_of(30, 30)] * 2, 0.0),  # too few to be sure
        ([picture_of(30, 34)] * 3, 0.0),  # not in the middle
        ([picture_of(45, 45)] * 3, 0.0),  # more of a slit than a picture
        ([picture_of(2, 2)] * 3, 0.0),
        ([picture_of(30, 30)] * 3 + [picture_of(0, 0)], 0.0),
        ([picture_of(30, 30)] * 3 + [picture_of(35, 40)], 0.30),  # a dark place beside the bars
        ([picture_of(30, 30), picture_of(33, 33), picture_of(36, 36)], 0.0),
        ([picture_of(30, 30, 10)] + [picture_of(30, 30)] * 3, 0.30),  # the first one fades in
        ([], 0.0),
    ],
)
def test_bars_are_where_several_pictures_have_them(pictures: list[Any], share: float) -> None:
    assert bar_share(pictures) == pytest.approx(share)


def test_no_more_pictures_are_taken_than_are_needed() -> None:
    taken = (number for number in range(8))
    assert bar_share(picture_of(0, 0) for _ in taken) == 0.0
    assert next(taken) == 1


def test_bars_that_hold_something_are_not_black() -> None:
    assert are_black(picture_of(30, 30), 0.30)
    assert not are_black(picture_of(30, 20), 0.30)
    assert not are_black(picture_of(10, 30), 0.30)
