"""Looks after endpoints that do not work: says so, and finds out when they work again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from time import monotonic

from vlm_engine.clients.breaker import State, probe_delay_s
from vlm_engine.clients.member import Member
from vlm_engine.clients.openai import OpenAIClient
from vlm_engine.errors import BusyError, ClientError, ServerError, UnreachableError

_log = logging.getLogger(__name__)


class Keeper:
    """Says which endpoints stop working and which work again, and probes the former. Calls ``changed`` when one may be tried."""

    def __init__(self, clients: Mapping[Member, OpenAIClient], changed: Callable[[], None]) -> None:
        self._clients = clients
        self._changed = changed
        self._tasks: set[asyncio.Task[None]] = set()

    def note(self, member: Member, before: State) -> None:
        """Something happened to an endpoint that was in the state ``before``."""
        health = member.health
        if health.state is before:
            return
        if health.cause is not None and (before is State.CLOSED or health.state is State.DEAD):
            fate = "is given up" if health.state is State.DEAD else "does not work for now"
            _log.warning("endpoint %s %s: %s", member.label, fate, health.cause.args[0])
        elif health.state is State.CLOSED:
            _log.warning("endpoint %s works again", member.label)
        if health.state is State.OPEN:
            probing = asyncio.get_running_loop().create_task(self._probe(member))
            self._tasks.add(probing)
            probing.add_done_callback(self._tasks.discard)

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
