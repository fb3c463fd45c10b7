"""Shapes of test pictures are recognised whatever was done to the file, and nowhere else."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest
from PIL import Image, ImageDraw

from sandbox.videos import VideoSpec, generate
from sandbox.world import SPORT_TAGS
from vlm_engine.checkup.cards import BACKGROUND, CARDS, COLOURS, Card, card_jpeg
from vlm_engine.testing import glyphs, shapes


def picture(card: Card, width: int = 512) -> Image.Image:
    return Image.open(io.BytesIO(card_jpeg(card.number, width)))


def saved(image: Image.Image, quality: int) -> Image.Image:
    written = io.BytesIO()
    image.save(written, "JPEG", quality=quality)
    return Image.open(written)


@pytest.mark.parametrize("width", [200, 320, 500, 512, 768, 1024, 2048])
def test_every_card_is_read_at_every_width(width):
    assert [shapes.read(picture(card, width)) for card in CARDS] == [card.tags for card in CARDS]


def test_cards_are_read_from_copies_of_other_kinds():
    for card in CARDS:
        image = picture(card)
        for copy in (
            saved(image, 30),
            image.resize((200, 112)),
            image.resize((512, 512)),
            image.convert("RGBA"),
            image.convert("P", palette=Image.Palette.ADAPTIVE),
        ):
            assert shapes.read(copy) == card.tags, (card.number, copy)


def test_a_shape_of_another_colour_is_none():
    assert shapes.read(picture(CARDS[0])) == {"Red circle", "Blue square", "Green triangle"}
    rolled = np.roll(np.asarray(picture(CARDS[0])), 1, axis=2)
    assert shapes.read(Image.fromarray(rolled)) == frozenset()


def test_a_shape_turned_over_is_none():
    turned = picture(CARDS[0]).transpose(Image.Transpose.ROTATE_180)
    assert shapes.read(turned) == {"Red circle", "Blue square"}


def test_an_outline_of_the_right_colour_is_none():
    image = Image.new("RGB", (512, 288), BACKGROUND)
    draw = ImageDraw.Draw(image)
    draw.ellipse((40, 80, 170, 210), outline=COLOURS["Red circle"], width=12)
    draw.rectangle((240, 80, 370, 210), outline=COLOURS["Blue square"], width=12)
    assert shapes.read(image) == frozenset()


def test_no_frame_of_a_video_shows_a_shape(tmp_path):
    for seed in range(3):
        spec = VideoSpec(8, 320, 180, frame_rate=5, seed=seed, shot_median_s=1)
        with av.open(generate(spec, tmp_path / f"{seed}.mp4").path) as container:
            frames = [frame.to_image() for frame in container.decode(video=0)]
        assert len(frames) == 40
        assert [found for found in map(shapes.read, frames) if found] == []


def test_no_picture_of_another_kind_shows_a_shape():
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (180, 320, 3), dtype=np.uint8) for _ in range(20)]
    blobs = [rng.integers(0, 256, (4, 7, 3), dtype=np.uint8) for _ in range(20)]
    others = [
        *map(Image.fromarray, noise),
        *(Image.fromarray(blob).resize((320, 180), Image.Resampling.NEAREST) for blob in blobs),
        *(Image.fromarray(blob).resize((320, 180)) for blob in blobs),
        *(Image.new("RGB", (320, 180), colour) for colour in (*COLOURS.values(), "white", "grey")),
        *(glyphs.picture(SPORT_TAGS[:count], 512, 288, count) for count in range(9)),
    ]
    assert [found for found in map(shapes.read, others) if found] == []
