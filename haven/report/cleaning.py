"""A run's values made fit to be shown: no secrets, no characters that a file or a page cannot hold, nothing endless."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from enum import Enum
from typing import Any

from haven.report.values import RunReport

_LONGEST = 2000
_HIDDEN = "***"
# Shorter "keys" are stand-ins for servers that want none; hiding them would blot out ordinary words.
_SHORTEST_SECRET = 6
# Control characters, and halves of characters: file names that are not UTF-8 come with those.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
# What looks like a secret in a server's own words, whether or not anybody named it as one.
_LOOKS_SECRET = re.compile(r"(?i)(\bbearer\s+|\b(?:api_?key|session|token)=)[^\s'\"&;,]{6,}")
_USER_IN_ADDRESS = re.compile(r"(?<=://)[^/\s@]+@")


def cleaned(report: RunReport, secrets: Iterable[str] = ()) -> RunReport:
    """``report`` with ``***`` for each of ``secrets``, and every text and number in it harmless.

    A text is at most 2000 characters long; a number that is none (not finite) becomes 0.
    """
    hidden = sorted(
        {secret for secret in secrets if len(secret) >= _SHORTEST_SECRET}, key=len, reverse=True
    )

    def text(value: str) -> str:
        for secret in hidden:
            value = value.replace(secret, _HIDDEN)
        value = _USER_IN_ADDRESS.sub(f"{_HIDDEN}@", _LOOKS_SECRET.sub(rf"\1{_HIDDEN}", value))
        return shortened(_UNPRINTABLE.sub("\ufffd", value), _LONGEST)

    return RunReport(**_fields(report, text))


def shortened(text: str, longest: int) -> str:
    """``text``, cut with an ellipsis where it is longer."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _fields(values: Any, text: Callable[[str], str]) -> dict[str, Any]:
    return {field.name: _clean(getattr(values, field.name), text) for field in fields(values)}


def _clean(value: Any, text: Callable[[str], str]) -> Any:
    match value:
        case Enum() | None | int():
            return value
        case float():
            return value if math.isfinite(value) else 0.0
        case str():
            return text(value)
        case tuple() | list():
            return tuple(_clean(item, text) for item in value)
        case Mapping():
            return {_clean(key, text): _clean(item, text) for key, item in value.items()}
        case _:
            return type(value)(**_fields(value, text))
