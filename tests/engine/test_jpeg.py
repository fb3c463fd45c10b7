"""Pictures as the JPEG that is sent."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from vlm_engine.jpeg import encode, fitted_size
from vlm_engine.types import ImageShape

RED = (200, 30, 30)


def colour(image: Image.Image, x: float, y: float) -> tuple[int, ...]:
    pixel = image.getpixel((int(x * image.width), int(y * image.height)))
    assert isinstance(pixel, tuple)
    return pixel


def about(expected: tuple[int, ...], tolerance: int = 12) -> object:
    return pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize(
    ("size", "max_side", "sent"),
    [
        ((1920, 1080), 1024, (1024, 576)),
        ((1080, 1920), 1024, (576, 1024)),
        ((640, 480), 1024, (640, 480)),
        ((1024, 1024), 1024, (1024, 1024)),
        ((40, 20), 1024, (128, 64)),
        ((1, 1), 1024, (64, 64)),
        ((4000, 100), 1000, (1000, 64)),
        ((400, 10), 1024, (1024, 64)),
    ],
)
def test_pictures_are_sent_neither_too_large_nor_too_small(size, max_side, sent):
    jpeg, width, height = encode(Image.new("RGB", size, RED), ImageShape(max_side))
    with Image.open(io.BytesIO(jpeg)) as image:
        assert image.format == "JPEG"
        assert image.mode == "RGB"
        assert image.size == (width, height) == sent


def test_a_long_strip_keeps_its_proportions_between_grey_bars():
    jpeg, _, _ = encode(Image.new("RGB", (4000, 100), RED), ImageShape(1000))
    image = Image.open(io.BytesIO(jpeg))
    assert fitted_size(4000, 100, ImageShape(1000)) == (1000, 25)
    assert colour(image, 0.5, 0.5) == about(RED)
    assert colour(image, 0.5, 0.05) == colour(image, 0.5, 0.95) == about((128, 128, 128))


def test_quality_decides_the_size_in_bytes():
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 255, (200, 200, 3), np.uint8))
    assert len(encode(noise, ImageShape(quality=40))[0]) < len(
        encode(noise, ImageShape(quality=90))[0]
    )
