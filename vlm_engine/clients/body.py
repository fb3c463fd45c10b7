"""The bytes of a request. Most of them are a picture, which is put in as it is instead of being searched for what to escape."""

from __future__ import annotations

import json
import uuid
from typing import Any

_MARK = uuid.uuid4().hex  # no text of a user can hold it


def encoded(payload: dict[str, Any]) -> bytes:
    """``payload`` as JSON, the very bytes of ``json.dumps``; pictures in its ``messages`` are data URLs in base64."""
    pictures: list[str] = []
    searched = {name: _without(value, pictures) if name == "messages" else value for name, value in payload.items()}
    first, *rest = json.dumps(searched).split(_MARK)
    return "".join([first, *(part for pair in zip(pictures, rest, strict=True) for part in pair)]).encode("ascii")


def _without(value: Any, pictures: list[str]) -> Any:
    """``value`` with a mark in place of every picture; these are added to ``pictures``, in order."""
    if isinstance(value, str) and value.startswith("data:image/"):
        pictures.append(value)
        return _MARK
    if isinstance(value, dict):
        return {key: _without(own, pictures) for key, own in value.items()}
    return [_without(own, pictures) for own in value] if isinstance(value, list) else value
