"""Slots of one endpoint, divided among the engines that ask for them. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

Name = tuple[str, str]
"""An engine: its worker, and the caller's run."""


@dataclass(frozen=True)
class Allowance:
    """Permission to have ``allowed`` questions in flight. ``elsewhere``: what others may have.

    ``number`` counts the allowances of one engine from 1.
    """

    number: int
    allowed: int
    elsewhere: int = 0


@dataclass
class _Portion:
    """The part of one engine. ``holds``: the most that it may have in flight, as far as known."""

    wanted: int = 0
    taken: int = 0
    limit: int = 0
    allowed: int = 0
    elsewhere: int = 0
    number: int = 0
    holds: int = 0


class Division:
    """Division of the slots of one endpoint: max-min fair by what each engine wants.

    All engines together never hold more than the endpoint takes, as the one says that knows most:
    one that was just started may not know yet. An engine that must give slots back keeps them
    until it reports that it has seen this, and has no more in flight; only then do others get
    them. Where there are fewer slots than engines that want one, ``rotate`` gives those without
    one their turn.

    Max-min fairness: Bertsekas and Gallager, Data Networks (1992), section 6.5.2.
    """

    def __init__(self) -> None:
        self._parts: dict[Name, _Portion] = {}  # in the order of their turns

    @property
    def is_empty(self) -> bool:
        """True when no engine is left."""
        return not self._parts

    @property
    def is_short(self) -> bool:
        """True while an engine that wants a slot has none."""
        return any(part.wanted and not part.allowed for part in self._parts.values())

    def has(self, owner: str) -> bool:
        """Return whether an engine of this worker, or of this run, has reported."""
        return any(owner in engine for engine in self._parts)

    def report(self, engine: Name, wanted: int, taken: int, limit: int, seen: int) -> None:
        """Record what an engine wants, what it has in flight, and how many slots it knows of.

        ``seen``: the number of the last allowance that it got.
        """
        part = self._parts.setdefault(engine, _Portion())
        part.wanted, part.taken, part.limit = wanted, taken, limit
        if seen == part.number:
            part.holds = max(part.allowed, taken)

    def remove(self, owner: str) -> None:
        """Remove the engines of a worker or of a run. They must have nothing in flight any more."""
        for engine in [engine for engine in self._parts if owner in engine]:
            del self._parts[engine]

    def rotate(self) -> None:
        """Let engines without a slot come before those that have one, if there are too few."""
        parts = self._parts
        if self.is_short:
            for engine in [engine for engine, part in parts.items() if part.allowed]:
                parts[engine] = parts.pop(engine)

    def changes(self) -> dict[Name, Allowance]:
        """Return the allowances that have changed, by engine. Each must be sent.

        That only what others have has changed is told where it makes a difference to the price of
        a question.
        """
        targets = self._targets()
        before = {engine: part.allowed for engine, part in self._parts.items()}
        for engine, part in self._parts.items():
            part.allowed = min(part.allowed, targets[engine])
        free = self._limit() - sum(part.holds for part in self._parts.values())
        for engine, part in self._parts.items():
            # What it still holds of an earlier allowance is its own to keep.
            reachable = part.holds + max(0, free)
            allowed = max(part.allowed, min(targets[engine], reachable))
            free -= max(0, allowed - part.holds)
            part.holds = max(part.holds, allowed)
            part.allowed = allowed
        return dict(self._changed(before))

    def _changed(self, before: dict[Name, int]) -> Iterator[tuple[Name, Allowance]]:
        every = sum(part.allowed for part in self._parts.values())
        for engine, part in self._parts.items():
            elsewhere = every - part.allowed
            is_worth_telling = abs(elsewhere - part.elsewhere) > every / 4
            if part.allowed != before[engine] or (part.allowed and is_worth_telling):
                part.number += 1
                part.elsewhere = elsewhere
                yield engine, Allowance(part.number, part.allowed, elsewhere)

    def _limit(self) -> int:
        return max((part.limit for part in self._parts.values()), default=0)

    def _targets(self) -> dict[Name, int]:
        """Return what each engine should have: slots are handed out one by one, in turns."""
        targets = dict.fromkeys(self._parts, 0)
        left = self._limit()
        wanting = [engine for engine, part in self._parts.items() if part.wanted]
        while left > 0 and wanting:
            each = max(1, left // len(wanting))
            for engine in wanting[:left]:
                more = min(each, self._parts[engine].wanted - targets[engine], left)
                targets[engine] += more
                left -= more
            wanting = [engine for engine in wanting if targets[engine] < self._parts[engine].wanted]
        return targets
