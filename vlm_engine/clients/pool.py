"""Many endpoints as one client: an endpoint with a free slot pulls the next question, so the fast ones get more.

No endpoint is chosen for a question before it has a free slot. What an error means for the question
and for the endpoint is decided in ``_settle``; what is thought of an endpoint is in ``breaker``.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

from vlm_engine.clients.breaker import Health, State, probe_delay_s
from vlm_engine.clients.openai import OpenAIClient
from vlm_engine.config_models import EndpointConfig, ModelConfig
from vlm_engine.errors import (
    BusyError,
    ClientError,
    ConfigError,
    NoEndpointError,
    ReplyError,
    RequestError,
    ServerError,
    UnreachableError,
)
from vlm_engine.types import Answer, Question

TRIES = 3
BOUNCES = 6
QUEUE_PER_SLOT = 4
PATIENCE_S = 20.0
FIRST_PATIENCE_S = 3.0
_log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Member:
    """An endpoint of the pool."""

    client: OpenAIClient
    label: str
    weight: float
    is_fallback: bool
    health: Health = field(default_factory=Health)
    in_flight: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0

    def has_slot(self, now: float) -> bool:
        return self.in_flight < self.health.limit(self.client.slots, now)


@dataclass(eq=False)
class _Job:
    """A question on its way to an answer. ``tries`` counts what may be its own fault, ``bounces`` every failure but "busy"."""

    question: Question
    answer: asyncio.Future[Answer]
    tried: set[_Member] = field(default_factory=set)
    tries: int = 0
    bounces: int = 0
    not_before: float = 0.0
    task: asyncio.Task[Answer] | None = None


class EndpointPool:
    """A ``Client`` over several endpoints.

    Primary endpoints share the work by speed; fallback endpoints work only while no primary does. While
    every endpoint is out of reach, questions wait up to ``patience_s`` (by default 20 s, or 3 s when
    nothing was ever answered) for one to come back.
    """

    def __init__(
        self,
        clients: Sequence[tuple[EndpointConfig, OpenAIClient]],
        *,
        request_timeout_s: float = 120.0,
        most_at_once: int | None = None,
        patience_s: float | None = None,
        model_name: str = "",
    ) -> None:
        labels = _unique([client.label for _, client in clients])
        self._members = [
            _Member(client, label, config.weight, config.is_fallback)
            for (config, client), label in zip(clients, labels, strict=True)
        ]
        self._request_timeout_s = request_timeout_s
        self._patience_s = patience_s
        self._model_name = model_name
        self._most_at_once = most_at_once
        self._queue: deque[_Job] = deque()
        self._room = asyncio.Semaphore(QUEUE_PER_SLOT * self.slots)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._wake: asyncio.TimerHandle | None = None
        self._stuck_since: float | None = None
        self._given_up = False
        self._closed = False

    @classmethod
    def from_config(cls, model: ModelConfig, *, patience_s: float | None = None) -> Self:
        """The pool that the settings of ``model`` ask for. Raises ``ConfigError`` when they name no endpoint."""
        endpoints = model.endpoints()
        if not endpoints:
            raise ConfigError(
                "no endpoint is set: set ENDPOINTS (or api_base_url, or multiplexer_endpoints, of the model) "
                "to the address of a server with a vision model, such as http://localhost:1234/v1"
            )
        clients = [(endpoint, OpenAIClient(endpoint, model)) for endpoint in endpoints]
        return cls(
            clients,
            request_timeout_s=model.request_timeout,
            most_at_once=model.max_concurrent_requests,
            patience_s=patience_s,
            model_name=model.model_id,
        )

    @property
    def slots(self) -> int:
        """How many questions the primary endpoints take at once."""
        primaries = [member for member in self._members if not member.is_fallback] or self._members
        slots = sum(member.client.slots for member in primaries)
        return min(slots, self._most_at_once or slots)

    async def ask(self, question: Question) -> Answer:
        """The answer of whichever endpoint came to it. Waits while the queue is full. Errors as ``Client`` says."""
        async with self._room:
            if self._closed:
                raise RuntimeError("the pool is closed")
            if self._given_up:
                raise self._no_endpoint()
            job = _Job(question, asyncio.get_running_loop().create_future())
            self._queue.append(job)
            self._pump()
            try:
                return await job.answer
            finally:
                self._forget(job)

    async def model_name(self) -> str:
        """The configured model, else what the first endpoint that answers offers. Raises ``NoEndpointError`` when none does."""
        causes = []
        for member in sorted(self._members, key=lambda member: member.is_fallback):
            if self._model_name:
                break
            try:
                self._model_name = await member.client.model_name()
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
        for job in self._queue:
            _resolve(job, RuntimeError("the pool was closed"))
        self._queue.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for member in self._members:
            await member.client.aclose()

    def stats(self) -> dict[str, dict[str, Any]]:
        """What each endpoint did, by its name: for a closing line, a log, a test."""
        return {
            member.label: {
                "state": member.health.state.value,
                "served": member.health.answered,
                "failed": dict(member.health.failed),
                "in_flight": member.in_flight,
                "seconds": member.health.seconds,
                "prompt_tokens": member.prompt_tokens,
                "answer_tokens": member.answer_tokens,
            }
            for member in self._members
        }

    # Handing out: _pump runs whenever a question arrives, a slot comes free or an endpoint changes its state.

    def _pump(self) -> None:
        if self._closed:
            return
        now = _now()
        for member in self._by_speed():
            while member.has_slot(now) and self._has_room() and (job := self._next_job(member, now)):
                self._start(member, job, now)
        self._watch(now)

    def _by_speed(self) -> list[_Member]:
        """The endpoints that may pull, the fastest first."""
        primaries = [member for member in self._members if not member.is_fallback]
        standing_in = all(member.health.broken for member in primaries)
        pulling = [member for member in self._members if standing_in or not member.is_fallback]
        measured = [member.health.seconds for member in pulling if member.health.seconds is not None]
        reference_s = min(measured, default=1.0)
        # A primary on trial goes before a fallback, however slow it was.
        return sorted(pulling, key=lambda member: (member.is_fallback, member.health.expected_s(member.weight, reference_s)))

    def _has_room(self) -> bool:
        return self._most_at_once is None or sum(member.in_flight for member in self._members) < self._most_at_once

    def _next_job(self, member: _Member, now: float) -> _Job | None:
        """The first question that ``member`` may have: one it failed before only when every working endpoint did."""
        usable = {other for other in self._by_speed() if other.health.limit(1, now)}
        for job in self._queue:
            if job.not_before <= now and (member not in job.tried or usable <= job.tried):
                return job
        return None

    def _start(self, member: _Member, job: _Job, now: float) -> None:
        self._queue.remove(job)
        alone = all(other.health.broken for other in self._members if other is not member)
        deadline_s = member.health.deadline_s(self._request_timeout_s, alone)
        job.task = self._spawn(member.client.ask(job.question, timeout_s=deadline_s))
        member.in_flight += 1
        job.task.add_done_callback(partial(self._ended, member, job, now))

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # Coming back: every way for a request to end leads through _ended, which frees the slot.

    def _ended(self, member: _Member, job: _Job, started: float, task: asyncio.Task[Answer]) -> None:
        member.in_flight -= 1
        job.task = None
        before = member.health.state
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or self._closed:
            _resolve(job, RuntimeError("the pool was closed"))
        elif error is None:
            self._answered(member, job, task.result(), _now() - started)
        elif isinstance(error, ClientError):
            member.health.refused(error, _now())
            self._settle(member, job, error)
        else:
            _resolve(job, error)
        self._announce(member, before)
        self._pump()

    def _answered(self, member: _Member, job: _Job, answer: Answer, seconds: float) -> None:
        member.health.succeeded(seconds)
        member.prompt_tokens += answer.prompt_tokens
        member.answer_tokens += answer.answer_tokens
        _resolve(job, answer)

    def _settle(self, member: _Member, job: _Job, error: ClientError) -> None:
        """What an error means for the question: an end, another try, or nothing."""
        if job.answer.done():
            return  # nobody waits for it any more
        if not isinstance(error, BusyError):
            job.bounces += 1
        if isinstance(error, ServerError | ReplyError):
            job.tries += 1
            job.tried.add(member)
        another = any(not other.health.broken and other not in job.tried for other in self._by_speed())
        if isinstance(error, RequestError) or job.tries >= TRIES or (isinstance(error, ReplyError) and not another):
            _resolve(job, error)
        elif job.bounces >= BOUNCES:
            # A question that brings down whatever it is put to must not go round for ever.
            last = ServerError(f"every attempt failed, the last with: {error.args[0]}", endpoint=member.label)
            last.__cause__ = error
            _resolve(job, last)
        else:
            # A breath before it goes back to an endpoint that failed it; none where another can take it.
            pause_s = 0.0 if another else 0.25 * 2**job.tries
            job.not_before = _now() + (pause_s if isinstance(error, ServerError) else 0.0)
            self._queue.appendleft(job)

    def _forget(self, job: _Job) -> None:
        """Nobody waits for it any more."""
        if job.task is not None:
            job.task.cancel()
        if job in self._queue:
            self._queue.remove(job)

    # Broken endpoints: probed until one answers, and waited for as long as patience lasts.

    def _announce(self, member: _Member, before: State) -> None:
        health = member.health
        if health.state is before:
            return
        if health.cause is not None and (before is State.CLOSED or health.state is State.DEAD):
            fate = "is given up" if health.state is State.DEAD else "does not work for now"
            _log.warning("endpoint %s %s: %s", member.label, fate, health.cause.args[0])
        elif health.state is State.CLOSED:
            _log.warning("endpoint %s works again", member.label)
        if health.state is State.OPEN:
            self._spawn(self._probe(member))
        elif health.state is State.CLOSED:
            self._stuck_since, self._given_up = None, False

    async def _probe(self, member: _Member) -> None:
        while member.health.state is State.OPEN:
            await asyncio.sleep(probe_delay_s(member.health.probes))
            member.health.probes += 1
            try:
                await member.client.check()
            except (UnreachableError, ServerError, BusyError) as error:
                _log.debug("endpoint %s is still out: %s", member.label, error)
                continue
            except ClientError as error:
                _log.debug("endpoint %s answers again, if only: %s", member.label, error)
            member.health.on_trial()
            self._given_up = False
            self._pump()

    def _watch(self, now: float) -> None:
        """Gives up when it is time to, and sees to it that ``_pump`` runs when there will be something to do."""
        states = {member.health.state for member in self._members}
        if State.CLOSED not in states and self._stuck_since is None:
            self._stuck_since = now
        times = [member.health.paused_until for member in self._members] + [job.not_before for job in self._queue]
        if self._stuck_since is not None and not any(member.in_flight for member in self._members):
            give_up_at = now if states == {State.DEAD} else self._stuck_since + self._patience()
            if now >= give_up_at and State.HALF_OPEN not in states:
                self._give_up()
            times.append(give_up_at)
        if self._wake is not None:
            self._wake.cancel()
        due = min((time for time in times if time > now), default=None)
        self._wake = None if due is None else asyncio.get_running_loop().call_later(due - now + 0.001, self._pump)

    def _patience(self) -> float:
        if self._patience_s is not None:
            return self._patience_s
        return PATIENCE_S if any(member.health.answered for member in self._members) else FIRST_PATIENCE_S

    def _give_up(self) -> None:
        self._given_up = True
        for job in self._queue:
            _resolve(job, self._no_endpoint())
        self._queue.clear()

    def _no_endpoint(self) -> NoEndpointError:
        causes = [member.health.cause for member in self._members]
        return NoEndpointError("No endpoint is left to ask", [cause for cause in causes if cause is not None])


def _now() -> float:
    return asyncio.get_running_loop().time()


def _resolve(job: _Job, outcome: Answer | BaseException) -> None:
    if job.answer.done():
        return
    if isinstance(outcome, BaseException):
        job.answer.set_exception(outcome)
    else:
        job.answer.set_result(outcome)


def _unique(labels: Sequence[str]) -> Iterator[str]:
    """Labels that tell endpoints apart: the second "name" becomes "name (2)"."""
    seen: dict[str, int] = {}
    for label in labels:
        seen[label] = seen.get(label, 0) + 1
        yield label if seen[label] == 1 else f"{label} ({seen[label]})"
