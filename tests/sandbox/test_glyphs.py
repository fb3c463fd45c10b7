import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sandbox.world import SPORT_TAGS
from vlm_engine.testing import glyphs

FULL_LIST = (*SPORT_TAGS, *(f"Player {number}" for number in range(1, 33)))


def as_sent(image, longest, quality=80):
    scale = longest / max(image.size)
    small = image.resize(
        (round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC
    )
    written = io.BytesIO()
    small.save(written, "JPEG", quality=quality, subsampling="4:2:0")
    return Image.open(written)


@pytest.mark.parametrize("longest", [1280, 1024, 512, 320])
@pytest.mark.parametrize("size", [(1280, 720), (720, 1280), (640, 480), (1000, 330)])
def test_everything_is_read_back_from_a_scaled_jpeg(size, longest):
    image = glyphs.picture(FULL_LIST, *size, frame_number=0xABCDEF)
    shown = glyphs.read(as_sent(image, longest))
    assert shown == glyphs.Shown(frozenset(map(glyphs.code, FULL_LIST)), 0xABCDEF)


@given(
    st.sets(st.sampled_from(FULL_LIST)),
    st.integers(0, glyphs.FRAME_NUMBERS - 1),
    st.integers(80, 170),
    st.integers(0, 99),
)
def test_every_combination_is_read_back_on_any_ground(tags, number, level, seed):
    patches = np.random.default_rng(seed).integers(-20, 20, (180, 320)) + level
    plane = np.clip(patches, glyphs.DARKEST_GROUND, glyphs.LIGHTEST_GROUND).astype(np.uint8)
    glyphs.draw(plane, [glyphs.code(tag) if tag in tags else None for tag in FULL_LIST], number)
    shown = glyphs.read(as_sent(Image.fromarray(plane), 320))
    assert shown == glyphs.Shown(frozenset(map(glyphs.code, tags)), number)


@pytest.mark.parametrize(
    "turn", [Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.FLIP_LEFT_RIGHT]
)
def test_a_turned_or_mirrored_picture_shows_nothing(turn):
    turned = glyphs.picture(SPORT_TAGS, frame_number=77).transpose(turn)
    assert glyphs.read(turned) == glyphs.Shown(frozenset(), None)


def test_a_cropped_picture_shows_nothing():
    cropped = glyphs.picture(SPORT_TAGS).crop((0, 0, 1000, 720))
    assert glyphs.read(cropped).frame_number is None


def test_a_picture_of_something_else_shows_nothing():
    noise = np.random.default_rng(0).integers(0, 256, (360, 640, 3), dtype=np.uint8)
    assert glyphs.read(Image.fromarray(noise)) == glyphs.Shown(frozenset(), None)


def test_a_code_does_not_depend_on_case_or_spacing():
    assert glyphs.code("Free throw") == glyphs.code(" free  THROW ") != glyphs.code("Freethrow")


def test_a_code_is_the_same_in_every_process():
    assert glyphs.code("Corner kick") == 0xB96


def test_two_tags_with_one_code_are_refused_by_name():
    seen = {}
    for number in range(3000):
        twin = seen.setdefault(glyphs.code(f"Set {number}"), number)
        if twin != number:
            break
    with pytest.raises(ValueError, match=f"'Set {twin}' and 'Set {number}' have the same code"):
        glyphs.codes([f"Set {twin}", f"Set {number}"])


def test_more_tags_than_tiles_are_refused():
    with pytest.raises(ValueError, match="room for 40 tags, not 41"):
        glyphs.codes([*FULL_LIST, "Goal kick"])


def test_a_frame_number_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="24 bits"):
        glyphs.picture((), frame_number=glyphs.FRAME_NUMBERS)
