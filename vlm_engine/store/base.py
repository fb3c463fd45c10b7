"""The store as the rest of the engine sees it: a file here, or one that another process has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from vlm_engine.store.schema import PairCounts, PairKey, StoredAnswer, StoredSearch, Subject


class Store(Protocol):
    """Keeps every answer. ``AnswerStore`` describes the methods.

    Every method blocks, is safe to call from several threads, and raises ``StoreError``.
    """

    def close(self) -> None:
        """Close it. It cannot be used afterwards; closing twice does nothing."""

    def add_all(self, answers: Sequence[tuple[Subject, StoredAnswer]]) -> None:
        """Store all of them, or none. Once this returns, they are safe."""

    def answers_to(self, subjects: Sequence[Subject]) -> list[list[StoredAnswer]]:
        """Return all answers about each of the subjects, oldest first."""

    def searches(self, subject: Subject) -> list[StoredSearch]:
        """Return the finished searches about ``subject``, oldest first."""

    def add_search(self, subject: Subject, search: StoredSearch) -> None:
        """Store that this search finished."""

    def terms(self, subject: Subject, settings: str) -> list[str]:
        """Return the terms on which ``subject`` was searched with these settings, oldest first."""

    def add_terms(self, subject: Subject, settings: str, terms: str) -> None:
        """Store the terms on which a search begins."""

    def pairs(self, model: str, wording: str) -> dict[PairKey, PairCounts]:
        """Return what was counted of answers in two styles."""

    def add_compared(
        self, subject: Subject, stored: StoredAnswer, pairs: Mapping[PairKey, PairCounts]
    ) -> None:
        """Store an answer in another style, and add the pairs that it makes to the counts."""

    def style(self, model: str, wording: str, tags: str) -> str | None:
        """Return the style that was last set for a list of tags."""

    def set_style(self, model: str, wording: str, tags: str, style: str) -> bool:
        """Set the style for a list of tags. Return whether it was another one before."""

    def screening(self, endpoint: str, within_s: float) -> str | None:
        """Return the outcome of the latest test of an endpoint; None if it is older than that."""

    def set_screening(self, endpoint: str, outcome: str) -> None:
        """Store the outcome of a test of an endpoint."""
