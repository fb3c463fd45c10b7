"""The answer store as workers see it, and the caller's side of it."""

from __future__ import annotations

import math
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vlm_engine.cluster.link import Link
from vlm_engine.errors import StoreError
from vlm_engine.store import (
    PairCounts,
    PairKey,
    Store,
    StoredAnswer,
    StoredSearch,
    Subject,
)

Call = tuple[str, int, bytes]
"""A worker's address, a number that is 0 where no reply is awaited, and what is called."""
_ADD_ALL = "add_all"
_RECENT_S = 5.0
_METHODS = frozenset(name for name in vars(Store) if not name.startswith("_")) - {"close"}


class RemoteStore:
    """The caller's store: see ``vlm_engine.store.Store``. Not for the worker's event loop.

    What ``add_all`` stores is safe on the caller's disk when it returns. What other workers learnt
    of styles in the last seconds may be missing.
    """

    def __init__(self, link: Link) -> None:
        self._call: Callable[..., Any] = link.call
        self._recent: dict[tuple[str, ...], tuple[float, Any]] = {}

    def close(self) -> None:
        """Do nothing: the caller keeps its store."""

    def add_all(self, answers: Sequence[tuple[Subject, StoredAnswer]]) -> None:
        """Store all of them, or none."""
        self._call(_ADD_ALL, list(answers))

    def answers_to(self, subjects: Sequence[Subject]) -> list[list[StoredAnswer]]:
        """Return all answers about each of the subjects, oldest first."""
        return list(self._call("answers_to", list(subjects)))

    def searches(self, subject: Subject) -> list[StoredSearch]:
        """Return the finished searches about ``subject``, oldest first."""
        return list(self._call("searches", subject))

    def add_search(self, subject: Subject, search: StoredSearch) -> None:
        """Store that this search finished."""
        self._call("add_search", subject, search)

    def terms(self, subject: Subject, settings: str) -> list[str]:
        """Return the terms on which ``subject`` was searched with these settings, oldest first."""
        return list(self._call("terms", subject, settings))

    def add_terms(self, subject: Subject, settings: str, terms: str) -> None:
        """Store the terms on which a search begins."""
        self._call("add_terms", subject, settings, terms)

    def pairs(self, model: str, wording: str) -> dict[PairKey, PairCounts]:
        """Return what was counted of answers in two styles."""
        return dict(self._seldom("pairs", model, wording))

    def add_compared(
        self, subject: Subject, stored: StoredAnswer, pairs: Mapping[PairKey, PairCounts]
    ) -> None:
        """Store an answer in another style, and add the pairs that it makes to the counts."""
        self._recent.clear()
        self._call("add_compared", subject, stored, dict(pairs))

    def style(self, model: str, wording: str, tags: str) -> str | None:
        """Return the style that was last set for a list of tags."""
        style: str | None = self._seldom("style", model, wording, tags)
        return style

    def set_style(self, model: str, wording: str, tags: str, style: str) -> bool:
        """Set the style for a list of tags. Return whether it was another one before."""
        self._recent.clear()
        return bool(self._call("set_style", model, wording, tags, style))

    def _seldom(self, method: str, *values: str) -> Any:
        """Return what a method returns, or returned a moment ago: every video asks for it."""
        asked_at, found = self._recent.get((method, *values), (-math.inf, None))
        if time.monotonic() - asked_at > _RECENT_S:
            found = self._call(method, *values)
            self._recent[method, *values] = time.monotonic(), found
        return found

    def screening(self, endpoint: str, within_s: float) -> str | None:
        """Return the outcome of the latest test of an endpoint; None if it is older than that."""
        outcome: str | None = self._call("screening", endpoint, within_s)
        return outcome

    def set_screening(self, endpoint: str, outcome: str) -> None:
        """Store the outcome of a test of an endpoint."""
        self._call("set_screening", endpoint, outcome)


class StoreCalls:
    """The caller's side: does what workers call. ``others``: methods that have no reply."""

    def __init__(self, store: Store, others: Mapping[str, Callable[..., None]]) -> None:
        self._store = store
        self._others = others

    def replies_to(self, calls: Sequence[Call]) -> list[Call]:
        """Return the reply to each call that awaits one. Blocks.

        All answers that the calls bring are stored at once; if that fails, call by call.
        """
        read = [(worker, number, *pickle.loads(content)) for worker, number, content in calls]
        rows = [row for _, _, method, values in read if method == _ADD_ALL for row in values[0]]
        stored_together = False
        if rows:
            try:
                self._store.add_all(rows)
                stored_together = True
            except (StoreError, ValueError, TypeError):
                pass  # each worker gets the error of its own answers
        replies = []
        for worker, number, method, values in read:
            reply: tuple[bool, Any] = (False, None)
            if not (method == _ADD_ALL and stored_together):
                reply = self._reply_to(method, values)
            if number:
                replies.append((worker, number, pickle.dumps(reply)))
        return replies

    def _reply_to(self, method: str, values: Sequence[Any]) -> tuple[bool, Any]:
        """Return whether it failed, and the result or the error."""
        if method in self._others:
            self._others[method](*values)
            return False, None
        if method not in _METHODS:
            return True, StoreError(f"there is no {method!r} to call")
        try:
            return False, getattr(self._store, method)(*values)
        except Exception as error:  # noqa: BLE001 - raised on the worker
            return True, error
