"""Scheduling: which endpoint gets which question, what is copied, how long questions wait.

No I/O and no clock. Times are seconds of the pool's clock.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from vlm_engine.clients.base import Keep
from vlm_engine.clients.health import State
from vlm_engine.clients.member import Member
from vlm_engine.clients.retry import QUESTION_FAILURES, RetryPolicy
from vlm_engine.errors import BusyError, ClientError
from vlm_engine.types import Answer, Question

NEARLY_FASTEST = 1.5
WORTH_A_COPY = 2.0
_ARRIVALS_DECAY_S = 2.0
_FIRST_NOTICE_S, _NOTICE_EVERY_S = 2.0, 30.0


@dataclass(eq=False)
class PendingQuestion:
    """A question on its way through the pool.

    ``failures``: the last error of each endpoint that failed it, which may be its own fault;
    ``attempts`` counts these. ``crashes`` counts all failures but "busy" of endpoints that have
    answered others. ``in_flight``: one request, or two of which the first answer counts.
    ``is_over``: its caller has the answer or left.
    """

    question: Question
    keep: Keep | None = None
    timeout_s: float | None = None
    answer: asyncio.Future[Answer] | None = None
    failures: dict[Member, ClientError] = field(default_factory=dict)
    attempts: int = 0
    crashes: int = 0
    not_before: float = 0.0
    in_flight: list[InFlight] = field(default_factory=list)
    is_over: bool = False

    def resolve(self, outcome: Answer | BaseException) -> None:
        """Hand the answer or the error to the caller, if it still waits."""
        self.is_over = True
        if self.answer is None or self.answer.done():
            return
        if isinstance(outcome, BaseException):
            self.answer.set_exception(outcome)
        else:
            self.answer.set_result(outcome)

    def record_failure(self, member: Member, error: ClientError) -> None:
        """Record that ``member`` did not answer it."""
        if member.health.answered and not isinstance(error, BusyError):
            self.crashes += 1
        if isinstance(error, QUESTION_FAILURES):
            self.attempts += 1
            self.failures[member] = error

    def final_error(
        self, error: ClientError, *, another: bool, retry: RetryPolicy
    ) -> ClientError | None:
        """Return the error that it ends with after ``error``; None: ask it again."""
        return retry.final_error(
            error,
            list(self.failures.values()),
            attempts=self.attempts,
            crashes=self.crashes,
            another=another,
        )


@dataclass(eq=False)
class InFlight:
    """A request to one endpoint, sent at ``started``."""

    pending: PendingQuestion
    member: Member
    started: float


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of ``original`` that ``member`` should get at the time ``at``."""

    original: InFlight
    member: Member
    at: float


