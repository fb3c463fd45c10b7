"""Seconds of a model's time that questions take, on three reference deployments.

Public figures of 2026 for a model of 8 billion parameters, each uncertain by a factor of two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Usage:
    """Counts of some questions.

    ``text_tokens`` are those of the prompt that no prefix cache holds: the line after the picture,
    and the names of the tags where a question is not about all.
    """

    calls: int = 0
    image_tokens: int = 0
    text_tokens: int = 0
    answer_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class Rates:
    """Seconds per call, and per token of each kind."""

    call_s: float
    image_token_s: float
    text_token_s: float
    answer_token_s: float

    def seconds(self, usage: Usage) -> float:
        """Return the seconds that such questions take."""
        return (
            self.call_s * usage.calls
            + self.image_token_s * usage.image_tokens
            + self.text_token_s * usage.text_tokens
            + self.answer_token_s * usage.answer_tokens
        )


class Deployment(StrEnum):
    """Computers on which users run models."""

    LAPTOP = "laptop"
    GAMING_PC = "gaming PC"
    SERVER = "busy server"


RATES: Mapping[Deployment, Rates] = {
    Deployment.LAPTOP: Rates(0.2, 0.004, 0.002, 0.025),
    Deployment.GAMING_PC: Rates(0.06, 0.0006, 0.00035, 0.012),
    Deployment.SERVER: Rates(0.015, 0.00007, 0.00004, 0.0008),
}
"""A server answers many questions at once: these are the seconds of its card for each of them."""
