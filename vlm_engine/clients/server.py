"""One server that several pools ask: what it is asked by all of them together stays within what it takes at once."""

from __future__ import annotations

from collections.abc import Callable

from vlm_engine.clients.member import Member


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
