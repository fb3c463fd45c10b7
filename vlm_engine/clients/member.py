"""One endpoint of a pool: its slots, its speed, its statistics, and the server it is on."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol

from vlm_engine.clients.discovery import Capabilities
from vlm_engine.clients.health import Health
from vlm_engine.clients.pricing import PriceLearner
from vlm_engine.clients.server_time import ServerTime
from vlm_engine.errors import BusyError, ClientError, EndpointError, TimedOutError
from vlm_engine.types import Answer, EndpointStats

GIVEN_BACK_AFTER = 20
_WORTH_IT = 1.05
_AS_GOOD = 0.98
_LEAST_ANSWERS = 8
_REST = 8
_MOST = 256
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Screened:
    """Outcome of the test of an endpoint before its first question.

    ``error``: the reason to leave it out. ``failure``: the reason why it could not be tested; it
    counts like that of a question. ``is_one_at_a_time``: its answers are right only while nothing
    else is in flight there.
    """

    error: EndpointError | None = None
    failure: ClientError | None = None
    is_one_at_a_time: bool = False


class Slots:
    """Number of questions that one endpoint gets at once. No I/O and no clock.

    As many as offered; half of them after "busy", and one more for every 20 answers from then.
    """

    is_fixed: ClassVar = True
    """True where the number is told, and not found out by trying."""

    def __init__(self) -> None:
        self.limit = 1
        self._offered = 1
        self._cut: int | None = None
        self._successes = 0

    def offer(self, slots: int) -> None:
        """Set the number that the settings or the server name."""
        self._offered = max(1, slots)
        self._update()

    def record_answer(self, now: float, *, full: bool) -> None:
        """Record an answer. ``full``: all slots were in use until then."""
        self._successes += 1
        if self._cut is not None and self._successes >= GIVEN_BACK_AFTER:
            self._cut, self._successes = self._cut + 1, 0
            if self._cut >= self._offered:
                self._cut = None
            self._update()

    def reduce(self) -> None:
        """Reduce the number, because the endpoint was busy."""
        self._cut, self._successes = max(1, self.limit // 2), 0
        self._update()

    def _update(self) -> None:
        self.limit = self._offered if self._cut is None else min(self._cut, self._offered)


class AutoSlots(Slots):
    """``Slots`` that climb to the number with the most answers per second.

    Measures the rate while all slots are in use. Tries half as many slots more and keeps them if
    that brings 5 % more answers, then a third fewer and keeps those if that costs less than 2 %,
    and so on, with rests. The time of an answer plays no part: a server that batches takes longer
    for each question and still answers more of them.
    """

    is_fixed: ClassVar = False

    def __init__(self) -> None:
        super().__init__()
        self._base, self._base_rate = 1, 0.0
        self._upwards = True
        self._rest = 0
        self._since: float | None = None
        self._count = 0

    def offer(self, slots: int) -> None:
        """Set the start of the climb; ignored once that is under way."""
        if slots != self._base and self._base_rate == 0.0:
            self._move_to(max(1, slots))

    def record_answer(self, now: float, *, full: bool) -> None:
        """See ``Slots``."""
        if not full:
            self._restart(now)
            return
        self._count += 1
        if self._since is None or self._count <= 0:
            self._since = now  # until here, answers came from questions of an earlier limit
        elif self._count >= max(_LEAST_ANSWERS, 2 * self.limit) and now > self._since:
            self._decide(self._count / (now - self._since))
            self._restart(None)

    def reduce(self) -> None:
        """See ``Slots``."""
        self._move_to(max(1, self.limit // 2))
        self._rest = _REST

    def _restart(self, now: float | None) -> None:
        """Measure again: from ``now``, or once what is in flight has been answered."""
        self._since = now
        self._count = -self.limit if now is None else 0

    def _decide(self, rate: float) -> None:
        """Set the next limit after ``limit`` slots gave ``rate`` answers per second."""
        if self.limit == self._base:
            self._base_rate = rate
            self._rest -= 1
            if self._rest < 0:
                self.limit = self._neighbour()
        elif rate >= self._base_rate * (_WORTH_IT if self.limit > self._base else _AS_GOOD):
            self._base, self._base_rate = self.limit, rate
            self.limit = self._neighbour()
        else:
            self.limit, self._rest = self._base, _REST
            self._upwards = not self._upwards

    def _neighbour(self) -> int:
        step = max(1, self._base // 2) if self._upwards else -max(1, self._base // 3)
        neighbour = min(_MOST, max(1, self._base + step))
        if neighbour == self._base:
            self._upwards, self._rest = not self._upwards, _REST
        return neighbour

    def _move_to(self, slots: int) -> None:
        self.limit = self._base = min(_MOST, slots)
        self._restart(None)


@dataclass(eq=False)
class Member:
    """An endpoint as its pool sees it. No I/O. Times are seconds of the pool's clock.

    ``weight``: its likely speed against the others, until that is measured. ``model``: what it
    serves; "" if unknown. ``capabilities``: what it says about itself. ``prices``: what its
    questions cost. ``is_held``: it is being tested, and gets no questions until then.
    ``is_one_at_a_time``: it never gets more than one.
    """

    label: str
    weight: float = 1.0
    is_fallback: bool = False
    model: str = ""
    slots: Slots = field(default_factory=Slots)
    health: Health = field(default_factory=Health)
    capabilities: Capabilities = field(default_factory=Capabilities)
    prices: PriceLearner = field(default_factory=PriceLearner)
    is_held: bool = False
    is_one_at_a_time: bool = False
    copies: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    _started: list[float] = field(default_factory=list)  # ascending
    _held_until: list[float] = field(default_factory=list)
    _answers_since_busy: int = GIVEN_BACK_AFTER

    @property
    def in_flight(self) -> int:
        """Number of questions that it has now."""
        return len(self._started)

    def limit(self, now: float) -> int:
        """Return how many questions it may have at once; 0 while it is tested or out of order."""
        if self.is_held:
            return 0
        loaded = bool(self.capabilities.loaded)
        return self.health.limit(self.offered, now, loaded=loaded)

    @property
    def offered(self) -> int:
        """Number of questions that it takes at once while it works."""
        return 1 if self.is_one_at_a_time else self.slots.limit

    def taken(self, now: float) -> int:
        """Return the slots in use, also by abandoned questions that it goes on with."""
        if self._held_until:
            self._held_until = [until for until in self._held_until if until > now]
        return self.in_flight + len(self._held_until)

    def has_slot(self, now: float) -> bool:
        """Return whether it may get another question."""
        return self.taken(now) < self.limit(now)

    def expected_s(self, reference_s: float) -> float:
        """Return the likely time of an answer, by weight if none was measured.

        ``reference_s``: the time that weight 1 takes.
        """
        return reference_s / self.weight if self.health.seconds is None else self.health.seconds

    def at_best_s(self, reference_s: float, now: float) -> float:
        """Return ``expected_s``, but at least the time that its oldest question took so far."""
        longest_s = now - self._started[0] if self._started else 0.0
        return max(1e-6, self.expected_s(reference_s), longest_s)

    def start(self, now: float) -> None:
        """Record a question sent to it."""
        self._started.append(now)

    def finish(self, started: float) -> None:
        """Record the end of the question sent at ``started``. Call it after ``record_…``."""
        self._started.remove(started)

    def record_answer(self, answer: Answer, seconds: float, now: float) -> None:
        """Record an answer and what it cost."""
        self.slots.record_answer(now, full=self.in_flight >= self.slots.limit)
        self._answers_since_busy += 1
        self.health.record_answer(seconds, now)
        self.prompt_tokens += answer.prompt_tokens
        self.answer_tokens += answer.answer_tokens

    def record_failure(self, error: ClientError, now: float) -> None:
        """Record an error in place of an answer.

        A server that names a pause gets it. One that names none, or is busy again after it, gets
        fewer questions at once. Several "busy" responses during one pause count once.
        """
        if isinstance(error, BusyError) and now >= self.health.paused_until:
            if error.retry_after_s is None or self._answers_since_busy < GIVEN_BACK_AFTER:
                self.slots.reduce()
            self._answers_since_busy = 0
        if isinstance(error, TimedOutError):
            self._hold_slot(now)
        self.health.record_failure(error, now)

    def record_abandoned(self, seconds: float, reference_s: float, now: float) -> None:
        """Record a question that the pool gave up after ``seconds``.

        Its time counts as measured if it is longer than expected.
        """
        if seconds > self.expected_s(reference_s):
            self.health.record_abandoned(seconds)
        self._hold_slot(now)

    def _hold_slot(self, now: float) -> None:
        """Keep a slot taken for a while, if the server goes on with abandoned questions."""
        if self.capabilities.finishes_abandoned and self.health.seconds is not None:
            self._held_until.append(now + self.health.seconds)

    def changes_at(self) -> list[float]:
        """Return the times at which a slot may become free."""
        return [self.health.paused_until, *self._held_until]

    def stats(self, now: float) -> EndpointStats:
        """Return its statistics since the start."""
        health = self.health
        return EndpointStats(
            state=health.state.value,
            slots=self.offered,
            in_flight=self.in_flight,
            served=health.answered,
            failed=dict(health.failed),
            copies=self.copies,
            seconds=health.seconds,
            down_s=health.down_s(now),
            prompt_tokens=self.prompt_tokens,
            answer_tokens=self.answer_tokens,
            busy_s=self.prices.busy_s,
            cost=self.prices.cost() if self.prices.is_known else None,
        )


def unique(labels: Sequence[str]) -> Iterator[str]:
    """Yield distinct labels: the second "name" becomes "name (2)"."""
    seen: Counter[str] = Counter()
    for label in labels:
        seen[label] += 1
        yield label if seen[label] == 1 else f"{label} ({seen[label]})"


class Share(Protocol):
    """Number of questions that this process may have in flight, of one that several share."""

    @property
    def allowed(self) -> int:
        """Number that it may have now."""

    def report(self, taken: int, wanted: int, limit: int) -> None:
        """Tell how many it has, how many it could use, and how many there are for all.

        Call it after every change. It sends something only where that makes a difference.
        """

    def follow(self, on_change: Callable[[int], None]) -> None:
        """Call ``on_change`` after every change, with what the other processes have."""


Shares = Callable[[str], Share]
"""Gives the share of what has this name, such as a server's address; the same one each time."""


