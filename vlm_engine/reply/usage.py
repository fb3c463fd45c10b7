"""Figures that a server tells of its work for a reply: tokens, those from its cache, and times.

Numbers that cannot be true are as if they were not told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vlm_engine.types import ServerTimings

_MOST_TOKENS = 2**31 - 1  # of one request; what is more is no count
_MOST_S = 86_400.0
_LLAMA_CPP = ("prompt_ms", "prompt_n", "predicted_ms", "predicted_n")
_OLLAMA = ("prompt_eval_duration", "prompt_eval_count", "eval_duration", "eval_count")


def tokens(body: object, name: str) -> int:
    """Return a count of ``usage``, such as ``prompt_tokens``; 0 where it is not told."""
    return _count(_part(body, "usage").get(name)) or 0


def cached_tokens(body: object) -> int | None:
    """Return how many tokens of the prompt were in the server's cache; None if it does not tell."""
    details = _part(_part(body, "usage"), "prompt_tokens_details")
    found = _count(details.get("cached_tokens"))
    return _count(_part(body, "timings").get("cache_n")) if found is None else found


def timings(body: object) -> ServerTimings | None:
    """Return the times that llama.cpp tells, or Ollama; None where there are none."""
    usage = _part(body, "usage")  # where proxies put what Ollama has at the top
    return (
        _timings(_part(body, "timings"), _LLAMA_CPP, 1e3)
        or _timings(body, _OLLAMA, 1e9)
        or _timings(usage, _OLLAMA, 1e9)
    )


def _timings(fields: object, names: Sequence[str], per_second: float) -> ServerTimings | None:
    if not isinstance(fields, dict):
        return None
    prompt, prompt_tokens, answer, answer_tokens = map(fields.get, names)
    prompt_s, answer_s = _seconds(prompt, per_second), _seconds(answer, per_second)
    read, written = _count(prompt_tokens), _count(answer_tokens)
    if prompt_s is None or read is None or answer_s is None or written is None:
        return None
    return ServerTimings(prompt_s, read, answer_s, written)


def _part(body: object, name: str) -> dict[str, Any]:
    part = body.get(name) if isinstance(body, dict) else None
    return part if isinstance(part, dict) else {}


def _count(value: object) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value <= _MOST_TOKENS else None


def _seconds(value: object, per_second: float) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    # Compared before it is divided: an integer may be too large for that. NaN fails the comparison.
    return value / per_second if 0 <= value <= _MOST_S * per_second else None
