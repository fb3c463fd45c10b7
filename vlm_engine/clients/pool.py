"""Many endpoints as one client: an endpoint with a free slot pulls the next question, so the fast ones get more.

No endpoint is chosen for a question before it has a slot free. Here is what moves: requests, timers, log lines. What to do
is decided elsewhere, without I/O and without a clock: ``breaker`` (is an endpoint asked), ``slots`` (how much at once),
``line`` and ``pulling`` (who takes which question, what is asked again or twice), ``budget``, ``patience``.

A question waits in the arms of whoever asks it: the pool holds no copy of its picture, and encodes it when it is sent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Any, Self, TypeVar

from vlm_engine.clients.breaker import State, probe_delay_s
from vlm_engine.clients.budget import Budget
from vlm_engine.clients.line import Line, Turn
from vlm_engine.clients.member import Member
from vlm_engine.clients.openai import OpenAIClient
from vlm_engine.clients.patience import Patience
from vlm_engine.clients.pulling import copy_at, ranked, reference_s, rest_s
from vlm_engine.clients.slots import AutoSlots, FixedSlots
from vlm_engine.config_models import EndpointConfig, ModelConfig
from vlm_engine.errors import (
    BusyError,
    ClientError,
    ConfigError,
    EndpointError,
    NoEndpointError,
    RequestError,
    ServerError,
    UnreachableError,
    WrongModelError,
)
from vlm_engine.types import Answer, EndpointStats, Question

_T = TypeVar("_T")
_LOOK_AGAIN_S = 0.25
_log = logging.getLogger(__name__)


@dataclass(eq=False, kw_only=True)
class _Job(Turn):
    """A question, who waits for its answer, and the attempts under way: one, or two of which the first answer counts."""

    question: Question
    answer: asyncio.Future[Answer]
    line: Line[_Job]
    attempts: list[_Attempt] = field(default_factory=list)


@dataclass(eq=False)
class _Attempt:
    """A question at an endpoint, since ``begun``."""

    job: _Job
    member: Member
    begun: float
    task: asyncio.Task[Answer]


class EndpointPool:
    """A ``Client`` over several endpoints.

    Primary endpoints share the work by speed; fallback endpoints work while no primary does, and where
    ``fallback_wait_s`` is set also when a question would wait longer than that. While every endpoint is out of reach,
    questions wait up to ``patience_s`` (3 s when nothing was ever answered) for one to come back.
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
    ) -> None:
        labels = _unique([client.label for _, client in clients])
        self._clients = {
            _member(config, client, label, model_name): client for (config, client), label in zip(clients, labels, strict=True)
        }
        self._members = tuple(self._clients)
        self._request_timeout_s = request_timeout_s
        self._model_name = model_name
        self._most_at_once = most_at_once
        # Questions bound to one model come first: fewer endpoints can take them.
        self._lines = {model: Line[_Job](members, fallback_wait_s) for model, members in _by_model(self._members).items()}
        self._patience = {line: Patience(line.members, patience_s) for line in self._lines.values()}
        self._retries = Budget(0.2, per_s=1.0, reserve=10.0)
        self._copies = Budget(0.1, reserve=1.0)
        self._attempts: dict[_Attempt, None] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._wake: asyncio.TimerHandle | None = None
        self._closed = False

    @classmethod
    def from_config(cls, model: ModelConfig) -> Self:
        """The pool that the settings of ``model`` ask for. Raises ``ConfigError`` when they name no endpoint."""
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
            fallback_wait_s=model.fallback_wait,
            model_name=model.model_id,
        )

    @property
    def slots(self) -> int:
        """How many questions the primary endpoints take at once, as far as is known now."""
        primaries = [member for member in self._members if not member.is_fallback] or self._members
        slots = sum(member.slots.limit for member in primaries)
        return min(slots, self._most_at_once or slots)

    async def ask(self, question: Question) -> Answer:
        """The answer of whichever endpoint came to it. Waits for its turn. Errors as ``Client`` says."""
        if self._closed:
            raise RuntimeError("the pool is closed")
        line = self._lines.get(question.model)
        if line is None:
            known = ", ".join(model for model in self._lines if model) or "none by name"
            cause = WrongModelError(f"no endpoint has the model_id {question.model!r}; there are: {known}")
            raise NoEndpointError("No endpoint is left to ask", [cause])
        job = _Job(question=question, answer=asyncio.get_running_loop().create_future(), line=line)
        for budget in (self._retries, self._copies):
            budget.earn()
        line.join(job, monotonic())
        self._pump()
        try:
            return await job.answer
        finally:
            line.leave(job)
            _cancel(job)

    async def model_name(self) -> str:
        """The configured model, else what the first endpoint that answers offers. Raises ``NoEndpointError`` when none does."""
        causes = []
        for member in sorted(self._members, key=lambda member: member.is_fallback):
            if self._model_name:
                break
            try:
                self._model_name = await self._clients[member].model_name()
            except ClientError as error:
                causes.append(error)
        if not self._model_name:
            raise NoEndpointError("No endpoint tells which model it has", causes)
        return self._model_name

    async def aclose(self) -> None:
        """Ends what is under way and closes every connection. Questions still waiting fail with ``RuntimeError``."""
        self._closed = True
        if self._wake is not None:
            self._wake.cancel()
        for line in self._lines.values():
            for job in line.clear():
                _resolve(job, RuntimeError("the pool was closed"))
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for client in self._clients.values():
            await client.aclose()

    def stats(self) -> Mapping[str, EndpointStats]:
        """What each endpoint did so far, by its name."""
        return {member.label: member.stats(monotonic()) for member in self._members}

    # Handing out: _pump runs whenever a question comes, a slot comes free, an endpoint changes its state, or time is up.

    def _pump(self) -> None:
        if self._closed:
            return
        now = monotonic()
        for member in ranked(self._members):
            while self._has_slot(member, now) and (job := self._next_for(member, now)):
                self._start(member, job, now)
        copies_due = self._copy(now)
        self._lose_patience(now)
        self._set_timer(now, copies_due)

    def _has_slot(self, member: Member, now: float) -> bool:
        return member.has_slot(now) and (self._most_at_once is None or len(self._attempts) < self._most_at_once)

    def _next_for(self, member: Member, now: float) -> _Job | None:
        own = (line for line in self._lines.values() if member in line.members)
        return next((job for line in own if (job := line.next_for(member, now))), None)

    def _start(self, member: Member, job: _Job, now: float) -> None:
        job.line.leave(job)
        self._discover_once(member)
        alone = all(other.health.broken for other in self._members if other is not member)
        deadline_s = member.health.deadline_s(self._request_timeout_s, alone)
        task = self._spawn(self._clients[member].ask(job.question, timeout_s=deadline_s))
        attempt = _Attempt(job, member, now, task)
        job.attempts.append(attempt)
        self._attempts[attempt] = None
        member.begin(now)
        task.add_done_callback(partial(self._ended, attempt))

    def _copy(self, now: float) -> list[float]:
        """Where no question waits, asks idle endpoints what others are late with. Returns when to look again."""
        reference, due = reference_s(self._members), list[float]()
        idle = [member for member in ranked(self._members) if self._has_slot(member, now)]
        if not idle or self._copies.left(now) < 1:
            return due
        for attempt in sorted(self._attempts, key=lambda one: -rest_s(one.member, one.begun, reference, now)):
            if len(attempt.job.attempts) > 1 or attempt.job.line:
                continue
            crew = attempt.job.line.crew(now)
            for member in (member for member in idle if member in crew and member not in attempt.job.tried):
                at = copy_at(member, attempt.member, attempt.begun, crew, now)
                if at is not None and at <= now and self._copies.left(now) >= 1 and self._has_slot(member, now):
                    _log.debug("%s repeats a question that %s is late with", member.label, attempt.member.label)
                    self._copies.take(now)
                    member.copies += 1
                    self._start(member, attempt.job, now)
                    break
                due += [] if at is None else [at]
        return due

    def _discover_once(self, member: Member) -> None:
        if not member.discovered:
            member.discovered = True
            self._spawn(self._discover(member))

    async def _discover(self, member: Member) -> None:
        client = self._clients[member]
        try:
            told = await client.discover()
        except ClientError as error:
            _log.debug("endpoint %s tells nothing of itself: %s", member.label, error)
            return
        member.finishes_abandoned = told.finishes_abandoned
        member.slots.offer(client.slots)
        self._pump()

    def _spawn(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # Coming back: every way for a request to end leads through _ended, which frees the slot.

    def _ended(self, attempt: _Attempt, task: asyncio.Task[Answer]) -> None:
        job, member, now = attempt.job, attempt.member, monotonic()
        del self._attempts[attempt]
        job.attempts.remove(attempt)
        before, seconds = member.health.state, now - attempt.begun
        error = None if task.cancelled() else task.exception()
        if task.cancelled():
            member.abandoned(seconds, reference_s(self._members), now)
        elif error is None:
            member.answered(task.result(), seconds, now)
            _resolve(job, task.result())
            _cancel(job)
        elif isinstance(error, ClientError):
            member.refused(error, now)
            self._settle(job, member, error, now)
        else:
            _resolve(job, error)
        member.end(attempt.begun)
        if self._closed:
            _resolve(job, RuntimeError("the pool was closed"))
        self._announce(member, before)
        self._pump()

    def _settle(self, job: _Job, member: Member, error: ClientError, now: float) -> None:
        """What an error means for the question: an end, another try, or nothing."""
        job.failed(member, error)
        if job.answer.done() or (job.attempts and not isinstance(error, RequestError)):
            return  # nobody waits for it any more, or a copy may still be answered
        another = job.line.has_another(job, now)
        end = job.end(error, another)
        if end is not None:
            _resolve(job, end)
            _cancel(job)
            return
        job.not_before = now + job.breath_s(error, another)
        if not isinstance(error, EndpointError):  # a broken endpoint is not asked again, so nothing can come of that too often
            self._retries.take(now)
            job.not_before += self._retries.pause_s(now)
        job.line.rejoin(job)

    # Broken endpoints: probed until one answers, and waited for as long as patience lasts.

    def _announce(self, member: Member, before: State) -> None:
        health = member.health
        if health.state is before:
            return
        if health.cause is not None and (before is State.CLOSED or health.state is State.DEAD):
            fate = "is given up" if health.state is State.DEAD else "does not work for now"
            _log.warning("endpoint %s %s: %s", member.label, fate, health.cause.args[0])
        elif health.state is State.CLOSED:
            _log.warning("endpoint %s works again", member.label)
        if health.state is State.OPEN:
            member.discovered = False  # it may come back as another
            self._spawn(self._probe(member))

    async def _probe(self, member: Member) -> None:
        while member.health.state is State.OPEN:
            await asyncio.sleep(probe_delay_s(member.health.probes))
            member.health.probes += 1
            try:
                await self._clients[member].check()
            except (UnreachableError, ServerError, BusyError) as error:
                _log.debug("endpoint %s is still out: %s", member.label, error)
                continue
            except ClientError as error:
                _log.debug("endpoint %s answers again, if only: %s", member.label, error)
            member.health.on_trial()
            self._pump()

    def _lose_patience(self, now: float) -> None:
        for line, patience in self._patience.items():
            patience.look(now)
            left_s = patience.left_s(now) if line else None
            if left_s is not None:
                _log.info("Waiting for endpoints with %d questions, giving up in %.0f s.", len(line), left_s)
            if patience.ended:
                causes = [member.health.cause for member in line.members if member.health.cause is not None]
                for job in line.clear():
                    _resolve(job, NoEndpointError("No endpoint is left to ask", causes))

    def _set_timer(self, now: float, copies_due: Sequence[float]) -> None:
        """Sees to it that ``_pump`` runs when there will be something to do."""
        times = [*copies_due, *(at for member in self._members for at in member.changes_at())]
        for line, patience in self._patience.items():
            if line:
                times += [*line.changes_at(), *patience.changes_at()]
                # An endpoint that left a question to a faster one does not do so for ever.
                times += [now + _LOOK_AGAIN_S] if any(self._has_slot(member, now) for member in line.members) else []
        if self._wake is not None:
            self._wake.cancel()
        due = min((at for at in times if at > now), default=None)
        self._wake = None if due is None else asyncio.get_running_loop().call_later(due - now + 0.001, self._pump)


def _member(config: EndpointConfig, client: OpenAIClient, label: str, model_name: str) -> Member:
    slots = AutoSlots() if config.max_concurrent == "auto" else FixedSlots()
    slots.offer(client.slots)
    return Member(label, config.weight, config.is_fallback, config.model_id or model_name, slots)


def _by_model(members: Sequence[Member]) -> dict[str, list[Member]]:
    """Who serves which model, by the name it has there; "" is any, and comes last."""
    named = dict.fromkeys(member.model for member in members if member.model)
    return {model: [member for member in members if member.model == model] for model in named} | {"": list(members)}


def _resolve(job: _Job, outcome: Answer | BaseException) -> None:
    if job.answer.done():
        return
    if isinstance(outcome, BaseException):
        job.answer.set_exception(outcome)
    else:
        job.answer.set_result(outcome)


def _cancel(job: _Job) -> None:
    for attempt in job.attempts:
        attempt.task.cancel()


def _unique(labels: Sequence[str]) -> Iterator[str]:
    """Labels that tell endpoints apart: the second "name" becomes "name (2)"."""
    seen: dict[str, int] = {}
    for label in labels:
        seen[label] = seen.get(label, 0) + 1
        yield label if seen[label] == 1 else f"{label} ({seen[label]})"
