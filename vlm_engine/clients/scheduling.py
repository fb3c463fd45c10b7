"""Who takes a question: which endpoints pull, which of them leaves it to a faster one, and what is worth asking twice.

No I/O and no clock. Times are seconds of the pool's clock.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from vlm_engine.clients.member import Member

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
