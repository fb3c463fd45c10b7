"""A task at work: its turn, its session with Stash, and what its endpoints do meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Self

from haven.stash.errors import StashError
from haven.tasks.context import TaskContext
from haven.tasks.endpoints import Stats, interim_line, summary_lines
from haven.tasks.time_slice import TimeSlice

_log = logging.getLogger(__name__)
_TELL_EVERY_S = 60.0


class BackgroundTasks:
    """Runs beside the work for as long as its ``async with`` lasts, and tells at the end what the endpoints did.

    ``turn`` is the task's own, however many batches it has. ``stats``: what each endpoint did so far.
    """

    def __init__(self, context: TaskContext, stats: Callable[[], Stats]) -> None:
        self._context = context
        self._stats = stats
        self._beside: list[asyncio.Task[None]] = []
        self.turn = TimeSlice(
            context.settings.time_slice, partial(context.stash, context.handler.others_wait)
        )

    async def __aenter__(self) -> Self:
        chores = (self._keep_session(), self._watch_turn(), self._tell_of_endpoints())
        self._beside = [asyncio.create_task(chore) for chore in chores]
        return self

    async def __aexit__(self, *_: object) -> None:
        for chore in self._beside:
            chore.cancel()
        record, stats = self._context.record, self._stats()
        record.endpoints = stats
        for line in summary_lines(stats, record.seconds):
            _log.info("%s", line)

    async def _keep_session(self) -> None:
        """Stash forgets a session that is idle for so long; one scene may take longer."""
        while True:
            await asyncio.sleep(max(1.0, self._context.session_age_s / 4))
            try:
                await self._context.stash(self._context.handler.ping)
            except StashError as error:
                _log.warning("Stash did not answer just now: %s", error)

    async def _tell_of_endpoints(self) -> None:
        before = self._stats()
        while True:
            await asyncio.sleep(_TELL_EVERY_S)
            now = self._stats()
            line = interim_line(before, now, _TELL_EVERY_S)
            if line is not None:
                _log.info("%s", line)
            before = now

    async def _watch_turn(self) -> None:
        try:
            await self.turn.watch()
        except StashError as error:
            _log.warning("Stash did not say who waits, so the task goes on: %s", error)
