"""How much may be asked on top of the questions themselves: second attempts, copies."""

from __future__ import annotations


class Budget:
    """Earns ``share`` of every question asked, and ``per_s`` with time; holds at most ``most``, ``reserve`` at the start.

    More may be taken than is there: what is ``left`` is then below 0. Times are seconds of the caller's clock.
    """

    def __init__(
        self, share: float, *, per_s: float = 0.0, reserve: float = 0.0, most: float = 32.0
    ) -> None:
        self._share, self._per_s, self._most = share, per_s, most
        self._left = reserve
        self._at: float | None = None

    def earn(self) -> None:
        """A question was asked."""
        self._left = min(self._most, self._left + self._share)

    def left(self, now: float) -> float:
        """How many may be taken."""
        since_s = 0.0 if self._at is None else now - self._at
        self._left, self._at = min(self._most, self._left + self._per_s * since_s), now
        return self._left

    def take(self, now: float) -> None:
        """One is taken."""
        self._left = self.left(now) - 1

    def pause_s(self, now: float) -> float:
        """How long until what was taken too much has been earned by time alone; 0 within the budget."""
        return max(0.0, -self.left(now) / self._per_s) if self._per_s else 0.0
