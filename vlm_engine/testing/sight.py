"""Unsound ways from a picture to a reply: about which picture, and what else than an answer."""

from __future__ import annotations

import asyncio
import random
import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vlm_engine.testing import glyphs
from vlm_engine.testing.answers import Token, prose
from vlm_engine.testing.behaviour import Behaviour, Sight

Contents = list[glyphs.Shown]
"""The contents of each picture of a request."""
NOTHING = glyphs.Shown(frozenset(), None)
REFUSAL = "I'm sorry, but I can't help with that."
_MEETING_S = 0.05  # requests that are sent at once arrive within it
_LETTERS = string.ascii_letters + string.digits + "%#@!~"  # brackets might make an answer


@dataclass(frozen=True, slots=True)
class Draft:
    """The tokens of a reply, why it ends, and the field of the message that it stands in.

    One that ``is_free`` is not held to the form that the request asks for.
    """

    tokens: list[Token]
    finish: str = "stop"
    field: str = "content"
    is_free: bool = False


_REFUSALS = {
    Sight.REFUSING: Draft(prose(REFUSAL), is_free=True),
    Sight.REFUSAL_FIELD: Draft(prose(REFUSAL), field="refusal", is_free=True),
    Sight.FILTERED: Draft([], finish="content_filter", is_free=True),
}


def instead_of_answer(behaviour: Behaviour, body: Mapping[str, Any]) -> Draft | None:
    """Return what a model writes that never answers; None for any other."""
    if behaviour.sight is Sight.GIBBERISH:
        return Draft(_random_tokens(f"{behaviour.seed} {body['messages']}"), is_free=True)
    return _REFUSALS.get(behaviour.sight)


def _random_tokens(seed: str) -> list[Token]:
    """Return up to 400 tokens, which is more than usual budgets."""
    rng = random.Random(seed)
    words = [
        "".join(rng.choices(_LETTERS, k=rng.randint(1, 6))) for _ in range(rng.randint(5, 400))
    ]
    return [Token(f"{word} ", {f"{word} ": 0.04, "the ": 0.03}) for word in words]


@dataclass(eq=False, slots=True)
class _Work:
    """A request that is worked on, and the one whose pictures its answer is about."""

    contents: Contents
    answered_about: _Work | None = None


class Eyes:
    """From the pictures of each request to those that its answer is about."""

    def __init__(self) -> None:
        self._before: Contents = []
        self._working: list[_Work] = []

    def arrive(self, behaviour: Behaviour, contents: Contents, answers: int) -> Contents:
        """Return the contents that so many answers are about, while no other request meddles.

        Call it once for each request, in the order of their arrival.
        """
        if behaviour.sight in (Sight.BLIND, Sight.DROPPED):
            codes = frozenset(map(glyphs.code, behaviour.always_sees))
            return [glyphs.Shown(codes, None)] * answers
        before, self._before = self._before, contents or self._before
        return _filled(before if behaviour.sight is Sight.STALE else contents, answers)

    async def work(self, behaviour: Behaviour, contents: Contents, seconds: float) -> Contents:
        """Wait while a request is worked on, and return the contents that its answer is about.

        A swapping server answers each one about the next that was begun meanwhile, and the last one
        about the first.
        """
        if behaviour.sight is not Sight.SWAPPING or behaviour.slots < 2:
            await asyncio.sleep(seconds)
            return contents
        work = _Work(contents)
        if self._working:
            self._working[-1].answered_about = work
            work.answered_about = self._working[0]
        self._working.append(work)
        try:
            await asyncio.sleep(max(seconds, _MEETING_S))
        finally:
            self._working.remove(work)
        return _filled((work.answered_about or work).contents, len(contents))


def _filled(contents: Contents, count: int) -> Contents:
    return (contents + [NOTHING] * count)[:count]
