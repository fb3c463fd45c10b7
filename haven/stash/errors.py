"""Every error that this package raises on purpose, in one tree.

::

    StashError
    ├── StashUnreachableError        no answer: refused, dropped, not HTTP
    │   └── StashTimeoutError        no answer in time
    ├── StashAuthError               neither the session nor the API key is accepted
    ├── StashVersionError            this Stash is too old, or not set up
    ├── StashQueryError              Stash refused a request; ``path`` and its own words
    │   ├── StashLockedError         its database stayed locked by another program
    │   └── StashReplyError          its reply does not fit the request
    ├── ItemGoneError                the scene, image or gallery is no longer in Stash
    ├── NotServedError               Stash does not serve a file
    ├── TagClashError                Stash takes two different tag names for one
    ├── ApplyError                   an item's results are not wholly in Stash; a group of causes
    ├── ChangedMeanwhileError        a decision is about something that has changed
    └── JournalError                 the journal file cannot be used
        └── JournalBusyError         another process keeps it from being written to

The first three and ``JournalError`` end the whole batch, since no other item would fare better.
Every other one concerns one item. No message ever holds an API key or a cookie.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from haven.items import ItemRef


class StashError(Exception):
    """The root of the tree."""


class StashUnreachableError(StashError):
    """No answer at Stash's address."""


class StashTimeoutError(StashUnreachableError):
    """Stash took the request but gave no answer in time."""


class StashAuthError(StashError):
    """Stash accepts neither the session nor the API key."""


class StashVersionError(StashError):
    """This Stash is too old for the plugin, or is not set up or migrated yet."""


class StashQueryError(StashError):
    """Stash refused a request. ``path``: the field of it, dotted, or empty. ``message``: Stash's
    own words.
    """

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.path = path

    def __str__(self) -> str:
        return f"Stash refused {self.path or 'a request'}: {self.message}"


class StashLockedError(StashQueryError):
    """Stash's database stayed locked by another program, in spite of retries."""


class StashReplyError(StashQueryError):
    """Stash's reply does not fit the request. ``path``: the field of it, dotted, or empty for all
    of it.
    """

    def __str__(self) -> str:
        return (
            f"Stash's reply cannot be used{f', {self.path}' if self.path else ''}: "
            f"{self.message}. If a proxy or another program answers in Stash's place, let the "
            "plugin reach Stash itself; else update Stash and the plugin"
        )


class ItemGoneError(StashError):
    """The scene, image or gallery is no longer in Stash: somebody deleted or merged it."""

    def __init__(self, item: ItemRef) -> None:
        super().__init__(f"{item} is no longer in Stash; it was deleted or merged")
        self.item = item


class NotServedError(StashError):
    """Stash does not serve a file: it cannot read it, has none, or the file is too large."""


class TagClashError(StashError):
    """Stash compares tag names as patterns, and takes ``wanted`` for ``existing``, another name in
    use.
    """

    def __init__(self, wanted: str, existing: str) -> None:
        super().__init__(
            f"Stash cannot hold the tag {wanted!r} beside {existing!r}: it reads _ and % in a "
            f"name as wildcards. If both mean the same, give {existing!r} the alias {wanted!r} in "
            "Stash; else rename one of them"
        )
        self.wanted = wanted
        self.existing = existing


class ApplyError(StashError, ExceptionGroup[StashError]):
    """An item's results are not wholly in Stash. ``exceptions`` holds every cause; the item stays
    queued.
    """

    def __new__(cls, message: str, causes: Sequence[StashError]) -> Self:
        """``causes`` must not be empty."""
        return super().__new__(cls, message, causes)

    def derive(self, excs: Sequence[StashError]) -> ApplyError:  # type: ignore[override]
        """Keep the type when Python splits the group (``except*``)."""
        return ApplyError(self.message, excs)

    def __str__(self) -> str:
        return "; ".join([self.message, *dict.fromkeys(str(cause) for cause in self.exceptions)])


class ChangedMeanwhileError(StashError):
    """A decision is about something that has changed since it was read. Nothing was written."""


class JournalError(StashError):
    """The journal file cannot be used. The message names the file and the remedy."""


class JournalBusyError(JournalError):
    """Another process of the plugin keeps writing to Stash. Wait for it, or stop it."""