class RequestQueue:
    """Queue of the questions for one model, or for any: repeated ones first, then by age.

    ``members``: the endpoints that may answer them. Fallbacks among these take questions while no
    primary works, and while the wait is longer than ``fallback_wait_s``.
    """

    def __init__(self, members: Sequence[Member], fallback_wait_s: float | None = None) -> None:
        self.members = tuple(members)
        self._primaries = tuple(member for member in members if not member.is_fallback)
        self._fallback_wait_s = fallback_wait_s
        self._repeated: dict[PendingQuestion, None] = {}
        self._fresh: dict[PendingQuestion, None] = {}
        self._in_flight: dict[InFlight, None] = {}
        self._arrivals = Arrivals()

    def __len__(self) -> int:
        return len(self._repeated) + len(self._fresh)

    def __iter__(self) -> Iterator[PendingQuestion]:
        yield from self._repeated
        yield from self._fresh

    def add(self, pending: PendingQuestion, now: float) -> None:
        """Add a new question."""
        self._fresh[pending] = None
        self._arrivals.record(now)

    def add_again(self, pending: PendingQuestion) -> None:
        """Add a question to be asked again, at ``not_before`` or later."""
        self._repeated[pending] = None

    def discard(self, pending: PendingQuestion) -> None:
        """Remove a question, if it is queued."""
        self._repeated.pop(pending, None)
        self._fresh.pop(pending, None)

    def start(self, pending: PendingQuestion, member: Member, now: float) -> InFlight:
        """Record that ``member`` gets a question, which may be in flight elsewhere already."""
        self.discard(pending)
        request = InFlight(pending, member, now)
        pending.in_flight.append(request)
        self._in_flight[request] = None
        member.start(now)
        return request

    def finish(self, request: InFlight) -> None:
        """Record the end of a request, whatever came of it. Its slot is free."""
        request.pending.in_flight.remove(request)
        del self._in_flight[request]
        request.member.finish(request.started)

    def clear(self) -> list[PendingQuestion]:
        """Remove every queued question and return them."""
        removed = list(self)
        self._repeated.clear()
        self._fresh.clear()
        return removed

    def eligible(self, now: float) -> Sequence[Member]:
        """Return the members that take questions now.

        A primary on trial does not count as working, but gets questions before a fallback.
        """
        use_fallbacks = all(member.health.is_down for member in self._primaries)
        is_tested = any(member.is_held for member in self._primaries)
        if not use_fallbacks and self._fallback_wait_s is not None and not is_tested:
            reference = reference_s(self._primaries)
            rate = sum(each.limit(now) / each.at_best_s(reference, now) for each in self._primaries)
            use_fallbacks = len(self) > self._fallback_wait_s * rate
        return self.members if use_fallbacks else self._primaries

    def next_for(self, member: Member, now: float) -> PendingQuestion | None:
        """Return the question for ``member``; None: there is none, or a faster member gets it."""
        if not len(self):
            return None
        eligible = self.eligible(now)
        arriving_per_s = self._arrivals.per_s(now)
        takes_none = member not in eligible or should_defer(
            member, eligible, len(self), arriving_per_s, now
        )
        for pending in self._repeated:
            fits = (
                self._takes_again(member, pending, eligible, now)
                if pending.failures
                else not takes_none
            )
            if pending.not_before <= now and fits:
                return pending
        return None if takes_none else next(iter(self._fresh), None)

    def _takes_again(
        self, member: Member, pending: PendingQuestion, eligible: Sequence[Member], now: float
    ) -> bool:
        """Return whether ``member`` takes a question that others failed.

        A fallback does if every primary failed it. A member that failed it does only if every
        other working member failed it, too.
        """
        failed = pending.failures.keys()
        able = {other for other in self.members if other.limit(now) or other.is_held}
        if member in failed:
            return member in eligible and able <= failed
        return member in eligible or able.intersection(eligible) <= failed

    def next_copy(self, idle: Sequence[Member], now: float) -> Copy | None:
        """Return the next copy of a late request for one of the ``idle`` members.

        None while questions are queued.
        """
        if len(self):
            return None
        reference = reference_s(self.eligible(now))
        eligible = ranked(self.eligible(now), reference)
        fast = fast_enough_for_copies(idle, eligible, now)
        single = [
            request
            for request in self._in_flight
            if len(request.pending.in_flight) == 1 and not request.pending.is_over
        ]
        single.sort(key=lambda request: -rest_s(request, reference, now))
        copies = [
            Copy(request, member, copy_at(member, request, reference, now))
            for request in single
            for member in fast
            if member is not request.member and member not in request.pending.failures
        ]
        return min(copies, key=lambda copy: copy.at, default=None)

    def has_another(self, pending: PendingQuestion) -> bool:
        """Return whether a member works that has not failed ``pending``."""
        return any(
            not member.health.is_down and member not in pending.failures for member in self.members
        )

    def changes_at(self) -> list[float]:
        """Return the times at which questions may be asked again."""
        return [pending.not_before for pending in self._repeated]


class Arrivals:
    """Rate of new questions, which predicts how many more will arrive."""

    def __init__(self) -> None:
        self._per_s, self._at = 0.0, 0.0

    def record(self, now: float) -> None:
        """Record a new question."""
        self._per_s, self._at = self.per_s(now) + 1 / _ARRIVALS_DECAY_S, now

    def per_s(self, now: float) -> float:
        """Return questions per second, weighted towards the last two seconds."""
        return self._per_s * math.exp(-max(0.0, now - self._at) / _ARRIVALS_DECAY_S)


def reference_s(members: Collection[Member]) -> float:
    """Return the time of an answer for weight 1, by the fastest measured member; 1 before that."""
    measured = [
        member.health.seconds * member.weight
        for member in members
        if member.health.seconds is not None
    ]
    return min(measured, default=1.0)


