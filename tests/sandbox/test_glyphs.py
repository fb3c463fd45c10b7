"""Pictures are read back as they were drawn, or not at all."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sandbox.world import SPORT_TAGS
from vlm_engine.testing import glyphs

FULL_LIST = (*SPORT_TAGS, *(f"Player {number}" for number in range(1, 33)))
NOTHING = glyphs.Shown(frozenset(), None)


def as_sent(image: Image.Image, longest: int) -> Image.Image:
    scale = longest / max(image.size)
    written = io.BytesIO()
    size = (round(image.width * scale), round(image.height * scale))
    image.resize(size, Image.Resampling.BICUBIC).save(written, "JPEG", quality=80)
    return Image.open(written)


@pytest.mark.parametrize("longest", [1280, 320])
@pytest.mark.parametrize("size", [(1280, 720), (720, 1280), (1000, 330)])
def test_everything_is_read_back_from_a_scaled_jpeg(size, longest):
    image = glyphs.picture(FULL_LIST, *size, frame_number=0xABCDEF)
    contents = glyphs.read(as_sent(image, longest))
    assert contents == glyphs.Shown(frozenset(map(glyphs.code, FULL_LIST)), 0xABCDEF)


@given(
    st.sets(st.sampled_from(FULL_LIST)),
    st.integers(0, glyphs.FRAME_NUMBERS - 1),
    st.integers(80, 170),
    st.integers(0, 99),
)
def test_every_combination_is_read_back(tags, number, level, seed):
    patches = np.random.default_rng(seed).integers(-20, 20, (180, 320)) + level
    plane = np.clip(patches, glyphs.DARKEST_GROUND, glyphs.LIGHTEST_GROUND).astype(np.uint8)
    glyphs.draw(plane, [glyphs.code(tag) if tag in tags else None for tag in FULL_LIST], number)
    contents = glyphs.read(as_sent(Image.fromarray(plane), 320))
    assert contents == glyphs.Shown(frozenset(map(glyphs.code, tags)), number)


PICTURE = glyphs.picture(SPORT_TAGS, frame_number=77)
NOISE = np.random.default_rng(0).integers(0, 256, (360, 640, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "image",
    [
        *map(PICTURE.transpose, (Image.Transpose.ROTATE_90, Image.Transpose.FLIP_LEFT_RIGHT)),
        PICTURE.crop((0, 0, 1000, 720)),
        Image.fromarray(NOISE),
    ],
    ids=["rotated", "mirrored", "cropped", "another picture"],
)
def test_any_other_picture_shows_nothing(image):
    assert glyphs.read(image) == NOTHING


def test_a_code_is_always_the_same():
    assert glyphs.code("Corner kick") == glyphs.code(" corner  KICK ") == 0xB96


def test_what_cannot_be_drawn_is_refused():
    seen: dict[int, str] = {}
    tags = (f"Set {number}" for number in range(3000))
    twin, tag = next(
        (seen[code], tag) for tag in tags if seen.setdefault(code := glyphs.code(tag), tag) != tag
    )
    with pytest.raises(ValueError, match=f"'{twin}' and '{tag}' have the same code"):
        glyphs.codes([twin, tag])
    with pytest.raises(ValueError, match="room for 40 tags, not 41"):
        glyphs.codes([*FULL_LIST, "Goal kick"])
    with pytest.raises(ValueError, match="24 bits"):
        glyphs.picture((), frame_number=glyphs.FRAME_NUMBERS)
