"""Test pictures: large shapes in plain colours, which nobody who sees can miss. Pure.

Each card shows three of eight shapes. Two cards share one shape at most: the lines of the affine
plane of order 3 without one of its points. So an answer to one card cannot be taken for an answer
to another one, even where a model errs about a shape.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from PIL import Image, ImageDraw

from vlm_engine.config.models import ModelConfig
from vlm_engine.types import Form, Frame, Question

Point = tuple[float, float]
Box = tuple[float, float, float, float]
Draw = Callable[[ImageDraw.ImageDraw, Box, str], None]

BACKGROUND = "#f4f4f2"
_WIDTH, _HEIGHT = 16, 9
_QUALITY = 88
_FINE = 2  # drawn so many times as large, then reduced, for smooth edges


def _ellipse(draw: ImageDraw.ImageDraw, box: Box, colour: str) -> None:
    draw.ellipse(box, fill=colour)


def _polygon(points: tuple[Point, ...]) -> Draw:
    """Return a function that draws a polygon. ``points`` lie in the unit square."""

    def draw_polygon(draw: ImageDraw.ImageDraw, box: Box, colour: str) -> None:
        left, top, right, bottom = box
        draw.polygon(
            [(left + x * (right - left), top + y * (bottom - top)) for x, y in points], fill=colour
        )

    return draw_polygon


def _star() -> tuple[Point, ...]:
    angles = [math.pi * (each / 5 - 0.5) for each in range(10)]
    radii = [0.5, 0.2] * 5
    return tuple(
        (0.5 + radius * math.cos(angle), 0.52 + radius * math.sin(angle))
        for radius, angle in zip(radii, angles, strict=True)
    )


def _heart() -> tuple[Point, ...]:
    steps = [2 * math.pi * each / 60 for each in range(60)]
    curve = [
        (
            16 * math.sin(t) ** 3,
            13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t),
        )
        for t in steps
    ]
    return tuple((0.5 + x / 34, 0.45 - y / 34) for x, y in curve)


_SQUARE = ((0.05, 0.05), (0.95, 0.05), (0.95, 0.95), (0.05, 0.95))
_TRIANGLE = ((0.5, 0.05), (0.98, 0.92), (0.02, 0.92))
_ARM, _END = 0.36, 0.64
_CROSS = (
    *((_ARM, 0.0), (_END, 0.0), (_END, _ARM), (1.0, _ARM), (1.0, _END), (_END, _END)),
    *((_END, 1.0), (_ARM, 1.0), (_ARM, _END), (0.0, _END), (0.0, _ARM), (_ARM, _ARM)),
)
_ARROW = (
    *((0.0, 0.34), (0.55, 0.34), (0.55, 0.1), (1.0, 0.5)),
    *((0.55, 0.9), (0.55, 0.66), (0.0, 0.66)),
)
_SHAPES: dict[str, tuple[str, Draw]] = {
    "Red circle": ("#d8141e", _ellipse),
    "Blue square": ("#1450d2", _polygon(_SQUARE)),
    "Green triangle": ("#149632", _polygon(_TRIANGLE)),
    "Yellow star": ("#f5c800", _polygon(_star())),
    "Black cross": ("#141414", _polygon(_CROSS)),
    "Orange arrow": ("#f07814", _polygon(_ARROW)),
    "Purple heart": ("#8228aa", _polygon(_heart())),
    "Grey moon": (
        "#8c9196",
        _polygon(
            tuple(
                (0.55 + 0.45 * math.cos(a), 0.5 + 0.48 * math.sin(a))
                for a in (math.pi * (0.35 + 1.3 * each / 30) for each in range(31))
            )
            + tuple(
                (0.72 + 0.33 * math.cos(a), 0.5 + 0.42 * math.sin(a))
                for a in (math.pi * (1.6 - 1.2 * each / 30) for each in range(31))
            )
        ),
    ),
}
CARD_TAGS = tuple(_SHAPES)
COLOURS = {tag: colour for tag, (colour, _) in _SHAPES.items()}
_LINES = ("012", "345", "036", "147", "156", "237", "246", "057")
"""The shapes of each card. The first two cards have none in common."""


@dataclass(frozen=True, slots=True)
class Card:
    """A test picture. ``number``: its place in ``CARDS``; ``tags``: those that are right."""

    number: int
    tags: frozenset[str]

    def question(self, form: Form = Form.LIST, width: int = 512) -> Question:
        """Return the question about it, with a picture of this width in pixels."""
        height = width * _HEIGHT // _WIDTH
        return Question(CARD_TAGS, form, card_jpeg(self.number, width), pixels=width * height)


CARDS = tuple(
    Card(number, frozenset(CARD_TAGS[int(shape)] for shape in line))
    for number, line in enumerate(_LINES)
)


def together(cards: Sequence[Card]) -> Question:
    """Return one question about several cards, each a small picture."""
    first, *rest = (card.question() for card in cards)
    width, height = 512, 512 * _HEIGHT // _WIDTH
    more = tuple(
        Frame(float(time_s), width, height, question.jpeg)
        for time_s, question in enumerate(rest, 1)
    )
    return replace(first, time_s=0.0, more=more)


def card_model(model: ModelConfig) -> ModelConfig:
    """Return the settings to ask about cards in the very way that ``model`` asks about frames."""
    words = {"tag_list": CARD_TAGS, "tag_descriptions": {}, "synonyms": {}}
    return model.model_copy(update=words)


def in_built_in_words(model: ModelConfig) -> ModelConfig:
    """Return the settings of ``card_model`` without the words that its user wrote.

    These may keep a model that sees from naming shapes.
    """
    return model.model_copy(update={"prompt": "", "system_prompt": "", "user_prompt": ""})


@lru_cache(32)
def card_jpeg(number: int, width: int) -> bytes:
    """Return the picture of a card as JPEG. Its shapes stand from left to right, some higher."""
    height = width * _HEIGHT // _WIDTH
    unit = width * _FINE / _WIDTH
    image = Image.new("RGB", (width * _FINE, height * _FINE), BACKGROUND)
    draw = ImageDraw.Draw(image)
    side = 4.2 * unit
    for place, tag in enumerate(tag for tag in CARD_TAGS if tag in CARDS[number].tags):
        left = (0.7 + 5.2 * place) * unit
        top = (0.6 + 1.1 * ((number + 2 * place) % 4)) * unit
        colour, draw_shape = _SHAPES[tag]
        draw_shape(draw, (left, top, left + side, top + side), colour)
    reduced = image.resize((width, height), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    reduced.save(written, "JPEG", quality=_QUALITY)
    return written.getvalue()
