"""How long questions wait while nobody answers them. No I/O and no clock."""

from __future__ import annotations

from collections.abc import Collection

from vlm_engine.clients.breaker import State
from vlm_engine.clients.member import Member

FIRST_PATIENCE_S = 3.0
_FIRST_NOTICE_S, _NOTICE_EVERY_S = 2.0, 30.0


class Patience:
    """The waiting for one of ``members`` to work (again): all are out of order, or say that they are busy.

    It lasts ``patience_s``, but at most three seconds where nobody ever answered or is busy, and no time where nobody ever
    will, or all want to be left alone for longer than that.
    """

    def __init__(self, members: Collection[Member], patience_s: float) -> None:
        self._members = members
        self._patience_s = patience_s
        self._since: float | None = None
        self._notice_at = 0.0
        self.ended = False

    def look(self, now: float) -> None:
        """Takes note of who works. Call it whenever that may have changed, and at ``changes_at``."""
        if any(not member.health.broken and not member.health.busy for member in self._members):
            self._since, self.ended = None, False
            return
        if self._since is None:
            self._since, self._notice_at = now, now + _FIRST_NOTICE_S
        # One on trial may be about to answer, and so may one that still has a question from before.
        hope = any(
            member.health.state is State.HALF_OPEN or member.in_flight for member in self._members
        )
        self.ended = not hope and (self.ended or now >= self._gives_up_at(self._since))

    def left_s(self, now: float) -> float | None:
        """The seconds left, whenever it is time to tell them; else None."""
        if self._since is None or self.ended or now < self._notice_at:
            return None
        self._notice_at = now + _NOTICE_EVERY_S
        left_s = self._gives_up_at(self._since) - now
        return left_s if left_s > 0 else None

    def changes_at(self) -> list[float]:
        """The times at which there may be something to tell or to end."""
        return (
            []
            if self._since is None or self.ended
            else [self._notice_at, self._gives_up_at(self._since)]
        )

    def _gives_up_at(self, since: float) -> float:
        living = [
            member.health for member in self._members if member.health.state is not State.DEAD
        ]
        someone_was_there = any(health.answered or health.busy for health in living)
        until = since + (
            self._patience_s if someone_was_there else min(FIRST_PATIENCE_S, self._patience_s)
        )
        return (
            since
            if all(not health.broken and health.paused_until > until for health in living)
            else until
        )
