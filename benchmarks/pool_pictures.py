"""Questions and answers of the benchmark of the pool.

A picture is noise that ends with its number.
"""

from __future__ import annotations

import base64
import json
import os
from functools import cache
from typing import Any

MODEL = "benchmark"
TAGS = ("Basketball point", "Foul", "Break-away", "Turnover")
PICTURE_BYTES = 60_000
_DIGITS = 12


@cache
def _noise() -> bytes:
    return os.urandom(PICTURE_BYTES - _DIGITS)


def picture(number: int) -> bytes:
    """Return the bytes that stand for a JPEG."""
    return _noise() + b"%0*d" % (_DIGITS, number)


def number_in(body: bytes | bytearray) -> int:
    """Return the number of the picture in a request."""
    end = body.index(b'"', body.index(b"base64,"))
    return int(base64.b64decode(body[end - _DIGITS * 4 // 3 : end]))


def tags_of(number: int) -> list[str]:
    """Return the tags in the picture."""
    return [TAGS[number % len(TAGS)]]


def reply(number: int) -> str:
    """Return the right answer, as a model writes it."""
    return json.dumps({"tags": tags_of(number)})


def reply_to_any(number: int) -> str:
    """Return an answer to a picture that shows nothing: each tag or not, as the bits of ``number``
    say.
    """
    return json.dumps({"tags": [tag for bit, tag in enumerate(TAGS) if number >> bit & 1]})


def messages(number: int) -> list[dict[str, Any]]:
    """Return the question, for clients that leave its words to their callers."""
    url = "data:image/jpeg;base64," + base64.b64encode(picture(number)).decode("ascii")
    rules = "Name the tags of this list that the picture shows, as JSON:\n" + "\n".join(TAGS)
    content = [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "text", "text": "Which tags?"},
    ]
    return [{"role": "system", "content": rules}, {"role": "user", "content": content}]
