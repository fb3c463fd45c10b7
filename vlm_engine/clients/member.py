"""One endpoint of a pool: how quick it is, whether it has a slot free, and what it has done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from vlm_engine.clients.breaker import Health
from vlm_engine.clients.capabilities import Capabilities
from vlm_engine.clients.slots import GIVEN_BACK_AFTER, FixedSlots, Slots
from vlm_engine.errors import BusyError, ClientError, TimedOutError
from vlm_engine.types import Answer, EndpointStats


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
