"""Keeps API keys out of whatever is shown or stored."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from urllib.parse import quote, quote_plus

from vlm_engine.reply import shortened

_SHORTEST = 4  # what is shorter is part of many words, and no secret
_MOST_READ = 100_000
HIDDEN = "[api_key]"


def redacted(text: str, secret: str) -> str:
    """``text`` with ``[api_key]`` in place of ``secret``, also where it stands as in a URL or in JSON."""
    return _forms(secret).sub(HIDDEN, text) if len(secret) >= _SHORTEST else text


def shown(text: str, secret: str, limit: int = 200) -> str:
    """``text`` as a message may quote it: short, printable, without ``secret``. What is cut off later must be hidden first."""
    return shortened(redacted(text[:_MOST_READ], secret), limit)


@lru_cache(64)
def _forms(secret: str) -> re.Pattern[str]:
    plain = {
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        secret.replace("/", "\\/"),
    }
    escaped = {quote(secret, safe=""), quote(secret), quote_plus(secret)}
    lower = {re.sub("%..", lambda code: code[0].lower(), form) for form in escaped}
    return re.compile(
        "|".join(re.escape(form) for form in sorted(plain | escaped | lower, key=len, reverse=True))
    )
