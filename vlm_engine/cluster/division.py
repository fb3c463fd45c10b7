"""Slots of one endpoint, divided among the engines that ask for them. No I/O, no clock."""

from __future__ import annotations

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


@dataclass(slots=True)
class _Portion:
    """The part of one engine. ``holds``: the most that it may have in flight, as far as known.

    ``target``: what it should have. ``sent``: the number in its last allowance.
    """

    wanted: int = 0
    limit: int = 0
    target: int = 0
    allowed: int = 0
    sent: int = 0
    elsewhere: int = 0
    number: int = 0
    holds: int = 0


class Division:
    """Division of the slots of one endpoint: max-min fair by what each engine wants.

    All engines together never hold more than the endpoint takes, as the one says that knows most:
    one that was just started may not know yet. An engine that must give slots back keeps them
    until it reports that it has seen this, and how many it has in flight still; only then do
    others get them. Where there are fewer slots than engines that want one, ``rotate`` gives those
    without one their turn.

    Max-min fairness: Bertsekas and Gallager, Data Networks (1992), section 6.5.2.
    """

    def __init__(self) -> None:
        self._parts: dict[Name, _Portion] = {}  # in the order of their turns
        self._limit = 0
        self._is_outdated = False  # the targets

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
        if (part.wanted, part.limit) != (wanted, limit):
            part.wanted, part.limit = wanted, limit
            self._is_outdated = True
        if seen == part.number:
            part.holds = max(part.allowed, taken)

    def remove(self, owner: str) -> None:
        """Remove the engines of a worker or of a run. They must have nothing in flight any more."""
        for engine in [engine for engine in self._parts if owner in engine]:
            del self._parts[engine]
            self._is_outdated = True

    def rotate(self) -> None:
        """Let engines without a slot come before those that have one, if there are too few."""
        parts = self._parts
        if self.is_short:
            for engine in [engine for engine, part in parts.items() if part.allowed]:
                parts[engine] = parts.pop(engine)
                self._is_outdated = True

    def changes(self) -> dict[Name, Allowance]:
        """Return the allowances that have changed, by engine. Each must be sent.

        That only what others have has changed is told where it makes a difference to the price of
        a question.
        """
        if self._is_outdated:
            self._set_targets()
        parts = self._parts
        free, every = self._limit, 0
        for part in parts.values():
            free -= part.holds
        for part in parts.values():
            if part.allowed >= part.target:
                part.allowed = part.target
            else:  # what it still holds of an earlier allowance is its own to keep
                reachable = part.holds + max(0, free)
                part.allowed = max(part.allowed, min(part.target, reachable))
                free -= max(0, part.allowed - part.holds)
                part.holds = max(part.holds, part.allowed)
            every += part.allowed
        changes = {}
        for engine, part in parts.items():
            elsewhere = every - part.allowed
            is_worth_telling = abs(elsewhere - part.elsewhere) > every / 4
            if part.allowed != part.sent or (part.allowed and is_worth_telling):
                part.number += 1
                part.sent, part.elsewhere = part.allowed, elsewhere
                changes[engine] = Allowance(part.number, part.allowed, elsewhere)
        return changes

    def _set_targets(self) -> None:
        """Set what each engine should have: slots are handed out one by one, in turns."""
        self._is_outdated = False
        self._limit = max((part.limit for part in self._parts.values()), default=0)
        left, wanting = self._limit, []
        for part in self._parts.values():
            part.target = 0
            if part.wanted:
                wanting.append(part)
        while left > 0 and wanting:
            each = max(1, left // len(wanting))
            for part in wanting[:left]:
                more = min(each, part.wanted - part.target, left)
                part.target += more
                left -= more
            wanting = [part for part in wanting if part.target < part.wanted]
