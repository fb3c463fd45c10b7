"""Retry rules: when a failed question is asked again, after which delay, and when it ends."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vlm_engine.errors import ClientError, ReplyError, RequestError, ServerError

REFUSALS = (RequestError, ReplyError)
"""The endpoint works and does not answer this question."""
QUESTION_FAILURES = (ServerError, *REFUSALS)
"""Failures that may be the question's fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Limits and delays of one pool. Times in seconds.

    ``attempts``: failures that end a question, where they may be its own fault.
    ``crashes``: failures of endpoints that have worked, whatever the cause, that end a question.
    ``total_s``: how long questions wait while no endpoint works; ``unproven_total_s``: the same
    while no endpoint has ever answered.
    ``retry_share``, ``retries_per_s``, ``retry_reserve``: the budget of second attempts.
    ``copy_share``, ``copy_reserve``: the budget of copies of late requests.
    ``jitter``: random numbers from 0 to 1. ``clock``: the current time.
    """

    attempts: int = 3
    crashes: int = 6
    total_s: float = 300.0
    unproven_total_s: float = 3.0
    retry_share: float = 0.2
    retries_per_s: float = 1.0
    retry_reserve: float = 10.0
    copy_share: float = 0.1
    copy_reserve: float = 1.0
    jitter: Callable[[], float] = random.random
    clock: Callable[[], float] = time.monotonic

    def final_error(
        self,
        error: ClientError,
        failures: Sequence[ClientError],
        *,
        attempts: int,
        crashes: int,
        another: bool,
    ) -> ClientError | None:
        """Return the error that a question ends with after ``error``; None: ask it again.

        ``failures``: the last error of each endpoint that failed it. ``another``: an endpoint works
        that has not failed it; then a question ends only after ``self.attempts`` endpoints.
        """
        spent = attempts >= self.attempts or isinstance(error, REFUSALS)
        if spent and (not another or len(failures) >= self.attempts):
            # A fault of the endpoint, or "busy", is no error of the question.
            return error if isinstance(error, QUESTION_FAILURES) else failures[-1]
        if crashes < self.crashes:
            return None
        # A question that crashes every endpoint must not circulate for ever.
        last = ServerError(
            f"every attempt failed, the last with: {error.args[0]}", endpoint=error.endpoint
        )
        last.__cause__ = error
        return last

    def backoff_s(self, error: ClientError, attempts: int, *, another: bool) -> float:
        """Return the delay before an endpoint gets a question again; 0 if another can take it."""
        return 0.25 * 2**attempts if isinstance(error, ServerError) and not another else 0.0

    def busy_delay_s(self, attempt: int) -> float:
        """Return the pause for a busy endpoint that names none: exponential, with full jitter."""
        return 0.5 + min(30.0, 2.0 ** min(attempt, 20)) * self.jitter()

    def probe_delay_s(self, outage_s: float) -> float:
        """Return the delay before the next probe: about a sixth of the outage, at most 15 s."""
        return min(15.0, max(0.5, outage_s / 6)) * (0.8 + 0.4 * self.jitter())

    def retry_budget(self) -> Budget:
        """Return a new budget of second attempts."""
        return Budget(self.retry_share, per_s=self.retries_per_s, reserve=self.retry_reserve)

    def copy_budget(self) -> Budget:
        """Return a new budget of copies."""
        return Budget(self.copy_share, reserve=self.copy_reserve)


class Budget:
    """Number of extra requests that may be sent: second attempts, or copies.

    Earns ``share`` of every question, and ``per_s`` with time; holds at most ``most`` and
    ``reserve`` at the start. May be overdrawn. Times are seconds of the caller's clock.
    """

    def __init__(
        self, share: float, *, per_s: float = 0.0, reserve: float = 0.0, most: float = 32.0
    ) -> None:
        self._share, self._per_s, self._most = share, per_s, most
        self._left = reserve
        self._at: float | None = None

    def earn(self) -> None:
        """Add the share of one question."""
        self._left = min(self._most, self._left + self._share)

    def left(self, now: float) -> float:
        """Return how many requests may be sent; below 0 when overdrawn."""
        since_s = 0.0 if self._at is None else now - self._at
        self._left, self._at = min(self._most, self._left + self._per_s * since_s), now
        return self._left

    def take(self, now: float) -> None:
        """Take one request."""
        self._left = self.left(now) - 1

    def pause_s(self, now: float) -> float:
        """Return the time until an overdraft is earned back; 0 within the budget."""
        return max(0.0, -self.left(now) / self._per_s) if self._per_s else 0.0
