"""Answers about several pictures, put together from what single requests brought. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vlm_engine.types import Answer


class OneAtATimeError(Exception):
    """The server does not take several pictures in one request."""


def open_places(answer: Answer) -> list[int]:
    """The places, from 0, of the pictures that are left without verdicts."""
    return [place for place, verdicts in enumerate(answer.by_picture) if not verdicts]


def filled(answer: Answer, places: Sequence[int], other: Answer) -> Answer:
    """``answer`` with what ``other`` says of the pictures at ``places``, and what it cost."""
    by_picture = list(answer.by_picture)
    for place, verdicts in zip(places, other.by_picture, strict=True):
        by_picture[place] = verdicts
    return replace(
        answer,
        verdicts=by_picture[0],
        more=tuple(by_picture[1:]),
        raw="\n".join(filter(None, (answer.raw, other.raw))),
        prompt_tokens=answer.prompt_tokens + other.prompt_tokens,
        answer_tokens=answer.answer_tokens + other.answer_tokens,
        calls=answer.calls + other.calls,
    )


def blank(answer: Answer, pictures: int) -> Answer:
    """An answer from the same model that says nothing yet of so many pictures, and cost nothing."""
    return replace(
        answer,
        verdicts={},
        more=({},) * (pictures - 1),
        raw="",
        prompt_tokens=0,
        answer_tokens=0,
        calls=0,
    )
