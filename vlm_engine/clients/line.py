"""The questions that wait for one model, and which of them an endpoint takes next.

No I/O and no clock. Times are seconds of the pool's clock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from vlm_engine.clients.member import Member
from vlm_engine.clients.pulling import Arrivals, leaves_it, pulling
from vlm_engine.errors import BusyError, ClientError, ReplyError, RequestError, ServerError

TRIES = 3
BOUNCES = 6


@dataclass(eq=False)
class Turn:
    """A question's way so far.

    ``tried`` are the endpoints that failed it, though that may be the question's own fault; ``tries`` counts those
    failures, ``bounces`` every failure but "busy".
    """

    tried: frozenset[Member] = frozenset()
    tries: int = 0
    bounces: int = 0
    not_before: float = 0.0

    def failed(self, member: Member, error: ClientError) -> None:
        """``member`` did not answer it."""
        if not isinstance(error, BusyError):
            self.bounces += 1
        if isinstance(error, ServerError | ReplyError):
            self.tries += 1
            self.tried |= {member}

    def end(self, error: ClientError, another: bool) -> ClientError | None:
        """The error that it ends with after ``error``, or None when it is worth another try.

        ``another``: an endpoint works that it has not been put to.
        """
        if isinstance(error, RequestError) or self.tries >= TRIES or (isinstance(error, ReplyError) and not another):
            return error
        if self.bounces < BOUNCES:
            return None
        # A question that brings down whatever it is put to must not go round for ever.
        last = ServerError(f"every attempt failed, the last with: {error.args[0]}", endpoint=error.endpoint)
        last.__cause__ = error
        return last

    def breath_s(self, error: ClientError, another: bool) -> float:
        """How long to leave it before it goes back to an endpoint that failed it; 0 where another can take it."""
        return 0.25 * 2**self.tries if isinstance(error, ServerError) and not another else 0.0


_Turn = TypeVar("_Turn", bound=Turn)


class Line(Generic[_Turn]):
    """Questions in the order in which they came, those that are asked again before the others.

    ``members`` are the endpoints that may answer them.
    """

    def __init__(self, members: Sequence[Member], fallback_wait_s: float | None = None) -> None:
        self.members = tuple(members)
        self._fallback_wait_s = fallback_wait_s
        self._again: dict[_Turn, None] = {}
        self._fresh: OrderedDict[_Turn, None] = OrderedDict()
        self._arrivals = Arrivals()

    def __len__(self) -> int:
        return len(self._again) + len(self._fresh)

    def __iter__(self) -> Iterator[_Turn]:
        yield from self._again
        yield from self._fresh

    def join(self, turn: _Turn, now: float) -> None:
        """A new question."""
        self._fresh[turn] = None
        self._arrivals.note(now)

    def rejoin(self, turn: _Turn) -> None:
        """A question is to be asked again, at ``not_before`` or later."""
        self._again[turn] = None

    def leave(self, turn: _Turn) -> None:
        """A question is being asked, or nobody wants its answer any more."""
        self._again.pop(turn, None)
        self._fresh.pop(turn, None)

    def clear(self) -> list[_Turn]:
        """Sends everybody away, and says who was there."""
        waited = list(self)
        self._again.clear()
        self._fresh.clear()
        return waited

    def crew(self, now: float) -> list[Member]:
        """The endpoints that take questions from here, ranked."""
        return pulling(self.members, len(self), self._fallback_wait_s, now)

    def next_for(self, member: Member, now: float) -> _Turn | None:
        """The question that ``member`` should take; None where there is none, or a faster endpoint should have it."""
        crew = self.crew(now)
        if member not in crew or not len(self):
            return None
        working = {other for other in crew if other.limit(now)}
        left = leaves_it(member, crew, len(self), self._arrivals.per_s(now), now)
        for turn in self._again:
            # Back to one that failed it only when every other has failed it too.
            fits = (member not in turn.tried or working <= turn.tried) if turn.tried else not left
            if turn.not_before <= now and fits:
                return turn
        return None if left else next(iter(self._fresh), None)

    def has_another(self, turn: _Turn, now: float) -> bool:
        """Whether an endpoint works that ``turn`` has not been put to."""
        return any(not member.health.broken and member not in turn.tried for member in self.crew(now))

    def changes_at(self) -> list[float]:
        """The times at which questions come to be asked again."""
        return [turn.not_before for turn in self._again]
