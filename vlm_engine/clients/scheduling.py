"""Who takes a question: which endpoints pull, which of them leaves it to a faster one, and what is worth asking twice.

No I/O and no clock. Times are seconds of the pool's clock.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic

from vlm_engine.clients.health import State
from vlm_engine.clients.member import Member
from vlm_engine.clients.retry import AnyRetryState, InFlight

NEARLY_FASTEST = 1.5
WORTH_A_COPY = 2.0
_MEMORY_S = 2.0


class Arrivals:
    """How many questions have come per second of late: what has come so far is what may be expected to come."""

    def __init__(self) -> None:
        self._per_s, self._at = 0.0, 0.0

    def note(self, now: float) -> None:
        """A question came."""
        self._per_s, self._at = self.per_s(now) + 1 / _MEMORY_S, now

    def per_s(self, now: float) -> float:
        """Questions per second, those of the last two seconds counting most."""
        return self._per_s * math.exp(-max(0.0, now - self._at) / _MEMORY_S)


def reference_s(members: Collection[Member]) -> float:
    """What an answer would take an endpoint of weight 1, judged by the quickest that was measured; 1 before any was."""
    measured = [
        member.health.seconds * member.weight
        for member in members
        if member.health.seconds is not None
    ]
    return min(measured, default=1.0)


def ranked(members: Collection[Member], reference: float) -> list[Member]:
    """The endpoints in the order in which they are offered a question: the quick ones first, but fallbacks last."""
    return sorted(members, key=lambda member: (member.is_fallback, member.expected_s(reference)))


def pulling(
    members: Sequence[Member], waiting: int, fallback_wait_s: float | None, now: float
) -> Sequence[Member]:
    """Those of ``members`` that take questions.

    Fallbacks do while no primary works, and while ``waiting`` questions would keep the primaries busy for more than
    ``fallback_wait_s``. A primary on trial does not count as working, but goes before a fallback however slow it was.
    """
    primaries = [member for member in members if not member.is_fallback]
    stand_in = all(member.health.broken for member in primaries)
    if not stand_in and fallback_wait_s is not None:
        rate = total_rate(primaries, reference_s(members), now)
        stand_in = waiting > fallback_wait_s * rate
    return members if stand_in else primaries


def total_rate(members: Collection[Member], reference: float, now: float) -> float:
    """Answers per second that all of them together are likely to give."""
    return sum(member.limit(now) / member.at_best_s(reference, now) for member in members)


def should_defer(
    member: Member, eligible: Sequence[Member], waiting: int, arriving_per_s: float, now: float
) -> bool:
    """Whether ``member`` leaves a question to faster ones of the ``eligible``, as they would have answered all before it could.

    So a slow endpoint starts nothing that everybody then waits for at the end of a batch. While questions keep coming,
    those that come until it would be done count as waiting already. Nobody leaves anything to a fallback but another one.
    """
    reference = reference_s(eligible)
    own_s = member.at_best_s(reference, now)
    rate, fastest_s = 0.0, own_s
    for other in eligible:
        other_s = other.at_best_s(reference, now)
        if (
            other_s < own_s
            and other.is_fallback <= member.is_fallback
            and (limit := other.limit(now))
        ):
            rate += limit / other_s
            fastest_s = min(fastest_s, other_s)
    return rate > 0 and own_s > (waiting + arriving_per_s * own_s) / rate + fastest_s


def rest_s(holder: Member, begun: float, reference: float, now: float) -> float:
    """How long ``holder`` is likely to take yet for what it was asked at ``begun``; one that is late, as long again."""
    return abs(holder.expected_s(reference) - (now - begun))


def copiers(idle: Collection[Member], eligible: Collection[Member], now: float) -> list[Member]:
    """Those of the ``idle`` in the ``eligible`` that may be asked what another is late with: measured, and nearly the quickest."""
    working = [
        other.health.seconds
        for other in eligible
        if other.health.seconds is not None and other.limit(now)
    ]
    slowest_s = NEARLY_FASTEST * min(working, default=0.0)
    return [
        other
        for other in eligible
        if other in idle and other.health.seconds is not None and other.health.seconds <= slowest_s
    ]


def copy_at(copier: Member, holder: Member, begun: float, reference: float, now: float) -> float:
    """When ``copier`` should be asked as well what ``holder`` was asked at ``begun``: now at the latest, or a time to come."""
    own_s = copier.expected_s(reference)
    if rest_s(holder, begun, reference, now) > WORTH_A_COPY * own_s:
        return now
    return begun + holder.expected_s(reference) + WORTH_A_COPY * own_s


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
