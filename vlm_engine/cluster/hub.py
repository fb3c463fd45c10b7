"""The part in the scheduler: passes store calls on to the callers, and divides slots.

Workers and scheduler talk in one-way messages, in order. A caller asks for what is new
(``NEXT``), and hands over its replies with the same request.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

from distributed import Scheduler, SchedulerPlugin

from vlm_engine import __version__
from vlm_engine.cluster.division import Allowance, Division

PLUGIN = f"vlm-engine {__version__}"
NEXT = f"vlm_engine_next_{__version__}"
CALL = f"vlm-engine-call-{__version__}"
REPLY = f"vlm-engine-reply-{__version__}"
CLOSE = f"vlm-engine-close-{__version__}"
REPORT = f"vlm-engine-report-{__version__}"
ALLOW = f"vlm-engine-allow-{__version__}"
"""Names of the messages: callers of other versions have a hub of their own."""

_LINGERS_S = 2.0
"""Seconds for which the slots of a lost worker stay taken: the server must notice, too."""
_TURN_S = 1.0
_LONGEST_POLL_S = 5.0


class Hub(SchedulerPlugin):
    """The scheduler's part: a mailbox for each caller, and a division for each endpoint."""

    name = PLUGIN
    idempotent = True

    def __init__(self) -> None:
        self._mailboxes: dict[str, _Mailbox] = {}
        self._divisions: defaultdict[str, Division] = defaultdict(Division)
        self._scheduler: Scheduler | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def start(self, scheduler: Scheduler) -> None:
        """Take the messages of callers and workers from now on."""
        self._scheduler = scheduler
        scheduler.handlers[NEXT] = self.next
        scheduler.stream_handlers[CALL] = self.take_calls
        scheduler.stream_handlers[REPORT] = self.take_report

    # Callers.

    async def next(
        self, client: str, run: str, replies: list[tuple[str, int, bytes]]
    ) -> dict[str, Any]:
        """Return the calls and the workers that are new for the caller. Wait for the first.

        ``replies``: worker, number and content of each reply to an earlier call.
        """
        if self._scheduler is None or client not in self._scheduler.clients:
            raise ConnectionError("the connection of this client was lost")
        mailbox = self._mailboxes.setdefault(run, _Mailbox(client))
        of_worker = defaultdict[str, list[tuple[int, bytes]]](list)
        for worker, number, content in replies:
            of_worker[worker].append((number, content))
        for worker, its_replies in of_worker.items():
            self._send(worker, {"op": REPLY, "run": run, "replies": its_replies})
        try:
            async with asyncio.timeout(_LONGEST_POLL_S):
                await mailbox.has_news.wait()
        except TimeoutError:
            pass
        return mailbox.taken(self._workers())

    def take_calls(self, worker: str, run: str, calls: list[tuple[int, bytes]]) -> None:
        """Pass store calls on to their caller; tell the worker if that is gone."""
        mailbox = self._mailboxes.get(run)
        if mailbox is None:
            self._send(worker, {"op": CLOSE, "run": run})
        else:
            mailbox.workers.add(worker)
            mailbox.add(worker, calls)

    def remove_client(self, scheduler: Scheduler, client: str) -> None:
        """Let the workers close the engines of a caller that has left."""
        for run in [run for run, box in self._mailboxes.items() if box.client == client]:
            mailbox = self._mailboxes.pop(run)
            mailbox.has_news.set()
            for worker in mailbox.workers:
                self._send(worker, {"op": CLOSE, "run": run})
            self._forget_soon(run)

    # Workers.

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        """Tell callers of a new worker."""
        for mailbox in self._mailboxes.values():
            mailbox.has_news.set()

    def remove_worker(self, scheduler: Scheduler, worker: str, **_: Any) -> None:
        """Tell callers that a worker is lost, and divide its slots among the others soon."""
        for mailbox in self._mailboxes.values():
            mailbox.has_news.set()
        self._forget_soon(worker)

    def take_report(self, worker: str, run: str, name: str, numbers: list[int]) -> None:
        """Take what a worker has and wants of an endpoint's slots, for one caller."""
        self._divisions[name].report((worker, run), *numbers)
        self._divide(name)

    def _forget_soon(self, owner: str) -> None:
        """Divide the slots of a worker or a run among the others once its requests have ended."""
        if any(division.has(owner) for division in self._divisions.values()):
            asyncio.get_running_loop().call_later(_LINGERS_S, self._forget, owner)

    def _forget(self, owner: str) -> None:
        for name, division in list(self._divisions.items()):
            division.remove(owner)
            self._divide(name)
            if division.is_empty:
                del self._divisions[name]

    def _divide(self, name: str) -> None:
        for (worker, run), allowance in self._divisions[name].changes().items():
            self._allow(worker, run, name, allowance)
        if self._timer is None and self._divisions[name].is_short:
            self._timer = asyncio.get_running_loop().call_later(_TURN_S, self._take_turns)

    def _allow(self, worker: str, run: str, name: str, allowance: Allowance) -> None:
        numbers = [allowance.number, allowance.allowed, allowance.elsewhere]
        self._send(worker, {"op": ALLOW, "run": run, "name": name, "numbers": numbers})

    def _take_turns(self) -> None:
        self._timer = None
        for name, division in self._divisions.items():
            if division.is_short:
                division.rotate()
                self._divide(name)

    def _workers(self) -> dict[str, tuple[str, str, int]]:
        """Return the name, the host and the threads of each worker, by its address."""
        there = {} if self._scheduler is None else self._scheduler.workers
        return {
            address: (str(worker.name), worker.host, worker.nthreads)
            for address, worker in there.items()
        }

    def _send(self, worker: str, message: dict[str, Any]) -> None:
        if self._scheduler is not None and worker in self._scheduler.stream_comms:
            self._scheduler.worker_send(worker, message)


class _Mailbox:
    """Store calls that wait for one caller, and whether it knows all workers.

    ``workers``: those with an engine for it. Others do not know what a hub sends, and would end.
    """

    def __init__(self, client: str) -> None:
        self.client = client
        self.workers: set[str] = set()
        self.has_news = asyncio.Event()
        self.has_news.set()  # it knows no worker yet
        self._calls: list[tuple[str, int, bytes]] = []
        self._known: dict[str, tuple[str, str, int]] | None = None

    def add(self, worker: str, calls: list[tuple[int, bytes]]) -> None:
        self._calls += [(worker, number, content) for number, content in calls]
        self.has_news.set()

    def taken(self, workers: dict[str, tuple[str, str, int]]) -> dict[str, Any]:
        """Return what is new, which is then known. ``workers``: those that there are now."""
        calls, self._calls = self._calls, []
        is_known, self._known = workers == self._known, workers
        self.has_news.clear()
        return {"calls": calls, "workers": None if is_known else workers}
