"""Filters of Stash: the criteria of its lists and requests as JSON, and the text of its search."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MOST_LETTERS = 100_000


@dataclass(frozen=True, slots=True)
class ItemFilter:
    """Criteria for items of one kind as Stash's own requests have them, and a text to search for.

    Without either it matches every item.
    """

    criteria: Mapping[str, Any]
    search: str = ""


def filter_from(text: str, search: str = "") -> ItemFilter:
    """Return a filter from the JSON text of its criteria. Raise ``ValueError`` for anything else.

    Stash alone knows whether the criteria are right.
    """
    if len(text) > MOST_LETTERS:
        raise ValueError(f"it is longer than {MOST_LETTERS:,} letters")
    try:
        criteria = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON: {error}; {_FORM}") from None
    if not isinstance(criteria, dict):
        raise ValueError(_FORM)
    return ItemFilter(criteria, search.strip())


_FORM = 'write an object as in Stash\'s own requests, like {"organized": true}, or {} for all'
