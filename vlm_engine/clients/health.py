"""What is thought of one endpoint: whether to ask it, how many questions at once, and how long to wait for it.

No I/O and no clock: what happened and when comes in, what to do is read out.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from vlm_engine.errors import (
    BusyError,
    ClientError,
    EndpointError,
    NoVisionError,
    ServerError,
    TimedOutError,
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
_FOR_GOOD = (WrongKeyError, WrongModelError, NoVisionError)


class State(StrEnum):
    """Whether an endpoint is asked: yes; no, it is probed; with one question, to see; no, never again."""

    CLOSED = "working"
    OPEN = "not working"
    HALF_OPEN = "on trial"
    DEAD = "given up"


def probe_delay_s(outage_s: float, roll: Callable[[], float] = random.random) -> float:
    """How long to wait before the next probe of an endpoint that has not worked for ``outage_s`` seconds.

    A probe costs next to nothing, waiting too long costs work: an outage is outlasted by about a sixth of it, at most 15 s.
    """
    return min(15.0, max(0.5, outage_s / 6)) * (0.8 + 0.4 * roll())


def busy_delay_s(attempt: int, roll: Callable[[], float] = random.random) -> float:
    """How long to leave a busy endpoint alone that does not say: full jitter, so that clients do not come back as one."""
    return 0.5 + min(30.0, 2.0 ** min(attempt, 20)) * roll()


@dataclass
class Health:
    """One endpoint's record. Times are seconds of the pool's clock.

    A refusal may be the question's fault. It is the endpoint's where others answer what it refuses, three times in a row, or
    where it refuses eight questions in a row. What it has answered with before is not wrong for good: a key, a model.
    """

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
    def broken(self) -> bool:
        """Whether nothing is asked of it, or only the one question that shows whether it works again."""
        return self.state is not State.CLOSED

    @property
    def busy(self) -> bool:
        """Whether all that it said last was to come back later."""
        return self._busy_since is not None

    def outage_s(self, now: float) -> float:
        """For how many seconds it has not worked now; 0 while it works."""
        return 0.0 if self._down_since is None else now - self._down_since

    def down_s(self, now: float) -> float:
        """For how many seconds it did not work, all in all."""
        return self._down_s + self.outage_s(now)

    def limit(self, slots: int, now: float, *, loaded: bool = False) -> int:
        """How many questions may be under way at once.

        One until the first was answered: the server may be loading the model, and some load it once for each question that
        comes meanwhile. ``loaded``: it says that it has the model in memory.
        """
        if now < self.paused_until:
            return 0
        if self.state is State.CLOSED:
            return slots if self.answered or loaded else 1
        return 1 if self.state is State.HALF_OPEN else 0

    def deadline_s(self, request_timeout_s: float, alone: bool) -> float:
        """How long to wait for an answer. ``alone``: no other endpoint works.

        A first question may make the server load its model, which is worth a long wait where there is
        nobody else; a trial beside others that work is not, nor one after a wait in vain.
        """
        if self.seconds is not None:
            return min(request_timeout_s, max(LEAST_DEADLINE_S, 6 * self.seconds))
        if self.state is State.HALF_OPEN:
            worth_it = alone and not isinstance(self.cause, TimedOutError)
            return request_timeout_s if worth_it else min(request_timeout_s, LEAST_DEADLINE_S)
        if self.answered or not alone:
            return request_timeout_s
        return max(request_timeout_s, min(WARM_UP_S, 2.5 * request_timeout_s))

    def succeeded(self, seconds: float, now: float) -> None:
        """It answered. The first answer's time is not kept: it may hold the loading of the model."""
        if self.answered and (self.seconds is None or self._at_least):
            self.seconds, self._at_least = seconds, False
        elif self.answered and self.seconds is not None:
            self.seconds += _EWMA_SHARE * (seconds - self.seconds)
        self.answered += 1
        self._refusals = self._contradictions = 0
        self._alive(now)

    def outlasted(self, seconds: float) -> None:
        """It was not waited for any longer: an answer would have taken more than ``seconds``."""
        if self.seconds is None:
            self.seconds, self._at_least = seconds, True
        elif seconds > self.seconds:
            self.seconds += _EWMA_SHARE * (seconds - self.seconds)

    def refused(
        self, error: ClientError, now: float, roll: Callable[[], float] = random.random
    ) -> None:
        """It did not answer, or not with an answer."""
        self.failed[type(error).__name__] += 1
        if isinstance(error, BusyError):
            self._busy(error, now, roll)
        elif isinstance(error, EndpointError):
            for_good = isinstance(error, _FOR_GOOD) and not self.answered
            self._open(error, State.DEAD if for_good else State.OPEN, now)
        elif isinstance(error, ServerError):
            self._suspect(error, now)
        else:
            self._refused(error, now)

    def contradicted(self, error: ClientError, now: float) -> None:
        """Another endpoint answered what this one refused with ``error``."""
        self._contradictions += 1
        if self._refuses_all():
            self._open(error, State.OPEN, now)

    def on_trial(self) -> None:
        """A probe was answered: the next question shows whether it works again."""
        if self.state is State.OPEN:
            self.state = State.HALF_OPEN

    def _alive(self, now: float) -> None:
        if self.state is State.DEAD:
            return
        self._down_s, self._down_since = self.down_s(now), None
        self.state, self.cause = State.CLOSED, None
        self._time_outs = self._errors = self._busies = 0
        self._busy_since = None

    def _refused(self, error: ClientError, now: float) -> None:
        self._refusals += 1
        if self._refuses_all():
            self._open(error, State.OPEN, now)
        else:
            self._alive(now)  # somebody is there

    def _refuses_all(self) -> bool:
        return (
            self._contradictions >= CONTRADICTIONS_IN_A_ROW or self._refusals >= REFUSALS_IN_A_ROW
        )

    def _busy(self, error: BusyError, now: float, roll: Callable[[], float]) -> None:
        self._busy_since = now if self._busy_since is None else self._busy_since
        wait_s = (
            busy_delay_s(self._busies, roll) if error.retry_after_s is None else error.retry_after_s
        )
        self._busies += 1
        self.paused_until = max(self.paused_until, now + wait_s)
        self.cause = self.cause if self.broken else error
        if now - self._busy_since >= BUSY_LIMIT_S:
            self._open(error, State.OPEN, now)

    def _suspect(self, error: ServerError, now: float) -> None:
        if isinstance(error, TimedOutError):
            self._time_outs += 1
        else:
            self._errors += 1
        never = isinstance(error, TimedOutError) and not self.answered
        too_often = self._time_outs >= TIME_OUTS_IN_A_ROW or self._errors >= SERVER_ERRORS_IN_A_ROW
        if never or too_often or self.state is State.HALF_OPEN:
            self._open(error, State.OPEN, now)

    def _open(self, error: ClientError, state: State, now: float) -> None:
        if self.state is not State.DEAD:
            self.state, self.cause = state, error
            self._down_since = now if self._down_since is None else self._down_since
