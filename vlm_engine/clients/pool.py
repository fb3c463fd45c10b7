"""Many endpoints as one client: an endpoint with a free slot pulls the next question, so the fast ones get more.

No endpoint is chosen for a question before it has a slot free. This module moves things: it starts requests, takes in what
comes of them, and sets the timer. What to do is decided without I/O and without a clock in ``breaker`` (is an endpoint
asked), ``slots`` (how much at once), ``line`` and ``pulling`` (who takes which question, what is asked twice), ``turn`` (what
a failure means for a question), ``budget`` and ``patience``. ``keeper`` looks after endpoints that do not work.

A question waits in the arms of whoever asks it: the pool holds no copy of its picture, and it is encoded when it is sent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Self

from vlm_engine.clients.base import Client, Keep, keep_answer
from vlm_engine.clients.member import (
    AutoSlots,
    FixedSlots,
    Member,
    ModelIdentity,
    Servers,
    by_model,
    unique,
)
from vlm_engine.clients.monitor import HealthMonitor
from vlm_engine.clients.openai import OpenAIClient
from vlm_engine.clients.retry import Budget, InFlight, RetryState
from vlm_engine.clients.scheduling import Patience, RequestQueue, ranked, reference_s
from vlm_engine.config.models import EndpointConfig, ModelConfig
from vlm_engine.errors import (
    ClientError,
    ConfigError,
    EndpointError,
    NoEndpointError,
    WrongModelError,
)
from vlm_engine.types import Answer, EndpointStats, Question

_LOOK_AGAIN_S = 0.25
_log = logging.getLogger(__name__)


@dataclass(eq=False, kw_only=True)
class _Job(RetryState):
    """A question on its way, and who waits for its answer."""

    question: Question
    keep: Keep | None
    timeout_s: float | None
    answer: asyncio.Future[Answer]
    line: RequestQueue[_Job]


class EndpointPool(Client):
    """A ``Client`` over several endpoints.

    Primary endpoints share the work by speed; fallback endpoints work while no primary does, and where
    ``fallback_wait_s`` is set also when a question would wait longer than that. While every endpoint is out of reach,
    questions wait up to ``patience_s`` (3 s when nothing was ever answered) for one to come back. A question that names a
    model goes only to endpoints that have that ``model_id``.
    """

    def __init__(
        self,
        clients: Sequence[tuple[EndpointConfig, OpenAIClient]],
        *,
        request_timeout_s: float = 120.0,
        most_at_once: int | None = None,
        patience_s: float = 300.0,
        fallback_wait_s: float | None = None,
        model_name: str = "",
        servers: Servers | None = None,
    ) -> None:
        labels = unique([client.label for _, client in clients])
        self._clients = {
            _member(config, client, label, model_name): client
            for (config, client), label in zip(clients, labels, strict=True)
        }
        self._members = tuple(self._clients)
        for member, client in self._clients.items():
            client.when_told = partial(self._learn, member)
        servers = servers or Servers()
        self._servers = {member: servers.at(client.url) for member, client in self._clients.items()}
        self._addresses = tuple(dict.fromkeys(self._servers.values()))
        for member, server in self._servers.items():
            server.join(self._poke, member)
        self._request_timeout_s = request_timeout_s
        self._identity = ModelIdentity(model_name)
        self._most_at_once = most_at_once
        self._any = RequestQueue[_Job](self._members, fallback_wait_s)
        self._bound = {
            model: RequestQueue[_Job](members, fallback_wait_s)
            if len(members) < len(self._members)
            else self._any
            for model, members in by_model(self._members).items()
        }
        # Questions bound to one model come first: fewer endpoints can take them.
        self._patience = {
            line: Patience(line.members, patience_s) for line in (*self._bound.values(), self._any)
        }
        self._retries = Budget(0.2, per_s=1.0, reserve=10.0)
        self._copies = Budget(0.1, reserve=1.0)
        self._keeper = HealthMonitor(self._clients, self._poke)
        self._tasks: dict[InFlight[_Job], asyncio.Task[Answer]] = {}
        self._wake: asyncio.TimerHandle | None = None
        self._poked = False
        self._closed = False

    @classmethod
    def from_config(cls, model: ModelConfig, servers: Servers | None = None) -> Self:
        """The pool that the settings of ``model`` ask for. Raises ``ConfigError`` when they name no endpoint.

        ``servers``: shared with other pools, so that a server that several of them ask gets no more than it takes at once.
        """
        endpoints = model.endpoints()
        if not endpoints:
            raise ConfigError(
                "no endpoint is set: set ENDPOINTS (or api_base_url, or multiplexer_endpoints, of the model) "
                "to the address of a server with a vision model, such as http://localhost:1234/v1"
            )
        return cls(
            [(endpoint, OpenAIClient(endpoint, model)) for endpoint in endpoints],
            request_timeout_s=model.request_timeout,
            most_at_once=model.max_concurrent_requests,
            patience_s=model.endpoint_patience,
            fallback_wait_s=model.fallback_wait or None,
            model_name=model.model_id,
            servers=servers,
        )

    @property
    def slots(self) -> int:
        """How many questions the primary endpoints take at once, as far as is known now."""
        primaries = [member for member in self._members if not member.is_fallback] or self._members
        slots = sum(member.slots.limit for member in primaries)
        return min(slots, self._most_at_once or slots)

    async def ask(
        self, question: Question, keep: Keep | None = None, *, timeout_s: float | None = None
    ) -> Answer:
        """Queue ``question`` and return the first answer. See ``Client``.

        ``timeout_s`` limits each HTTP request further than the endpoint's own deadline does.
        """
        if self._closed:
            raise RuntimeError("the pool is closed")
        line = self._line_for(question.model)
        job = _Job(
            question=question,
            keep=keep,
            timeout_s=timeout_s,
            answer=asyncio.get_running_loop().create_future(),
            line=line,
        )
        for budget in (self._retries, self._copies):
            budget.earn()
        line.join(job, monotonic())
        self._poke()
        try:
            return await job.answer
        finally:
            line.leave(job)
            self._over(job)

    async def model_name(self) -> str:
        """The configured model, else what the first endpoint that answers offers; another, if that alone has answered so far.

        Raises ``NoEndpointError`` when none offers any.
        """
        causes = []
        for member in sorted(self._members, key=lambda member: member.is_fallback):
            if self._identity.asked:
                break
            try:
                self._identity.asked = await self._clients[member].model_name()
            except ClientError as error:
                causes.append(error)
        if not self._identity.asked:
            raise NoEndpointError("No endpoint tells which model it has", causes)
        return self._identity.answering

    async def aclose(self) -> None:
        """Ends what is under way and closes every connection. Questions still waiting fail with ``RuntimeError``."""
        self._closed = True
        if self._wake is not None:
            self._wake.cancel()
        for line in self._patience:
            for job in line.clear():
                _resolve(job, RuntimeError("the pool was closed"))
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._keeper.aclose()  # last: a request that failed just now may have set off a probe
        for client in self._clients.values():
            await client.aclose()
        for server in self._servers.values():
            server.leave(self._poke)

    def stats(self) -> Mapping[str, EndpointStats]:
        """What each endpoint did so far, by its name."""
        return {member.label: member.stats(monotonic()) for member in self._members}

    def _line_for(self, model: str) -> RequestQueue[_Job]:
        if model and model not in self._bound:
            offered = ", ".join(self._bound) or "none by name"
            message = f"no endpoint has the model_id {model!r}; there are: {offered}"
            raise NoEndpointError("No endpoint is left to ask", [WrongModelError(message)])
        return self._bound[model] if model else self._any

    # Handing out: _pump runs whenever a question comes, a slot comes free, an endpoint changes its state, or time is up.

    def _poke(self) -> None:
        """Something changed: ``_pump`` runs soon, once for everything that changes now."""
        if not self._poked:
            self._poked = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._poked = False
        if self._closed:
            return
        now = monotonic()
        free = [member for member in self._members if self._has_slot(member, now)]
        for member in ranked(free, reference_s(self._members)):
            while self._has_slot(member, now) and (job := self._next_for(member, now)):
                self._start(job, member, now)
        idle = [member for member in free if self._has_slot(member, now)]
        times = [*self._copy(idle, now), *self._wait(idle, now)]
        times += [at for server in self._addresses for at in server.changes_at()]
        self._set_timer(min((at for at in times if at > now), default=None), now)

    def _has_slot(self, member: Member, now: float) -> bool:
        if self._most_at_once is not None and len(self._tasks) >= self._most_at_once:
            return False
        return member.has_slot(now) and self._servers[member].has_slot(now)

    def _next_for(self, member: Member, now: float) -> _Job | None:
        lines = (line for line in self._patience if len(line) and member in line.members)
        return next((job for line in lines if (job := line.next_for(member, now))), None)

    def _start(self, job: _Job, member: Member, now: float) -> None:
        alone = all(other.health.broken for other in self._members if other is not member)
        deadline_s = member.health.deadline_s(self._request_timeout_s, alone)
        deadline_s = min(deadline_s, job.timeout_s or deadline_s)
        attempt = job.line.begin(job, member, now)
        self._servers[member].took(self._poke)
        task = asyncio.get_running_loop().create_task(self._asked(job, member, deadline_s))
        self._tasks[attempt] = task
        task.add_done_callback(partial(self._ended, job, attempt))

    async def _asked(self, job: _Job, member: Member, deadline_s: float) -> Answer:
        client = self._clients[member]
        answer = await client.ask(job.question, timeout_s=deadline_s)
        if not member.model:
            answer = self._identity.chosen(answer, client.told_model)
        # Before it is stored: the name it is stored under depends on what answered so far.
        self._identity.note(answer)
        if job.keep is not None:
            await keep_answer(job.keep, answer)
        return answer

    def _copy(self, idle: Sequence[Member], now: float) -> Iterator[float]:
        """Where no question waits, asks idle endpoints what others are late with. Gives the times to look again."""
        for line in self._patience:
            while idle and self._copies.left(now) >= 1:
                copy = line.next_copy(idle, now)
                if copy is None:
                    break
                if copy.at > now:
                    yield copy.at
                    break
                _log.debug(
                    "%s repeats a question that %s is late with",
                    copy.member.label,
                    copy.attempt.member.label,
                )
                self._copies.take(now)
                copy.member.copies += 1
                self._start(copy.attempt.turn, copy.member, now)
                idle = [member for member in idle if self._has_slot(member, now)]

    def _wait(self, idle: Sequence[Member], now: float) -> Iterator[float]:
        """Says how long questions will wait for an endpoint, and ends that. Gives the times to look again."""
        for line, patience in self._patience.items():
            patience.look(now)
            if not len(line):
                continue
            left_s = patience.left_s(now)
            if left_s is not None:
                _log.info(
                    "Waiting for endpoints with %d questions, giving up in %.0f s.",
                    len(line),
                    left_s,
                )
            if patience.ended:
                causes = [
                    member.health.cause
                    for member in line.members
                    if member.health.cause is not None
                ]
                for job in line.clear():
                    _resolve(job, NoEndpointError("No endpoint is left to ask", causes))
            yield from (*line.changes_at(), *patience.changes_at())
            if any(member in line.members for member in idle):
                yield (
                    now + _LOOK_AGAIN_S
                )  # an endpoint that left a question to a faster one does not do so for ever

    def _set_timer(self, due: float | None, now: float) -> None:
        if self._wake is not None:
            self._wake.cancel()
        self._wake = (
            None
            if due is None
            else asyncio.get_running_loop().call_later(due - now + 0.001, self._pump)
        )

    # Coming back: every way for a request to end leads through _ended, which frees the slot.

    def _ended(self, job: _Job, attempt: InFlight[_Job], task: asyncio.Task[Answer]) -> None:
        member, now = attempt.member, monotonic()
        before, seconds = member.health.state, now - attempt.begun
        del self._tasks[attempt]
        error = None if task.cancelled() else task.exception()
        if task.cancelled():
            member.abandoned(seconds, reference_s(self._members), now)
        elif error is None:
            member.answered(task.result(), seconds, now)
            _resolve(job, task.result())
        elif isinstance(error, ClientError):
            member.refused(error, now)
        else:
            _resolve(job, error)
        job.line.end(attempt)
        if isinstance(error, ClientError):
            self._settle(job, member, error, now)
        elif error is None and not task.cancelled():
            self._blame(job, member, now)
        if self._closed:
            _resolve(job, RuntimeError("the pool was closed"))
        if job.over:
            self._over(job)
        self._keeper.note(member, before)
        self._servers[member].freed(self._poke)
        self._poke()

    def _settle(self, job: _Job, member: Member, error: ClientError, now: float) -> None:
        """What an error means for the question: an end, another try, or nothing."""
        job.failed(member, error)
        if job.over or job.attempts:
            return  # nobody waits for it any more, or a copy may still be answered
        another = job.line.has_another(job)
        end = job.end(error, another)
        if end is not None:
            _resolve(job, end)
            return
        job.not_before = now + job.breath_s(error, another)
        if not isinstance(
            error, EndpointError
        ):  # a broken endpoint is not asked again, so that cannot happen too often
            self._retries.take(now)
            job.not_before += self._retries.pause_s(now)
        job.line.rejoin(job)

    def _blame(self, job: _Job, member: Member, now: float) -> None:
        """``member`` answered it: whoever refused it before is at fault."""
        for other, error in job.refusals(but=member):
            before = other.health.state
            other.health.contradicted(error, now)
            self._keeper.note(other, before)

    def _learn(self, member: Member) -> None:
        """The endpoint told of itself; it may take more at once than was known."""
        client = self._clients[member]
        member.told = client.capabilities
        member.slots.offer(client.slots)
        if not self._closed:
            self._poke()

    def _over(self, job: _Job) -> None:
        """Nobody waits for it any more."""
        job.over = True
        for attempt in job.attempts:
            self._tasks[attempt].cancel()


def _member(config: EndpointConfig, client: OpenAIClient, label: str, model_name: str) -> Member:
    slots = AutoSlots() if config.max_concurrent == "auto" else FixedSlots()
    slots.offer(client.slots)
    return Member(label, config.weight, config.is_fallback, config.model_id or model_name, slots)


def _resolve(job: _Job, outcome: Answer | BaseException) -> None:
    job.over = True
    if job.answer.done():
        return
    if isinstance(outcome, BaseException):
        job.answer.set_exception(outcome)
    else:
        job.answer.set_result(outcome)
