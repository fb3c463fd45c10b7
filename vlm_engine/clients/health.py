"""The health of one endpoint: whether it is asked, how long to wait for it, and its probes."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum

from vlm_engine.clients.retry import RetryPolicy
from vlm_engine.errors import (
    BusyError,
    ClientError,
    EndpointError,
    NoVisionError,
    ServerError,
    TimedOutError,
    UnreachableError,
    WrongKeyError,
    WrongModelError,
)

TIME_OUTS_IN_A_ROW = 2
SERVER_ERRORS_IN_A_ROW = 5
CONTRADICTIONS_IN_A_ROW = 3
REFUSALS_IN_A_ROW = 8
BUSY_LIMIT_S = 300.0
WARM_UP_S = 300.0
LEAST_DEADLINE_S = 20.0
_EWMA_SHARE = 0.2
_PERMANENT = (WrongKeyError, WrongModelError, NoVisionError)
_LOGGED_PAUSE_S = 5.0
_LOGGED_AGAIN_AFTER_S = 300.0
_WITH_DIGITS = re.compile(r"\S*\d\S*")  # request numbers and times vary, the reason does not
_log = logging.getLogger(__name__)


class State(StrEnum):
    """State of a circuit breaker; the values are shown to users.

    CLOSED: asked. OPEN: only probed. HALF_OPEN: gets one question as a trial. DEAD: never asked.
    """

    CLOSED = "working"
    OPEN = "not working"
    HALF_OPEN = "on trial"
    DEAD = "given up"


@dataclass
class Health:
    """Circuit breaker and response time of one endpoint. No I/O and no clock.

    Times are seconds of the pool's clock. A refusal may be the fault of the question. It counts
    against the endpoint when others answer what it refuses, three times in a row, or when it
    refuses eight questions in a row. A wrong key or model is permanent only for an endpoint that
    has never answered. ``seconds``: the measured time of an answer.
    """

    retry: RetryPolicy = field(default_factory=RetryPolicy)
    state: State = State.CLOSED
    cause: ClientError | None = None
    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    seconds: float | None = None
    paused_until: float = 0.0
    _at_least: bool = False
    _down_since: float | None = None
    _down_s: float = 0.0
    _time_outs: int = 0
    _errors: int = 0
    _busy_since: float | None = None
    _busies: int = 0
    _refusals: int = 0
    _contradictions: int = 0

    @property
    def is_down(self) -> bool:
        """True unless it gets questions; also while it is on trial."""
        return self.state is not State.CLOSED

    @property
    def is_busy(self) -> bool:
        """True when its last response was "busy"."""
        return self._busy_since is not None

    def outage_s(self, now: float) -> float:
        """Return the length of the current outage; 0 while it works."""
        return 0.0 if self._down_since is None else now - self._down_since

    def down_s(self, now: float) -> float:
        """Return the sum of all outages."""
        return self._down_s + self.outage_s(now)

    def limit(self, slots: int, now: float, *, loaded: bool = False) -> int:
        """Return how many questions may be in flight at once.

        One before the first answer: the server may be loading the model, and some servers load it
        once for each question that arrives meanwhile. ``loaded``: it has the model in memory.
        """
        if now < self.paused_until:
            return 0
        if self.state is State.CLOSED:
            return slots if self.answered or loaded else 1
        return 1 if self.state is State.HALF_OPEN else 0

    def deadline_s(self, request_timeout_s: float, alone: bool) -> float:
        """Return how long to wait for an answer. ``alone``: no other endpoint works.

        The first question may make the server load its model. That is worth a long wait when no
        other endpoint works. A trial beside working endpoints is not, nor one after a timeout.
        """
        if self.seconds is not None:
            return min(request_timeout_s, max(LEAST_DEADLINE_S, 6 * self.seconds))
        if self.state is State.HALF_OPEN:
            worth_it = alone and not isinstance(self.cause, TimedOutError)
            return request_timeout_s if worth_it else min(request_timeout_s, LEAST_DEADLINE_S)
        if self.answered or not alone:
            return request_timeout_s
        return max(request_timeout_s, min(WARM_UP_S, 2.5 * request_timeout_s))

    def record_answer(self, seconds: float, now: float) -> None:
        """Record an answer. Ignores the time of the first: it may include loading the model."""
        if self.answered and (self.seconds is None or self._at_least):
            self.seconds, self._at_least = seconds, False
        elif self.answered and self.seconds is not None:
            self.seconds += _EWMA_SHARE * (seconds - self.seconds)
        self.answered += 1
        self._refusals = self._contradictions = 0
        self._close(now)

    def record_abandoned(self, seconds: float) -> None:
        """Record that an answer would have taken more than ``seconds``."""
        if self.seconds is None:
            self.seconds, self._at_least = seconds, True
        elif seconds > self.seconds:
            self.seconds += _EWMA_SHARE * (seconds - self.seconds)

    def record_failure(self, error: ClientError, now: float) -> None:
        """Record an error in place of an answer."""
        self.failed[type(error).__name__] += 1
        if isinstance(error, BusyError):
            self._record_busy(error, now)
        elif isinstance(error, EndpointError):
            permanent = isinstance(error, _PERMANENT) and not self.answered
            self._open(error, State.DEAD if permanent else State.OPEN, now)
        elif isinstance(error, ServerError):
            self._record_server_error(error, now)
        else:
            self._refusals += 1
            if not self._open_if_refusing(error, now):
                self._close(now)  # it responds

    def record_contradiction(self, error: ClientError, now: float) -> None:
        """Record that another endpoint answered what this one refused with ``error``."""
        self._contradictions += 1
        self._open_if_refusing(error, now)

    def exclude(self, error: EndpointError, now: float) -> None:
        """Never ask it again, because of ``error``."""
        self._open(error, State.DEAD, now)

    def start_trial(self) -> None:
        """Allow one question after a successful probe."""
        if self.state is State.OPEN:
            self.state = State.HALF_OPEN

    def _close(self, now: float) -> None:
        if self.state is State.DEAD:
            return
        self._down_s, self._down_since = self.down_s(now), None
        self.state, self.cause = State.CLOSED, None
        self._time_outs = self._errors = self._busies = 0
        self._busy_since = None

    def _open(self, error: ClientError, state: State, now: float) -> None:
        if self.state is not State.DEAD:
            self.state, self.cause = state, error
            self._down_since = now if self._down_since is None else self._down_since

    def _open_if_refusing(self, error: ClientError, now: float) -> bool:
        refusing = (
            self._contradictions >= CONTRADICTIONS_IN_A_ROW or self._refusals >= REFUSALS_IN_A_ROW
        )
        if refusing:
            self._open(error, State.OPEN, now)
        return refusing

    def _record_busy(self, error: BusyError, now: float) -> None:
        self._busy_since = now if self._busy_since is None else self._busy_since
        wait_s = error.retry_after_s
        if wait_s is None:
            wait_s = self.retry.busy_delay_s(self._busies)
        self._busies += 1
        self.paused_until = max(self.paused_until, now + wait_s)
        self.cause = self.cause if self.is_down else error
        if now - self._busy_since >= BUSY_LIMIT_S:
            self._open(error, State.OPEN, now)

    def _record_server_error(self, error: ServerError, now: float) -> None:
        timed_out = isinstance(error, TimedOutError)
        self._time_outs += timed_out
        self._errors += not timed_out
        too_often = self._time_outs >= TIME_OUTS_IN_A_ROW or self._errors >= SERVER_ERRORS_IN_A_ROW
        if too_often or (timed_out and not self.answered) or self.state is State.HALF_OPEN:
            self._open(error, State.OPEN, now)


class HealthMonitor:
    """Log of one endpoint's outages, and the probes that end them.

    ``probe`` sends a request that costs little and raises ``ClientError``. ``on_trial`` is called
    when the endpoint may get a question again.
    """

    def __init__(
        self,
        label: str,
        health: Health,
        probe: Callable[[], Awaitable[object]],
        on_trial: Callable[[], None],
    ) -> None:
        self._label, self._health = label, health
        self._probe, self._on_trial = probe, on_trial
        self._probing: asyncio.Task[None] | None = None
        self._logged, self._logged_at = "", 0.0
        self._is_out = False
        self._logged_pause = 0.0

    def update(self, before: State) -> None:
        """React to a change of the endpoint, which was in the state ``before``."""
        health = self._health
        self._log_pause()
        if health.state is before:
            return
        if health.cause is not None and (before is State.CLOSED or health.state is State.DEAD):
            self._log_outage(health.cause)
        elif health.state is State.CLOSED and self._is_out:
            self._is_out = False
            _log.info("endpoint %s works again", self._label)
        if health.state is State.OPEN:
            if self._probing is not None:
                self._probing.cancel()  # it may sleep for as long as an earlier outage deserved
            self._probing = asyncio.get_running_loop().create_task(self._probe_until_trial())

    async def aclose(self) -> None:
        """Cancel the probes."""
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)

    def _log_outage(self, cause: ClientError) -> None:
        """Warn of an outage; of one with the same reason once in five minutes."""
        given_up = self._health.state is State.DEAD
        words = f"{'is given up' if given_up else 'does not work for now'}: {cause.args[0]}"
        reason, now = _WITH_DIGITS.sub("#", words), self._health.retry.clock()
        if reason != self._logged or now - self._logged_at > _LOGGED_AGAIN_AFTER_S:
            self._logged, self._logged_at = reason, now
            self._is_out = True
            _log.warning("endpoint %s %s", self._label, words)

    def _log_pause(self) -> None:
        """Log a pause that the server asked for."""
        cause, until = self._health.cause, self._health.paused_until
        now = self._health.retry.clock()
        if cause is not None and until > max(now + _LOGGED_PAUSE_S, self._logged_pause + 1):
            self._logged_pause = until
            _log.info(
                "endpoint %s is left alone for %.0f s: %s", self._label, until - now, cause.args[0]
            )

    async def _probe_until_trial(self) -> None:
        retry = self._health.retry
        while self._health.state is State.OPEN:
            await asyncio.sleep(retry.probe_delay_s(self._health.outage_s(retry.clock())))
            try:
                await self._probe()
            except (UnreachableError, ServerError, BusyError) as error:
                _log.debug("endpoint %s is still out: %s", self._label, error)
                continue
            except ClientError as error:
                _log.debug("endpoint %s answers again, if only: %s", self._label, error)
            self._health.start_trial()
            self._on_trial()
