"""Tokens of a question, estimated in the same way for every strategy.

Pictures as the sandbox counts them, one token for 784 pixels; answers in the sandbox model's
spelling. Rules and tag list are left out: they come first, are always the same, and servers keep
them in their prefix cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.deployments import Usage
from vlm_engine.config.models import ModelConfig
from vlm_engine.testing.answers import AnswerRequest, Style, write
from vlm_engine.types import Form, Purpose

_PIXELS_PER_TOKEN = 784
_LINE_TOKENS = {Form.LIST: 12, Form.NAMES: 25, Form.VERDICTS: 50}
"""The text after the picture: the question, and the rules of a form other than the list."""
_CAPTION_TOKENS = 12
"""The number and time before each of several pictures."""
_WHICH_TOKENS = 5
"""The words before the names of the tags that a question is about, or is not."""

FULL, SMALL = ModelConfig().image_max_side, ModelConfig().scan_max_side
"""Longest sides of pictures."""


@dataclass(frozen=True, slots=True)
class RequestStyle:
    """Style of the questions about frames: the form of the answer, the longest side of a picture,
    and the number of pictures in a request.
    """

    form: Form = Form.LIST
    side: int = SMALL
    pictures: int = 1


Styles = Mapping[Purpose, RequestStyle]
_PURPOSES = (Purpose.SCAN, Purpose.SECOND_LOOK, Purpose.EDGE)


def by_purpose(later: RequestStyle, scan: RequestStyle | None = None) -> Styles:
    """Return the style of every purpose: ``later`` for second looks and edges, and for the scan
    if it has none of its own.
    """
    return {**dict.fromkeys(_PURPOSES, later), Purpose.SCAN: scan or later}


SMALL_LIST = RequestStyle()
SMALL_LISTS = by_purpose(SMALL_LIST)
FULL_LISTS = by_purpose(RequestStyle(side=FULL))
FULL_LATER = by_purpose(RequestStyle(side=FULL), SMALL_LIST)
SMALL_VERDICTS = by_purpose(RequestStyle(Form.VERDICTS))
VERDICTS_LATER = by_purpose(RequestStyle(Form.VERDICTS), SMALL_LIST)


class TokenCounts:
    """Tokens of questions about ``tags`` with pictures of a video of so many pixels."""

    def __init__(self, tags: Sequence[str], width: int, height: int) -> None:
        self._tags = tuple(tags)
        self._size = width, height
        listed = _answer_tokens(Style.LISTS, (), 0.0)
        bare = _answer_tokens(Style.NAMES, (tags[0],), 0.0)
        self._empty = {Form.LIST: listed, Form.NAMES: bare, Form.VERDICTS: 1}
        self._name = {tag: _answer_tokens(Style.LISTS, (tag,), 1.0) - listed for tag in tags}
        self._verdict = {tag: _answer_tokens(Style.VERDICTS, (tag,), 1.0) - 1 for tag in tags}

    def picture(self, side: int) -> int:
        """Return the tokens of a picture with this longest side."""
        scale = min(1.0, side / max(self._size))
        width, height = (round(pixels * scale) for pixels in self._size)
        return round(width * height / _PIXELS_PER_TOKEN)

    def answer(self, form: Form, tags: Sequence[str], present: Iterable[bool]) -> int:
        """Return the tokens of an answer about these tags."""
        if form is Form.VERDICTS:
            return self._empty[form] + sum(self._verdict[tag] for tag in tags)
        named = (tag for tag, is_there in zip(tags, present, strict=True) if is_there)
        return self._empty[form] + sum(self._name[tag] for tag in named)

    def names(self, tags: Sequence[str]) -> int:
        """Return the tokens of the shorter of two lists: the tags that a question is about, and
        those that it is not; none if it is about all.
        """
        known = set(tags)
        left_out = [tag for tag in self._tags if tag not in known]
        if not left_out:
            return 0
        shorter = min(sum(self._name[tag] for tag in some) for some in (tags, left_out))
        return _WHICH_TOKENS + shorter

    def usage(
        self, style: RequestStyle, tags: Sequence[Sequence[str]], present: Sequence[Iterable[bool]]
    ) -> Usage:
        """Return what questions cost: for each frame its tags, and which of them are there."""
        calls = -(-len(tags) // style.pictures)
        captions = len(tags) * _CAPTION_TOKENS if style.pictures > 1 else 0
        return Usage(
            calls,
            len(tags) * self.picture(style.side),
            calls * _LINE_TOKENS[style.form] + captions + sum(map(self.names, tags)),
            sum(
                self.answer(style.form, some, there)
                for some, there in zip(tags, present, strict=True)
            ),
        )


def _answer_tokens(style: Style, tags: tuple[str, ...], belief: float) -> int:
    return len(write(AnswerRequest(tags, style), dict.fromkeys(tags, belief)))
