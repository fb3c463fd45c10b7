"""Tokens of a question, estimated in the same way for every strategy.

Pictures as the sandbox counts them, one token for 784 pixels; answers in the sandbox model's
spelling. The question's words are left out: they come first, are always the same, and servers keep
them in their prefix cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vlm_engine.config.models import ModelConfig
from vlm_engine.testing.answers import AnswerRequest, Style, write

_PIXELS_PER_TOKEN = 784


class Wordiness:
    """The price in tokens of questions about ``tags`` with pictures of a video of so many pixels.

    ``picture``: one of full size; ``small_picture``: one of the engine's scan.
    """

    def __init__(self, tags: Sequence[str], width: int, height: int) -> None:
        self.picture = _picture_tokens(width, height, ModelConfig().image_max_side)
        self.small_picture = _picture_tokens(width, height, ModelConfig().scan_max_side)
        self._tags = tuple(tags)
        empty = _answer_tokens(Style.LISTS, (), 0.0)
        self._frame = {Style.LISTS: empty, Style.VERDICTS: 1}
        self._named = {tag: _answer_tokens(Style.LISTS, (tag,), 1.0) - empty for tag in tags}
        self._judged = {tag: _answer_tokens(Style.VERDICTS, (tag,), 1.0) - 1 for tag in tags}

    def listed(self, present: Iterable[bool], tags: Sequence[str] | None = None) -> int:
        """Answer tokens of a list of those among ``tags`` (all by default) that are present."""
        named = sum(
            self._named[tag]
            for tag, is_there in zip(tags or self._tags, present, strict=True)
            if is_there
        )
        return self._frame[Style.LISTS] + named

    def judged(self, tags: Iterable[str]) -> int:
        """Answer tokens of one verdict for each of ``tags``."""
        return self._frame[Style.VERDICTS] + sum(self._judged[tag] for tag in tags)


def _picture_tokens(width: int, height: int, max_side: int) -> int:
    scale = min(1.0, max_side / max(width, height))
    return round(round(width * scale) * round(height * scale) / _PIXELS_PER_TOKEN)


def _answer_tokens(style: Style, tags: tuple[str, ...], belief: float) -> int:
    return len(write(AnswerRequest(tags, style), dict.fromkeys(tags, belief)))
