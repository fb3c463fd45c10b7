"""The product's ledger, and what this search asks of it besides."""

from __future__ import annotations

from vlm_engine.search.ledger import Ledger


class BeliefLedger(Ledger):
    """Every look and what came of it. The whole state of a search follows from it."""

    @property
    def frames(self) -> int:
        """How many frames were looked at, or given up."""
        return len(self._frames)

    @property
    def judged(self) -> bool:
        """Whether there is any verdict at all."""
        return bool(self._observations)

    def open_tags(self, time_s: float) -> tuple[str, ...]:
        """The tags for which no look at exactly this time was made, or given up."""
        return tuple(tag for tag in self._looked if not self.looked(tag, time_s))
