"""A question's way through the pool, and what a failure means for it. No I/O and no clock."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from vlm_engine.clients.member import Member
from vlm_engine.errors import BusyError, ClientError, ReplyError, RequestError, ServerError


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


REFUSALS = (RequestError, ReplyError)
"""The endpoint is there, and does not answer this question."""
TRIES = 3
BOUNCES = 6


@dataclass(eq=False)
class RetryState:
    """A question's way so far.

    ``failures`` are the endpoints that failed it, each with its last error, though that may be the question's own fault;
    ``tries`` counts them, ``bounces`` every failure but "busy" of an endpoint that has answered others. ``attempts`` are
    under way: one, or two of which the first answer counts. ``over``: nobody waits for it any more.
    """

    failures: dict[Member, ClientError] = field(default_factory=dict)
    tries: int = 0
    bounces: int = 0
    not_before: float = 0.0
    attempts: list[InFlight[Any]] = field(default_factory=list)
    over: bool = False

    @property
    def tried(self) -> Set[Member]:
        """The endpoints that failed it."""
        return self.failures.keys()

    def failed(self, member: Member, error: ClientError) -> None:
        """``member`` did not answer it."""
        if member.health.answered and not isinstance(error, BusyError):
            self.bounces += 1
        if isinstance(error, (ServerError, *REFUSALS)):
            self.tries += 1
            self.failures[member] = error

    def refusals(self, but: Member) -> Iterator[tuple[Member, ClientError]]:
        """The endpoints that would not answer it, though ``but`` did."""
        for member, error in self.failures.items():
            if member is not but and isinstance(error, REFUSALS):
                yield member, error

    def end(self, error: ClientError, another: bool) -> ClientError | None:
        """The error that it ends with after ``error``, or None when it is worth another try.

        ``another``: an endpoint works that it has not been put to. No question ends before two have seen it, where there
        are two.
        """
        spent = self.tries >= TRIES or isinstance(error, REFUSALS)
        if spent and (not another or len(self.failures) >= TRIES):
            # What is wrong with an endpoint, or that it is busy, is nothing that a question can end with.
            return (
                error
                if isinstance(error, (ServerError, *REFUSALS))
                else list(self.failures.values())[-1]
            )
        if self.bounces < BOUNCES:
            return None
        # A question that brings down whatever it is put to must not go round for ever.
        last = ServerError(
            f"every attempt failed, the last with: {error.args[0]}", endpoint=error.endpoint
        )
        last.__cause__ = error
        return last

    def breath_s(self, error: ClientError, another: bool) -> float:
        """How long to leave it before it goes back to an endpoint that failed it; 0 where another can take it."""
        return 0.25 * 2**self.tries if isinstance(error, ServerError) and not another else 0.0


AnyRetryState = TypeVar("AnyRetryState", bound=RetryState)


@dataclass(eq=False)
class InFlight(Generic[AnyRetryState]):
    """A question at an endpoint, since ``begun`` (seconds of the pool's clock)."""

    turn: AnyRetryState
    member: Member
    begun: float
