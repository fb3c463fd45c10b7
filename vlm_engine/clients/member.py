"""One endpoint of a pool: how quick it is, whether it has a slot free, and what it has done."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from vlm_engine.clients.discovery import Capabilities
from vlm_engine.clients.health import Health
from vlm_engine.errors import BusyError, ClientError, TimedOutError
from vlm_engine.types import Answer, EndpointStats

GIVEN_BACK_AFTER = 20
_WORTH_IT = 1.05
_AS_GOOD = 0.98
_LEAST_ANSWERS = 8
_REST = 8
_MOST = 256


class Slots(Protocol):
    """The number of slots of one endpoint."""

    @property
    def limit(self) -> int:
        """How many questions it should get at once; at least 1."""

    def offer(self, slots: int) -> None:
        """What the settings, or the server itself, say that it takes at once."""

    def answered(self, now: float, *, full: bool) -> None:
        """An answer came. ``full``: all slots were in use until then."""

    def too_many(self) -> None:
        """It was busy: it wants fewer questions at once."""


class FixedSlots:
    """As many as the endpoint offers; after it was busy half of them, and one more for every 20 answers from then on."""

    def __init__(self) -> None:
        self._offered = 1
        self._cut: int | None = None
        self._successes = 0

    @property
    def limit(self) -> int:
        """See ``Slots``."""
        return self._offered if self._cut is None else min(self._cut, self._offered)

    def offer(self, slots: int) -> None:
        """See ``Slots``."""
        self._offered = max(1, slots)

    def answered(self, now: float, *, full: bool) -> None:
        """See ``Slots``."""
        if self._cut is None:
            return
        self._successes += 1
        if self._successes >= GIVEN_BACK_AFTER:
            self._cut, self._successes = self._cut + 1, 0
            if self._cut >= self._offered:
                self._cut = None

    def too_many(self) -> None:
        """See ``Slots``."""
        self._cut, self._successes = max(1, self.limit // 2), 0


class AutoSlots:
    """Climbs to the number of slots at which the endpoint answers most per second.

    It measures the answers per second while all slots are in use, tries half as many slots more and keeps them when that
    brings 5 % more answers, then tries a third fewer and keeps to them when that costs less than 2 %, and so on, with
    rests. It never looks at how long an answer takes: a server that works on many pictures at once takes longer for each
    and still answers more of them.
    """

    def __init__(self) -> None:
        self.limit = 1
        self._base, self._base_rate = 1, 0.0
        self._upwards = True
        self._rest = 0
        self._since: float | None = None
        self._count = 0

    def offer(self, slots: int) -> None:
        """What the server tells is where the climb begins; what it tells once that is under way changes nothing."""
        if slots != self._base and self._base_rate == 0.0:
            self._move_to(max(1, slots))

    def answered(self, now: float, *, full: bool) -> None:
        """See ``Slots``."""
        if not full:
            self._begin(now)
            return
        self._count += 1
        if self._since is None or self._count <= 0:
            self._since = (
                now  # until here, answers were on their way that an earlier limit had let in
            )
        elif self._count >= max(_LEAST_ANSWERS, 2 * self.limit) and now > self._since:
            self._judge(self._count / (now - self._since))
            self._begin(None)

    def too_many(self) -> None:
        """See ``Slots``."""
        self._move_to(max(1, self.limit // 2))
        self._rest = _REST

    def _begin(self, now: float | None) -> None:
        """Measures anew: from ``now`` on, or once what is under way has been answered."""
        self._since = now
        self._count = -self.limit if now is None else 0

    def _judge(self, rate: float) -> None:
        """What to do after ``limit`` slots gave ``rate`` answers per second."""
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
        self._begin(None)


@dataclass(eq=False)
class Member:
    """One endpoint as the pool sees it. Times are seconds of the pool's clock.

    ``weight`` is its likely speed against the others until that has been measured; ``model`` what it serves, "" where
    nobody said. ``told``: what it says of itself.
    """

    label: str
    weight: float = 1.0
    is_fallback: bool = False
    model: str = ""
    slots: Slots = field(default_factory=FixedSlots)
    health: Health = field(default_factory=Health)
    told: Capabilities = field(default_factory=Capabilities)
    copies: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    _begun: list[float] = field(default_factory=list)  # in the order in which they began
    _held_until: list[float] = field(default_factory=list)
    _answers_since_busy: int = GIVEN_BACK_AFTER

    @property
    def in_flight(self) -> int:
        """How many questions it has now."""
        return len(self._begun)

    def limit(self, now: float) -> int:
        """How many questions it may have at once; 0 while it does not work."""
        return self.health.limit(self.slots.limit, now, loaded=bool(self.told.loaded))

    def taken(self, now: float) -> int:
        """How many slots are in use: by the questions it has, and by those it was given and is thought to go on with."""
        if self._held_until:
            self._held_until = [until for until in self._held_until if until > now]
        return self.in_flight + len(self._held_until)

    def has_slot(self, now: float) -> bool:
        """Whether it may get another question."""
        return self.taken(now) < self.limit(now)

    def expected_s(self, reference_s: float) -> float:
        """How long an answer is likely to take: as measured, else ``reference_s`` (what weight 1 takes) by weight."""
        return reference_s / self.weight if self.health.seconds is None else self.health.seconds

    def at_best_s(self, reference_s: float, now: float) -> float:
        """The same, but never less than it has taken already over the question that it has had longest."""
        longest_s = now - self._begun[0] if self._begun else 0.0
        return max(1e-6, self.expected_s(reference_s), longest_s)

    def begin(self, now: float) -> None:
        """It gets a question."""
        self._begun.append(now)

    def end(self, begun: float) -> None:
        """The question that it got at ``begun`` came back, one way or another; call it after the others."""
        self._begun.remove(begun)

    def answered(self, answer: Answer, seconds: float, now: float) -> None:
        """A question came back with its answer."""
        self.slots.answered(now, full=self.in_flight >= self.slots.limit)
        self._answers_since_busy += 1
        self.health.succeeded(seconds, now)
        self.prompt_tokens += answer.prompt_tokens
        self.answer_tokens += answer.answer_tokens

    def refused(self, error: ClientError, now: float) -> None:
        """A question came back without an answer.

        A server that names the time to come back is taken at its word; one that does not, or is busy again after that, gets
        fewer questions at once. The many that it refuses in one go count once.
        """
        if isinstance(error, BusyError) and now >= self.health.paused_until:
            if error.retry_after_s is None or self._answers_since_busy < GIVEN_BACK_AFTER:
                self.slots.too_many()
            self._answers_since_busy = 0
        if isinstance(error, TimedOutError):
            self._hold(now)
        self.health.refused(error, now)

    def abandoned(self, seconds: float, reference_s: float, now: float) -> None:
        """A question was given up after ``seconds``, which tells something only where that is long for this endpoint."""
        if seconds > self.expected_s(reference_s):
            self.health.outlasted(seconds)
        self._hold(now)

    def _hold(self, now: float) -> None:
        """A question that it was given and goes on with keeps its slot for a while."""
        if self.told.finishes_abandoned and self.health.seconds is not None:
            self._held_until.append(now + self.health.seconds)

    def changes_at(self) -> list[float]:
        """The times at which it may have a slot free that it does not have now."""
        return [self.health.paused_until, *self._held_until]

    def stats(self, now: float) -> EndpointStats:
        """What it did so far."""
        health = self.health
        return EndpointStats(
            state=health.state.value,
            slots=self.slots.limit,
            in_flight=self.in_flight,
            served=health.answered,
            failed=dict(health.failed),
            copies=self.copies,
            seconds=health.seconds,
            down_s=health.down_s(now),
            prompt_tokens=self.prompt_tokens,
            answer_tokens=self.answer_tokens,
        )


def by_model(members: Sequence[Member]) -> dict[str, list[Member]]:
    """Who serves which model, by the name it has there."""
    named = dict.fromkeys(member.model for member in members if member.model)
    return {model: [member for member in members if member.model == model] for model in named}


def unique(labels: Sequence[str]) -> Iterator[str]:
    """Labels that tell endpoints apart: the second "name" becomes "name (2)"."""
    seen: dict[str, int] = {}
    for label in labels:
        seen[label] = seen.get(label, 0) + 1
        yield label if seen[label] == 1 else f"{label} ({seen[label]})"


class Server:
    """What stands for one address in each of several pools. Times are seconds of the pools' clock.

    Together the pools never have more under way than the one that may have most.
    """

    def __init__(self) -> None:
        self._pools: dict[Callable[[], None], list[Member]] = {}

    def join(self, wake: Callable[[], None], member: Member) -> None:
        """A member of the pool that ``wake`` tells that a slot may have come free."""
        self._pools.setdefault(wake, []).append(member)

    def leave(self, wake: Callable[[], None]) -> None:
        """That pool is closed."""
        self._pools.pop(wake, None)
        self.freed(wake)

    def has_slot(self, now: float) -> bool:
        """Whether another question may be put to it."""
        taken = sum(member.taken(now) for members in self._pools.values() for member in members)
        return taken < max(
            sum(member.limit(now) for member in members) for members in self._pools.values()
        )

    def took(self, wake: Callable[[], None]) -> None:
        """That pool has put a question to it, so the next time others come first."""
        self._pools[wake] = self._pools.pop(wake)

    def freed(self, wake: Callable[[], None]) -> None:
        """A question of that pool has come back. The others are told, those first that have waited longest."""
        for other in [other for other in self._pools if other != wake]:
            other()

    def changes_at(self) -> list[float]:
        """The times at which a slot may come free without an answer."""
        return [
            at
            for members in self._pools.values()
            for member in members
            for at in member.changes_at()
        ]


class Servers:
    """The servers of an engine, by address."""

    def __init__(self) -> None:
        self._by_url: dict[str, Server] = {}

    def at(self, url: str) -> Server:
        """The server at this address."""
        return self._by_url.setdefault(url, Server())


_log = logging.getLogger(__name__)


class ModelIdentity:
    """The model of a pool. ``asked`` is its name, "" until one is known: then the first that answers is the one that is asked."""

    def __init__(self, configured: str) -> None:
        self.asked = configured
        self._answers: Counter[str] = (
            Counter()
        )  # by the model that stood in; "" for the one that is asked
        self._warned = False

    @property
    def answering(self) -> str:
        """The model under whose name answers are kept: another than ``asked`` where that one alone has answered so far."""
        (only,) = self._answers if len(self._answers) == 1 else ("",)
        return only or self.asked

    def chosen(self, answer: Answer, model: str) -> Answer:
        """``answer`` of an endpoint for which nobody set a model, and which chose ``model``."""
        self.asked = self.asked or model
        if answer.by_another_model or model in ("", self.asked):
            return answer
        if not self._warned:
            self._warned = True
            _log.warning(
                "No model is set, and the endpoints have different ones: %s has %r, others have %r. All are asked the same "
                "questions. Set MODEL, or model_id of each endpoint.",
                answer.endpoint,
                model,
                self.asked,
            )
        return replace(answer, by_another_model=True)

    def note(self, answer: Answer) -> None:
        """A question was answered."""
        self._answers[answer.model if answer.by_another_model else ""] += 1
