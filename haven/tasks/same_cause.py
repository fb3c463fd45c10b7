"""Notices when item after item fails for one cause: then going on would only mark the rest of the queue as failed."""

from __future__ import annotations

import re
from collections import Counter

from vlm_engine import MediaError, MediaNotFoundError, MediaOutOfReachError

FAILURES_IN_A_ROW = 5
FILES_IN_A_ROW = 25
"""So many files that cannot be reached are a disk or share that is not there; fewer may have been deleted."""
_OF_ALL_FILES = (MediaNotFoundError, MediaOutOfReachError)


class SameCauseError(Exception):
    """Items failed for the same cause, and none went well meanwhile. The message quotes it."""


class FailureRow:
    """The failures since the last item that went well, by their causes: two endpoints may take turns to refuse."""

    def __init__(self) -> None:
        self._causes: Counter[str] = Counter()

    def ends(self) -> None:
        """An item went well."""
        self._causes.clear()

    def add(self, error: Exception, path: str) -> None:
        """An item, whose file Stash has at this path, failed. Raises ``SameCauseError`` when that ends the batch."""
        if isinstance(error, MediaError) and not isinstance(error, _OF_ALL_FILES):
            return  # the file's own fault, which says nothing of others
        cause = f"{type(error).__name__}: {_without_particulars(str(error), path)}"
        self._causes[cause] += 1
        failed = self._causes[cause]
        if failed >= (FILES_IN_A_ROW if isinstance(error, _OF_ALL_FILES) else FAILURES_IN_A_ROW):
            raise SameCauseError(
                f"{failed} failed for the same cause, and none went well since the first of them, so the rest is left in the "
                f"queue. The last: {error}"
            ) from error


def _without_particulars(text: str, path: str) -> str:
    """What errors about different items have in common: without the file, what is quoted, and numbers."""
    name = re.split(r"[/\\]", path)[-1]
    place, _, rest = text.partition(": ")
    plain = (rest if name and name in place else text).replace(path or "…", "…")
    return re.sub(r"\d+(\.\d+)?", "#", re.sub(r'".*"', '"…"', plain, flags=re.DOTALL))