class Server:
    """One server that several pools share. Times are seconds of the pools' clock.

    All pools together have no more in flight than the pool with the highest limit may have, and
    than ``share`` allows. A pool is identified by its ``wake`` function, which is called when a
    slot may be free. ``time`` is divided among the questions of all.
    """

    def __init__(self, share: Share | None = None) -> None:
        self.time = ServerTime()
        self._pools: dict[Callable[[], None], list[Member]] = {}
        self._waiting: dict[Callable[[], None], int] = {}
        self._share = share
        if share is not None:
            share.follow(self._on_share)

    def join(self, wake: Callable[[], None], member: Member) -> None:
        """Add a member of a pool."""
        self._pools.setdefault(wake, []).append(member)

    def leave(self, wake: Callable[[], None]) -> None:
        """Remove a closed pool."""
        self._pools.pop(wake, None)
        self._waiting.pop(wake, None)
        self.release(wake)

    def has_slot(self, now: float) -> bool:
        """Return whether it may get another question."""
        taken = self._taken(now)
        limit = self._limit(now)
        return taken < limit and (self._share is None or self._is_allowed(taken, self._share))

    def report(self, wake: Callable[[], None], waiting: int, now: float) -> None:
        """Report what a pool could use: ``waiting`` questions more than it has in flight."""
        if self._share is None:
            return
        self._waiting[wake] = waiting
        taken = self._taken(now) + self._tested()
        limit = self._limit(now)
        self._share.report(
            taken,
            max(taken, min(limit, taken + sum(self._waiting.values()))),
            max(sum(member.offered for member in each) for each in self._pools.values()),
        )

    def _limit(self, now: float) -> int:
        return max(sum(member.limit(now) for member in each) for each in self._pools.values())

    def _taken(self, now: float) -> int:
        return sum(member.taken(now) for members in self._pools.values() for member in members)

    def _tested(self) -> int:
        """Return how many members are being tested, which takes a slot."""
        return sum(member.is_held for members in self._pools.values() for member in members)

    def _is_allowed(self, taken: int, share: Share) -> bool:
        members = (member for members in self._pools.values() for member in members)
        return taken + self._tested() < share.allowed or not all(
            member.slots.is_fixed for member in members
        )

    def _on_share(self, elsewhere: int) -> None:
        self.time.elsewhere = elsewhere
        for wake in tuple(self._pools):
            wake()

    def take(self, wake: Callable[[], None]) -> None:
        """Record a question of a pool; the other pools come first next time."""
        self._pools[wake] = self._pools.pop(wake)

    def release(self, wake: Callable[[], None]) -> None:
        """Record the end of a pool's question, and wake the others, longest waiting first."""
        for other in [other for other in self._pools if other != wake]:
            other()

    def changes_at(self) -> list[float]:
        """Return the times at which a slot may become free without an answer."""
        return [
            at
            for members in self._pools.values()
            for member in members
            for at in member.changes_at()
        ]


