"""An engine's share of slots that a hub divides among several engines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from vlm_engine.cluster.division import Allowance
from vlm_engine.cluster.link import Link

_GIVEN_BACK_AFTER_S = 0.25
"""Slots that are not wanted go back after this: the next questions often follow at once."""
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class _State:
    wanted: int = 0
    taken: int = 0
    limit: int = 0
    seen: int = 0


class SlotShare:
    """Share of one endpoint's slots: see ``vlm_engine.clients.member.Share``."""

    def __init__(self, send: Callable[[list[int]], None]) -> None:
        self._send = send
        self._allowance = Allowance(0, 0)
        self._sent = _State()
        self._now = _State()
        self._timer: asyncio.TimerHandle | None = None
        self._followers: list[Callable[[int], None]] = []

    @property
    def allowed(self) -> int:
        """Number of questions that the engine may have in flight now."""
        return self._allowance.allowed

    def report(self, taken: int, wanted: int, limit: int) -> None:
        """Tell what the engine has and wants, at once where it lacks slots or gave some back."""
        self._now = _State(wanted, taken, limit, self._allowance.number)
        sent, allowed = self._sent, self._allowance.allowed
        lacks = wanted > allowed and wanted > sent.wanted
        has_seen = sent.seen != self._allowance.number
        gives_back = max(taken, allowed) < max(sent.taken, allowed)
        if lacks or has_seen or gives_back or limit != sent.limit:
            self._tell()
        elif wanted != sent.wanted and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_GIVEN_BACK_AFTER_S, self._tell)

    def follow(self, on_change: Callable[[int], None]) -> None:
        """Call ``on_change`` after every change, with what the other engines have in flight."""
        self._followers.append(on_change)

    def take(self, allowance: Allowance) -> None:
        """Take an allowance from the hub."""
        self._allowance = allowance
        for on_change in self._followers:
            on_change(allowance.elsewhere)

    def _tell(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._sent = now = self._now
        self._send([now.wanted, now.taken, now.limit, now.seen])


class SlotShares:
    """Shares of one engine, by the name of what is shared. ``host``: that of its worker."""

    def __init__(self, link: Link, host: str) -> None:
        self._link = link
        self._host = host
        self._by_name: dict[str, SlotShare] = {}
        link.on_allowance = self._take

    def __call__(self, name: str) -> SlotShare:
        """Return the share of an endpoint, by its address, or of something else of this run."""
        shared = _shared_name(name, self._host, self._link.run)
        if shared not in self._by_name:
            self._by_name[shared] = SlotShare(lambda numbers: self._link.report(shared, numbers))
        return self._by_name[shared]

    def _take(self, name: str, numbers: list[int]) -> None:
        if name in self._by_name:
            self._by_name[name].take(Allowance(*numbers))


def _shared_name(name: str, host: str, run: str) -> str:
    """Return the name under which several engines mean the same."""
    if "://" not in name:
        return f"{run} {name}"
    is_here = urlsplit(name).hostname in _THIS_MACHINE
    return f"{host} {name}" if is_here else name
