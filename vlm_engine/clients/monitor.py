"""Looks after endpoints that do not work: says so, and finds out when they work again."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from time import monotonic

from vlm_engine.clients.health import State, probe_delay_s
from vlm_engine.clients.member import Member
from vlm_engine.clients.openai import OpenAIClient
from vlm_engine.errors import BusyError, ClientError, ServerError, UnreachableError

_WORTH_TELLING_S = 5.0
_SAID_AGAIN_AFTER_S = 300.0
_NUMBERED = re.compile(
    r"\S*\d\S*"
)  # the number of a request, a time: other each time, though the reason is the same
_log = logging.getLogger(__name__)


class HealthMonitor:
    """Says which endpoints stop working and which work again, and probes the former. Calls ``changed`` when one may be tried."""

    def __init__(self, clients: Mapping[Member, OpenAIClient], changed: Callable[[], None]) -> None:
        self._clients = clients
        self._changed = changed
        self._tasks: set[asyncio.Task[None]] = set()
        self._said: dict[Member, tuple[str, float]] = {}
        self._out: set[Member] = set()
        self._pauses: dict[Member, float] = {}

    def note(self, member: Member, before: State) -> None:
        """Something happened to an endpoint that was in the state ``before``."""
        health = member.health
        self._say_pause(member)
        if health.state is before:
            return
        if health.cause is not None and (before is State.CLOSED or health.state is State.DEAD):
            self._say_outage(member, health.cause)
        elif health.state is State.CLOSED and member in self._out:
            self._out.discard(member)
            _log.info("endpoint %s works again", member.label)
        if health.state is State.OPEN:
            probing = asyncio.get_running_loop().create_task(self._probe(member))
            self._tasks.add(probing)
            probing.add_done_callback(self._tasks.discard)

    def _say_outage(self, member: Member, cause: ClientError) -> None:
        """One that comes and goes for the same reason is named once in five minutes."""
        given_up = member.health.state is State.DEAD
        words, now = (
            f"{'is given up' if given_up else 'does not work for now'}: {cause.args[0]}",
            monotonic(),
        )
        gist = _NUMBERED.sub("#", words)
        said, at = self._said.get(member, ("", 0.0))
        if gist != said or now - at > _SAID_AGAIN_AFTER_S:
            self._said[member] = gist, now
            self._out.add(member)
            _log.warning("endpoint %s %s", member.label, words)

    def _say_pause(self, member: Member) -> None:
        """A wait that a server asked for."""
        health, now = member.health, monotonic()
        until = health.paused_until
        if health.cause is not None and until > max(
            now + _WORTH_TELLING_S, self._pauses.get(member, 0.0) + 1
        ):
            self._pauses[member] = until
            _log.info(
                "endpoint %s is left alone for %.0f s: %s",
                member.label,
                until - now,
                health.cause.args[0],
            )

    async def aclose(self) -> None:
        """Ends what is under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _probe(self, member: Member) -> None:
        while member.health.state is State.OPEN:
            await asyncio.sleep(probe_delay_s(member.health.outage_s(monotonic())))
            try:
                await self._clients[member].check()
            except (UnreachableError, ServerError, BusyError) as error:
                _log.debug("endpoint %s is still out: %s", member.label, error)
                continue
            except ClientError as error:
                _log.debug("endpoint %s answers again, if only: %s", member.label, error)
            member.health.on_trial()
            self._changed()
