"""Errors that a task expects, and those that end it: nothing else would succeed after them."""

from __future__ import annotations

import re
from collections import Counter

from haven.stash.errors import JournalError, StashAuthError, StashError, StashUnreachableError
from vlm_engine import (
    MediaError,
    MediaNotFoundError,
    MediaOutOfReachError,
    NoEndpointError,
    StoreError,
    VLMEngineError,
)

FAILURES_IN_A_ROW = 5
FILES_IN_A_ROW = 25
"""Fewer missing files may have been deleted; this many mean a missing disk or share."""
_FILE_OUT_OF_REACH = (MediaNotFoundError, MediaOutOfReachError)


class SameCauseError(Exception):
    """Several items failed for the same cause, which the message quotes, and none succeeded."""


EXPECTED = (StashError, VLMEngineError, SameCauseError)
"""Errors that a task raises on purpose, with a message for the user."""
ENDS_THE_BATCH = (
    NoEndpointError,
    StoreError,
    StashUnreachableError,
    StashAuthError,
    JournalError,
    SameCauseError,
)
"""Errors after which no other item would succeed."""


class FailureStreak:
    """Count of failures by cause since the last success: two endpoints may fail alternately.

    ``rest``: what becomes of the items that are not tried any more, for the message.
    """

    def __init__(self, rest: str) -> None:
        self._rest = rest
        self._causes: Counter[str] = Counter()

    def reset(self) -> None:
        """Begin again, because an item succeeded."""
        self._causes.clear()

    def add(self, error: Exception, path: str) -> None:
        """Count the failure of an item with this path. Raises ``SameCauseError`` at the limit."""
        if isinstance(error, MediaError) and not isinstance(error, _FILE_OUT_OF_REACH):
            return  # the file itself is bad, which says nothing about others
        cause = f"{type(error).__name__}: {_without_details(str(error), path)}"
        self._causes[cause] += 1
        failed = self._causes[cause]
        limit = FILES_IN_A_ROW if isinstance(error, _FILE_OUT_OF_REACH) else FAILURES_IN_A_ROW
        if failed >= limit:
            raise SameCauseError(
                f"{failed} failed for the same cause, and none succeeded in between, so the rest"
                f" {self._rest}. The last error: {error}"
            ) from error


def _without_details(text: str, path: str) -> str:
    """Return what errors of different items share: without the file, quoted text and numbers."""
    name = re.split(r"[/\\]", path)[-1]
    place, _, rest = text.partition(": ")
    plain = (rest if name and name in place else text).replace(path or "…", "…")
    return re.sub(r"\d+(\.\d+)?", "#", re.sub(r'".*"', '"…"', plain, flags=re.DOTALL))