def ranked(members: Collection[Member], reference: float) -> list[Member]:
    """Return the members in the order in which they are offered a question: fallbacks last."""
    return sorted(members, key=lambda member: (member.is_fallback, member.expected_s(reference)))


def should_defer(
    member: Member, eligible: Sequence[Member], queued: int, arriving_per_s: float, now: float
) -> bool:
    """Return whether faster members would answer all ``queued`` questions before ``member`` one.

    So a slow endpoint starts nothing that holds up the end of a batch. Questions that are likely
    to arrive meanwhile count as queued. A primary does not defer to a fallback.
    """
    reference = reference_s(eligible)
    member_s = member.at_best_s(reference, now)
    faster = [
        (other_s, limit)
        for other in eligible
        if (other_s := other.at_best_s(reference, now)) < member_s
        and other.is_fallback <= member.is_fallback
        and (limit := other.limit(now))
    ]
    if not faster:
        return False
    rate = sum(limit / other_s for other_s, limit in faster)
    return member_s > (queued + arriving_per_s * member_s) / rate + min(faster)[0]


def rest_s(request: InFlight, reference: float, now: float) -> float:
    """Return how long a request is likely to take yet; a late one as long as it is late."""
    return abs(request.member.expected_s(reference) - (now - request.started))


def fast_enough_for_copies(
    idle: Collection[Member], eligible: Collection[Member], now: float
) -> list[Member]:
    """Return the idle members that are measured to be nearly as fast as the fastest."""
    working = [
        member.health.seconds
        for member in eligible
        if member.health.seconds is not None and member.limit(now)
    ]
    slowest_s = NEARLY_FASTEST * min(working, default=0.0)
    return [
        member
        for member in eligible
        if member in idle
        and member.health.seconds is not None
        and member.health.seconds <= slowest_s
    ]


def copy_at(copier: Member, request: InFlight, reference: float, now: float) -> float:
    """Return when ``copier`` should get a copy of ``request``; ``now`` if it is due."""
    copier_s = copier.expected_s(reference)
    if rest_s(request, reference, now) > WORTH_A_COPY * copier_s:
        return now
    return request.started + request.member.expected_s(reference) + WORTH_A_COPY * copier_s


class Patience:
    """Limit of the time that questions wait while every one of ``members`` is down or busy.

    ``total_s`` of the policy applies; ``unproven_total_s`` if no member has answered or was busy;
    no time if every member is dead, or asks for a longer pause.
    """

    def __init__(self, members: Collection[Member], retry: RetryPolicy) -> None:
        self._members = members
        self._retry = retry
        self._since: float | None = None
        self._notice_at = 0.0
        self.ended = False

    def update(self, now: float) -> None:
        """Look at the members. Call it when they changed, and at ``changes_at``."""
        if any(not member.health.is_down and not member.health.is_busy for member in self._members):
            self._since, self.ended = None, False
            return
        if self._since is None:
            self._since, self._notice_at = now, now + _FIRST_NOTICE_S
        may_answer = any(
            member.health.state is State.HALF_OPEN or member.in_flight for member in self._members
        )
        self.ended = not may_answer and (self.ended or now >= self._gives_up_at(self._since))

    def left_s(self, now: float) -> float | None:
        """Return the seconds left when it is time to log them, else None."""
        if self._since is None or self.ended or now < self._notice_at:
            return None
        self._notice_at = now + _NOTICE_EVERY_S
        left_s = self._gives_up_at(self._since) - now
        return left_s if left_s > 0 else None

    def changes_at(self) -> list[float]:
        """Return the times at which to call ``update``."""
        if self._since is None or self.ended:
            return []
        return [self._notice_at, self._gives_up_at(self._since)]

    def _gives_up_at(self, since: float) -> float:
        alive = [member.health for member in self._members if member.health.state is not State.DEAD]
        total_s = self._retry.total_s
        if not any(health.answered or health.is_busy for health in alive):
            total_s = min(total_s, self._retry.unproven_total_s)
        until = since + total_s
        hopeless = all(not health.is_down and health.paused_until > until for health in alive)
        return since if hopeless else until
