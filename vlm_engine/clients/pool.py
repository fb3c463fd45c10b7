"""Many endpoints as one client: an endpoint with a free slot pulls the next question.

So fast endpoints get more, and no endpoint is chosen before it has a slot free. This module does
the I/O: it starts requests, takes their outcomes and sets one timer. What to do is decided without
I/O and without a clock in ``health`` (is an endpoint asked), ``member`` (how much at once),
``scheduling`` (which endpoint gets which question, what is asked twice) and ``retry`` (what a
failure means for a question).

The pool holds no copy of a picture; a question is encoded when it is sent.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

from vlm_engine.clients.base import Client, Keep, keep_answer
from vlm_engine.clients.health import Health, HealthMonitor
from vlm_engine.clients.member import (
    AutoSlots,
    Member,
    ModelIdentity,
    Screened,
    Server,
    Servers,
    Share,
    Slots,
    unique,
)
from vlm_engine.clients.openai import OpenAIClient
from vlm_engine.clients.pricing import PriceLearner, mean_cost
from vlm_engine.clients.retry import REFUSALS, RetryPolicy
from vlm_engine.clients.scheduling import (
    InFlight,
    Patience,
    PendingQuestion,
    RequestQueue,
    ranked,
    reference_s,
)
from vlm_engine.config.models import EndpointConfig, ModelConfig
from vlm_engine.errors import (
    ClientError,
    ConfigError,
    EndpointError,
    NoEndpointError,
    WrongModelError,
)
from vlm_engine.tasks import cancel
from vlm_engine.types import Answer, EndpointStats, Question, QuestionCost

Screen = Callable[[EndpointConfig, float], Awaitable[Screened]]
"""Tests an endpoint within a number of seconds. Raises no ``VLMEngineError``."""
_DEFERRED_AGAIN_S = 0.25
_ALWAYS_WANTED, _CHOICE = 16, 4
"""Of servers that it shares, a pool wants slots of so many, and of more until these have so many
times the slots that it needs: a thousand servers do not have to know each process.
"""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Endpoint:
    config: EndpointConfig
    client: OpenAIClient
    server: Server
    monitor: HealthMonitor


class EndpointPool(Client):
    """A ``Client`` over several endpoints, for the tasks of one event loop.

    Primary endpoints share the work by speed. Fallback endpoints work while no primary does, and,
    if ``fallback_wait_s`` is set, when a question would wait longer than that. ``retry`` limits
    how often a question is asked again and how long it waits while no endpoint works.
    ``max_in_flight`` limits the requests to all endpoints together; ``share`` is what this process
    may have of these. A question with a ``model``
    goes only to endpoints with that ``model_id``. ``screen`` tests each endpoint before it gets its
    first question; the others take the questions meanwhile.
    """

    def __init__(  # noqa: PLR0913 - what it shares with others, each apart
        self,
        clients: Sequence[tuple[EndpointConfig, OpenAIClient]],
        *,
        request_timeout_s: float = 120.0,
        max_in_flight: int | None = None,
        retry: RetryPolicy | None = None,
        fallback_wait_s: float | None = None,
        model_name: str = "",
        servers: Servers | None = None,
        screen: Screen | None = None,
        share: Share | None = None,
    ) -> None:
        self._retry = retry or RetryPolicy()
        self._now = self._retry.clock
        self._request_timeout_s = request_timeout_s
        self._identity = ModelIdentity(model_name)
        self._max_in_flight = max_in_flight
        self._share = share
        self._endpoints: dict[Member, _Endpoint] = {}
        servers = servers or Servers()
        labels = unique([client.label for _, client in clients])
        for (config, client), label in zip(clients, labels, strict=True):
            self._add_endpoint(config, client, label, servers.at(client.url))
        self._members = tuple(self._endpoints)
        self._servers = tuple(dict.fromkeys(each.server for each in self._endpoints.values()))
        shared = list(self._servers) if servers.shares else []
        random.shuffle(shared)  # each process prefers others
        self._shared = {
            server: {one for one, each in self._endpoints.items() if each.server is server}
            for server in shared
        }
        self._any_model = RequestQueue(self._members, fallback_wait_s)
        self._by_model = {
            model: self._any_model
            if all(member.model == model for member in self._members)
            else RequestQueue(
                [member for member in self._members if member.model == model], fallback_wait_s
            )
            for model in dict.fromkeys(member.model for member in self._members if member.model)
        }
        # Questions for one model come first: fewer endpoints can take them.
        self._patience = {
            queue: Patience(queue.members, self._retry)
            for queue in (*self._by_model.values(), self._any_model)
        }
        self._retries = self._retry.retry_budget()
        self._copies = self._retry.copy_budget()
        self._tasks: dict[InFlight, asyncio.Task[Answer]] = {}
        self._screen = screen
        self._screenings: dict[Member, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._is_woken = False
        self._closed = False
        if share is not None:
            share.follow(lambda _: self._wake())

    def _add_endpoint(
        self, config: EndpointConfig, client: OpenAIClient, label: str, server: Server
    ) -> None:
        slots = AutoSlots() if config.max_concurrent == "auto" else Slots()
        slots.offer(client.slots)
        member = Member(
            label,
            config.weight,
            config.is_fallback,
            config.model_id or self._identity.requested,
            slots,
            Health(self._retry),
        )
        client.prices = member.prices = PriceLearner(server.time)
        monitor = HealthMonitor(label, member.health, client.check, self._wake)
        self._endpoints[member] = _Endpoint(config, client, server, monitor)
        client.on_discovery = partial(self._on_discovery, member)
        server.join(self._wake, member)

    @classmethod
    def from_config(
        cls,
        model: ModelConfig,
        servers: Servers | None = None,
        screen: Screen | None = None,
        name: str = "",
    ) -> Self:
        """Return the pool for the settings of ``model``. Raises ``ConfigError`` without endpoints.

        ``name``: that of the model in the settings.
        ``servers``: shared with other pools, so that together they respect a server's slots.
        ``screen``: see ``EndpointPool``.
        """
        endpoints = model.endpoints()
        if not endpoints:
            raise ConfigError(
                "no endpoint is set: set ENDPOINTS (or api_base_url, or multiplexer_endpoints, of "
                "the model) to the address of a server with a vision model, such as "
                "http://localhost:1234/v1"
            )
        limit, shares = model.max_concurrent_requests, servers.shares if servers else None
        return cls(
            [(endpoint, OpenAIClient(endpoint, model)) for endpoint in endpoints],
            request_timeout_s=model.request_timeout,
            max_in_flight=limit,
            retry=RetryPolicy(total_s=model.endpoint_patience),
            fallback_wait_s=model.fallback_wait or None,
            model_name=model.model_id,
            servers=servers,
            screen=screen,
            share=shares(f"requests to {name}") if limit and shares else None,
        )

    @property
    def slots(self) -> int:
        """Number of questions that the primary endpoints take at once, as far as known."""
        primaries = [member for member in self._members if not member.is_fallback] or self._members
        slots = sum(member.slots.limit for member in primaries)
        return min(slots, self._max_in_flight or slots)

    async def ask(
        self, question: Question, keep: Keep | None = None, *, timeout_s: float | None = None
    ) -> Answer:
        """Queue ``question`` and return the first answer. See ``Client``.

        ``timeout_s`` limits each HTTP request further than the endpoint's own deadline does.
        """
        if self._closed:
            raise RuntimeError("the pool is closed")
        queue = self._queue_for(question.model)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        pending = PendingQuestion(question, keep, timeout_s, answer)
        self._retries.earn()
        self._copies.earn()
        queue.add(pending, self._now())
        self._wake()
        try:
            return await answer
        finally:
            queue.discard(pending)
            self._cancel(pending)

    def question_cost(self, pixels: int) -> QuestionCost:
        """Return the cost of a question with a picture of so many pixels. See ``Client``.

        It is the mean over the endpoints that work, weighted by how many questions they answer in
        the same time; over those without a measured cost only if there are no others.
        """
        working = [each for each in self._members if not each.health.is_down] or self._members
        primaries = [each for each in working if not each.is_fallback] or working
        known = [each.prices for each in primaries if each.prices.is_known]
        return mean_cost(known or [each.prices for each in primaries], pixels)

    async def model_name(self) -> str:
        """Return the configured model, or the first that an endpoint offers.

        Returns another model if that one alone has answered so far. Raises ``NoEndpointError``
        when no endpoint names one.
        """
        causes = []
        for member in sorted(self._members, key=lambda member: member.is_fallback):
            if self._identity.requested:
                break
            try:
                self._identity.requested = await self._endpoints[member].client.model_name()
            except ClientError as error:
                causes.append(error)
        if not self._identity.requested:
            raise NoEndpointError("No endpoint tells which model it has", causes)
        return self._identity.answering

    async def aclose(self) -> None:
        """Cancel what is in flight and close every connection.

        Questions that still wait fail with ``RuntimeError``.
        """
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for queue in self._patience:
            for pending in queue.clear():
                pending.resolve(RuntimeError("the pool was closed"))
        await cancel([*self._tasks.values(), *self._screenings.values()])
        for endpoint in self._endpoints.values():
            # After the requests: one that failed just now may have started a probe.
            await endpoint.monitor.aclose()
            await endpoint.client.aclose()
        for server in self._servers:
            server.leave(self._wake)

    def stats(self) -> Mapping[str, EndpointStats]:
        """Return the statistics of each endpoint since the start, by its name."""
        return {member.label: member.stats(self._now()) for member in self._members}

    def _queue_for(self, model: str) -> RequestQueue:
        if not model:
            return self._any_model
        if model not in self._by_model:
            offered = ", ".join(self._by_model) or "none by name"
            message = f"no endpoint has the model_id {model!r}; there are: {offered}"
            raise NoEndpointError("No endpoint is left to ask", [WrongModelError(message)])
        return self._by_model[model]

    # Starting requests: _dispatch runs after every change, and when the timer is due.

    def _wake(self) -> None:
        """Run ``_dispatch`` soon, once for all changes until then."""
        if not self._is_woken:
            self._is_woken = True
            asyncio.get_running_loop().call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._is_woken = False
        if self._closed:
            return
        now = self._now()
        free = [member for member in self._members if self._has_slot(member, now)]
        for member in ranked(free, reference_s(self._members)):
            while self._has_slot(member, now) and (pending := self._next_for(member, now)):
                if self._is_screened(member):
                    self._start(pending, member, now)
        idle = [member for member in free if self._has_slot(member, now)]
        tested = [member for member in idle if self._screen is None or member in self._screenings]
        times = [*self._start_copies(tested, now), *self._end_waiting(idle, now)]
        times += [at for server in self._servers for at in server.changes_at()]
        self._set_timer(min((at for at in times if at > now), default=None), now)
        self._report(now)

    def _report(self, now: float) -> None:
        """Report what this process could use to those that it shares with."""
        if self._shared:
            self._report_to_servers(now)
        if self._share is not None and self._max_in_flight is not None:
            taken, waiting = len(self._tasks), sum(map(len, self._patience))
            wanted = min(taken + waiting, self._max_in_flight)
            self._share.report(taken, wanted, self._max_in_flight)

    def _report_to_servers(self, now: float) -> None:
        eligible = [(len(queue), set(queue.eligible(now))) for queue in self._patience]
        choice = _CHOICE * (len(self._tasks) + sum(waiting for waiting, _ in eligible))
        for number, (server, members) in enumerate(self._shared.items()):
            is_wanted = number < _ALWAYS_WANTED or choice > 0
            choice -= sum(member.offered for member in members)
            waiting = sum(each for each, able in eligible if able & members) if is_wanted else 0
            server.report(self._wake, waiting, now)

    def _has_slot(self, member: Member, now: float) -> bool:
        limit = self._max_in_flight
        if limit is not None and self._share is not None:
            limit = min(limit, self._share.allowed)
        if limit is not None and len(self._tasks) >= limit:
            return False
        return member.has_slot(now) and self._endpoints[member].server.has_slot(now)

    def _is_screened(self, member: Member) -> bool:
        """Return whether it may get questions. Otherwise its test begins, and holds it."""
        if self._screen is None or member in self._screenings:
            return True
        member.is_held = True
        screening = self._take_screened(member, self._screen)
        self._screenings[member] = asyncio.get_running_loop().create_task(screening)
        return False

    async def _take_screened(self, member: Member, screen: Screen) -> None:
        """Test an endpoint and act on the outcome. One that cannot be tested is tested again."""
        endpoint = self._endpoints[member]
        try:
            screened = await screen(endpoint.config, self._deadline_s(member))
            before = member.health.state
            member.is_one_at_a_time = screened.is_one_at_a_time
            if screened.error is not None:
                member.health.exclude(screened.error, self._now())
            if screened.failure is not None:
                member.record_failure(screened.failure, self._now())
                del self._screenings[member]
            endpoint.monitor.update(before)
        finally:
            member.is_held = False
            self._wake()

    def _deadline_s(self, member: Member) -> float:
        """Return how long it may take for an answer."""
        alone = all(other.health.is_down for other in self._members if other is not member)
        return member.health.deadline_s(self._request_timeout_s, alone)

    def _next_for(self, member: Member, now: float) -> PendingQuestion | None:
        queues = (queue for queue in self._patience if len(queue) and member in queue.members)
        return next((found for queue in queues if (found := queue.next_for(member, now))), None)

    def _start(self, pending: PendingQuestion, member: Member, now: float) -> None:
        deadline_s = self._deadline_s(member)
        deadline_s = min(deadline_s, pending.timeout_s or deadline_s)
        request = self._queue_for(pending.question.model).start(pending, member, now)
        self._endpoints[member].server.take(self._wake)
        task = asyncio.get_running_loop().create_task(self._send(pending, member, deadline_s))
        self._tasks[request] = task
        task.add_done_callback(partial(self._on_done, request))

    async def _send(self, pending: PendingQuestion, member: Member, deadline_s: float) -> Answer:
        client = self._endpoints[member].client
        answer = await client.ask(pending.question, timeout_s=deadline_s)
        # Before it is stored: the name it is stored under depends on what answered so far.
        answer = self._identity.record(answer, "" if member.model else client.discovered_model)
        if pending.keep is not None:
            await keep_answer(pending.keep, answer)
        return answer

    def _start_copies(self, idle: Sequence[Member], now: float) -> Iterator[float]:
        """Send copies of late requests to idle members. Yield the times to look again."""
        for queue in self._patience:
            while idle and self._copies.left(now) >= 1:
                copy = queue.next_copy(idle, now)
                if copy is None:
                    break
                if copy.at > now:
                    yield copy.at
                    break
                late = copy.original.member.label
                _log.debug("%s repeats a question that %s is late with", copy.member.label, late)
                self._copies.take(now)
                copy.member.copies += 1
                self._start(copy.original.pending, copy.member, now)
                idle = [member for member in idle if self._has_slot(member, now)]

    def _end_waiting(self, idle: Sequence[Member], now: float) -> Iterator[float]:
        """Fail questions that waited too long for an endpoint. Yield the times to look again."""
        for queue, patience in self._patience.items():
            patience.update(now)
            if not len(queue):
                continue
            left_s = patience.left_s(now)
            if left_s is not None:
                _log.info(
                    "Waiting for endpoints with %d questions, giving up in %.0f s.",
                    len(queue),
                    left_s,
                )
            if patience.ended:
                causes = [member.health.cause for member in queue.members if member.health.cause]
                for pending in queue.clear():
                    pending.resolve(NoEndpointError("No endpoint is left to ask", causes))
            yield from (*queue.changes_at(), *patience.changes_at())
            if any(member in queue.members for member in idle):
                yield now + _DEFERRED_AGAIN_S  # a member that defers does not do so for ever

    def _set_timer(self, due: float | None, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(due - now + 0.001, self._dispatch)

    # Finishing requests: each one ends in _on_done, which frees the slot.

    def _on_done(self, request: InFlight, task: asyncio.Task[Answer]) -> None:
        pending, member, now = request.pending, request.member, self._now()
        before, seconds = member.health.state, now - request.started
        del self._tasks[request]
        error = None if task.cancelled() else task.exception()
        if task.cancelled():
            member.record_abandoned(seconds, reference_s(self._members), now)
        elif error is None:
            member.record_answer(task.result(), seconds, now)
            pending.resolve(task.result())
        elif isinstance(error, ClientError):
            member.record_failure(error, now)
        else:
            pending.resolve(error)
        queue = self._queue_for(pending.question.model)
        queue.finish(request)
        if isinstance(error, ClientError):
            self._retry_or_fail(pending, member, error, now)
        elif error is None and not task.cancelled():
            self._record_contradictions(pending, member, now)
        if self._closed:
            pending.resolve(RuntimeError("the pool was closed"))
        if pending.is_over:
            self._cancel(pending)
        self._endpoints[member].monitor.update(before)
        self._endpoints[member].server.release(self._wake)
        self._wake()

    def _retry_or_fail(
        self, pending: PendingQuestion, member: Member, error: ClientError, now: float
    ) -> None:
        pending.record_failure(member, error)
        if pending.is_over or pending.in_flight:
            return  # its caller is gone, or a copy may still be answered
        queue = self._queue_for(pending.question.model)
        another = queue.has_another(pending)
        final = pending.final_error(error, another=another, retry=self._retry)
        if final is not None:
            pending.resolve(final)
            return
        pending.not_before = now + self._retry.backoff_s(error, pending.attempts, another=another)
        if not isinstance(error, EndpointError):  # such an endpoint is not asked again soon
            self._retries.take(now)
            pending.not_before += self._retries.pause_s(now)
        queue.add_again(pending)

    def _record_contradictions(self, pending: PendingQuestion, member: Member, now: float) -> None:
        """Count refusals of ``pending`` against their endpoints: ``member`` answered it."""
        for other, error in pending.failures.items():
            if other is member or not isinstance(error, REFUSALS):
                continue
            before = other.health.state
            other.health.record_contradiction(error, now)
            self._endpoints[other].monitor.update(before)

    def _on_discovery(self, member: Member) -> None:
        """Take over what an endpoint says about itself; it may take more questions now."""
        client = self._endpoints[member].client
        member.capabilities = client.capabilities
        member.slots.offer(client.slots)
        if not self._closed:
            self._wake()

    def _cancel(self, pending: PendingQuestion) -> None:
        """Cancel what is in flight for a question whose caller no longer waits."""
        pending.is_over = True
        for request in pending.in_flight:
            self._tasks[request].cancel()