class Servers:
    """Servers of an engine, by address. ``shares``: what this process may have of each."""

    def __init__(self, shares: Shares | None = None) -> None:
        self.shares = shares
        self._by_url: dict[str, Server] = {}

    def at(self, url: str) -> Server:
        """Return the server at ``url``, the same one each time."""
        if url not in self._by_url:
            self._by_url[url] = Server(self.shares and self.shares(url))
        return self._by_url[url]


class ModelIdentity:
    """Name of the model that answers a pool's questions.

    ``requested``: the configured name; "" until one is known, then the first that answers.
    """

    def __init__(self, configured: str) -> None:
        self.requested = configured
        self._answers: Counter[str] = Counter()  # by stand-in model; "" for the requested one
        self._warned = False

    @property
    def answering(self) -> str:
        """The model that answers are stored under: a stand-in only if it gave every answer."""
        (only,) = self._answers if len(self._answers) == 1 else ("",)
        return only or self.requested

    def record(self, answer: Answer, chosen: str = "") -> Answer:
        """Record ``answer`` and return it, marked if another model gave it.

        ``chosen``: the model that the endpoint chose because none is configured for it.
        """
        self.requested = self.requested or chosen
        if chosen not in ("", self.requested) and not answer.by_another_model:
            answer = replace(answer, by_another_model=True)
            self._warn(answer.endpoint, chosen)
        self._answers[answer.model if answer.by_another_model else ""] += 1
        return answer

    def _warn(self, endpoint: str, model: str) -> None:
        if self._warned:
            return
        self._warned = True
        _log.warning(
            "No model is set, and the endpoints have different ones: %s has %r, others have %r. "
            "All are asked the same questions. Set MODEL, or model_id of each endpoint.",
            endpoint,
            model,
            self.requested,
        )
