"""Keeps API keys out of whatever is shown or stored."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from urllib.parse import quote, quote_plus

_SHORTEST = 4  # what is shorter is part of many words, and no secret


def redacted(text: str, secret: str) -> str:
    """``text`` with ``[api_key]`` in place of ``secret``, also where it stands as in a URL or in JSON."""
    return _forms(secret).sub("[api_key]", text) if len(secret) >= _SHORTEST else text


@lru_cache(64)
def _forms(secret: str) -> re.Pattern[str]:
    plain = {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    escaped = {quote(secret, safe=""), quote(secret), quote_plus(secret)}
    lower = {re.sub("%..", lambda code: code[0].lower(), form) for form in escaped}
    return re.compile("|".join(re.escape(form) for form in sorted(plain | escaped | lower, key=len, reverse=True)))
