"""Looks after endpoints beside the questions: what they can do, whether they work again, and what the log says of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from time import monotonic
from typing import Any

from vlm_engine.clients.breaker import State, probe_delay_s
from vlm_engine.clients.member import Member
from vlm_engine.clients.openai import OpenAIClient
from vlm_engine.errors import BusyError, ClientError, ServerError, UnreachableError

_log = logging.getLogger(__name__)


class Keeper:
    """Asks endpoints about themselves, and probes those that do not work. Calls ``changed`` when that told something new."""

    def __init__(self, clients: Mapping[Member, OpenAIClient], changed: Callable[[], None]) -> None:
        self._clients = clients
        self._changed = changed
        self._known: set[Member] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def get_to_know(self, member: Member) -> None:
        """Asks the endpoint what it can do, once; again after it was out of work, as it may have come back as another."""
        if member not in self._known:
            self._known.add(member)
            self._spawn(self._discover(member))

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
            self._known.discard(member)
            self._spawn(self._probe(member))

    async def aclose(self) -> None:
        """Ends what is under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _discover(self, member: Member) -> None:
        client = self._clients[member]
        try:
            told = await client.discover()
        except ClientError as error:
            _log.debug("endpoint %s tells nothing of itself: %s", member.label, error)
            return
        member.finishes_abandoned = told.finishes_abandoned
        member.slots.offer(client.slots)
        self._changed()

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

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
