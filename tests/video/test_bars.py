"""Upright videos put into wide ones: what is black on both sides is cropped, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.video.numbered import at, frames_of, image_of, number_of, write
from vlm_engine.testing import glyphs
from vlm_engine.types import ImageShape
from vlm_engine.video import probe
from vlm_engine.video.render import bar_share
from vlm_engine.vr import layout_of

WIDTH, HEIGHT = 640, 360
INNER = 240  # of an upright picture: bars of 200 pixels

Draw = Callable[[int], Image.Image]


def black(*, paste: Image.Image | Any = None, box: Sequence[int] = (0, 0)) -> Image.Image:
    image = Image.new("RGB", (WIDTH, HEIGHT))
    image.paste(paste, tuple(box))
    return image


def upright(number: int) -> Image.Image:
    inner = glyphs.picture([], INNER, HEIGHT, number)
    return black(paste=inner, box=((WIDTH - INNER) // 2, 0))


def made(path: Path, draw: Draw, count: int = 40) -> Path:
    options = {"x264-params": "scenecut=0"}
    return write(path, pictures=map(draw, range(count)), gop=8, options=options)


def sizes(path: Path, numbers: Sequence[int]) -> list[float]:
    """The proportions in which these pictures are sent; each can still be read."""
    frames = frames_of(path, at(numbers), ImageShape(max_side=512))
    assert [number_of(frame) for frame in frames] == numbers
    return [image.width / image.height for image in map(image_of, frames)]


def test_the_bars_of_an_upright_video_are_not_sent(tmp_path):
    path = made(tmp_path / "free throw.mp4", upright)
    info = probe(path)
    assert (info.width, info.height) == (WIDTH, HEIGHT)
    assert 0.29 < info.bars <= 200 / WIDTH
    assert sizes(path, [3, 30, 39]) == pytest.approx([INNER / HEIGHT] * 3, rel=0.05)
    layout = layout_of("sbs-180", "", WIDTH, HEIGHT)  # of VR, only what is beside the front is cut
    (frame,) = frames_of(path, at([30]), vr=layout)
    assert image_of(frame).width == pytest.approx(image_of(frame).height, rel=0.01)


def test_a_picture_without_bars_is_sent_whole(tmp_path):
    def draw(number: int) -> Image.Image:
        return glyphs.picture([], WIDTH, HEIGHT, number) if 5 <= number < 8 else upright(number)

    path = made(tmp_path / "highlights.mp4", draw)
    assert probe(path).bars > 0
    wide, tall = WIDTH / HEIGHT, INNER / HEIGHT
    assert sizes(path, [2, 6, 30]) == pytest.approx([tall, wide, tall], rel=0.05)


def with_logo(number: int) -> Image.Image:
    picture = upright(number)
    picture.paste((200, 200, 200), (20, 20, 80, 50))
    return picture


def to_the_left(number: int) -> Image.Image:
    return black(paste=glyphs.picture([], INNER, HEIGHT, number), box=(60, 0))


def wandering_light(number: int) -> Image.Image:
    return black(paste=(180, 160, 140), box=(220 + number, 100, 340 + number, 300))


def dark(number: int) -> Image.Image:
    return black(paste=(number % 8,) * 3, box=(0, 0, WIDTH, HEIGHT))


@pytest.mark.parametrize(
    "draw", [with_logo, to_the_left, wandering_light, dark], ids=lambda draw: draw.__name__
)
def test_what_may_be_part_of_the_picture_is_left(draw, tmp_path):
    path = made(tmp_path / "match.mp4", draw)
    assert probe(path).bars == 0
    image = image_of(*frames_of(path, at([30])))
    assert image.width / image.height == pytest.approx(WIDTH / HEIGHT, rel=0.02)


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
def test_bars_are_where_several_pictures_have_them(pictures, share):
    assert bar_share(pictures) == pytest.approx(share)
