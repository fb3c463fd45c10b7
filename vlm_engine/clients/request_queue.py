"""The questions for one model: which of them an endpoint takes next, and which are worth asking twice.

No I/O and no clock. Times are seconds of the pool's clock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic

from vlm_engine.clients.member import Member
from vlm_engine.clients.retry import AnyRetryState, InFlight
from vlm_engine.clients.scheduling import (
    Arrivals,
    copiers,
    copy_at,
    pulling,
    ranked,
    reference_s,
    rest_s,
    should_defer,
)


@dataclass(frozen=True, slots=True)
class Copy(Generic[AnyRetryState]):
    """That ``member`` should be asked from ``at`` on what ``attempt`` asks another."""

    attempt: InFlight[AnyRetryState]
    member: Member
    at: float


class RequestQueue(Generic[AnyRetryState]):
    """Questions in the order in which they came, those that are asked again before the others.

    ``members`` are the endpoints that may answer them.
    """

    def __init__(self, members: Sequence[Member], fallback_wait_s: float | None = None) -> None:
        self.members = tuple(members)
        self._fallback_wait_s = fallback_wait_s
        self._again: dict[AnyRetryState, None] = {}
        self._fresh: OrderedDict[AnyRetryState, None] = OrderedDict()
        self._under_way: dict[InFlight[AnyRetryState], None] = {}
        self._arrivals = Arrivals()

    def __len__(self) -> int:
        return len(self._again) + len(self._fresh)

    def __iter__(self) -> Iterator[AnyRetryState]:
        yield from self._again
        yield from self._fresh

    def join(self, turn: AnyRetryState, now: float) -> None:
        """A new question."""
        self._fresh[turn] = None
        self._arrivals.note(now)

    def rejoin(self, turn: AnyRetryState) -> None:
        """A question is to be asked again, at ``not_before`` or later."""
        self._again[turn] = None

    def leave(self, turn: AnyRetryState) -> None:
        """A question is being asked, or nobody wants its answer any more."""
        self._again.pop(turn, None)
        self._fresh.pop(turn, None)

    def begin(self, turn: AnyRetryState, member: Member, now: float) -> InFlight[AnyRetryState]:
        """``member`` is asked a question, which may be waiting here or be under way already."""
        self.leave(turn)
        attempt = InFlight(turn, member, now)
        turn.attempts.append(attempt)
        self._under_way[attempt] = None
        member.begin(now)
        return attempt

    def end(self, attempt: InFlight[AnyRetryState]) -> None:
        """An attempt came to its end, one way or another. Its slot is free."""
        attempt.turn.attempts.remove(attempt)
        del self._under_way[attempt]
        attempt.member.end(attempt.begun)

    def clear(self) -> list[AnyRetryState]:
        """Sends everybody away, and says who was there."""
        waited = list(self)
        self._again.clear()
        self._fresh.clear()
        return waited

    def eligible(self, now: float) -> list[Member]:
        """The endpoints that take questions from here, ranked."""
        members = self._pulling(now)
        return ranked(members, reference_s(members))

    def next_for(self, member: Member, now: float) -> AnyRetryState | None:
        """The question that ``member`` should take; None where there is none, or a faster endpoint should have it."""
        if not len(self):
            return None
        eligible = self._pulling(now)
        left = member not in eligible or should_defer(
            member, eligible, len(self), self._arrivals.per_s(now), now
        )
        for turn in self._again:
            fits = self._takes_again(member, turn, eligible, now) if turn.tried else not left
            if turn.not_before <= now and fits:
                return turn
        return None if left else next(iter(self._fresh), None)

    def _takes_again(
        self, member: Member, turn: AnyRetryState, eligible: Sequence[Member], now: float
    ) -> bool:
        """Whether ``member`` takes a question that was failed: a fallback where all others failed it, too.

        It goes back to one that failed it only when every other that works has failed it as well.
        """
        able = {other for other in self.members if other.limit(now)}
        if member in turn.tried:
            return member in eligible and able <= turn.tried
        return member in eligible or able.intersection(eligible) <= turn.tried

    def next_copy(self, idle: Sequence[Member], now: float) -> Copy[AnyRetryState] | None:
        """Where no question waits: what one of the ``idle`` should be asked although another has it, now or as the next thing."""
        if len(self):
            return None
        eligible = self.eligible(now)
        quick, reference = copiers(idle, eligible, now), reference_s(eligible)
        single = [
            one for one in self._under_way if len(one.turn.attempts) == 1 and not one.turn.over
        ]
        copies = [
            Copy(attempt, member, copy_at(member, attempt.member, attempt.begun, reference, now))
            for attempt in sorted(
                single, key=lambda one: -rest_s(one.member, one.begun, reference, now)
            )
            for member in quick
            if member is not attempt.member and member not in attempt.turn.tried
        ]
        return min(copies, key=lambda copy: copy.at, default=None)

    def has_another(self, turn: AnyRetryState) -> bool:
        """Whether an endpoint works that ``turn`` has not been put to."""
        return any(not member.health.broken and member not in turn.tried for member in self.members)

    def changes_at(self) -> list[float]:
        """The times at which questions come to be asked again."""
        return [turn.not_before for turn in self._again]

    def _pulling(self, now: float) -> Sequence[Member]:
        return pulling(self.members, len(self), self._fallback_wait_s, now)
