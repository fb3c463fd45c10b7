"""Retry rules: when a question is asked again and when it ends."""

import pytest

from vlm_engine.clients.member import Member
from vlm_engine.clients.retry import Budget, RetryPolicy
from vlm_engine.clients.scheduling import PendingQuestion
from vlm_engine.errors import (
    BusyError,
    ReplyError,
    RequestError,
    ServerError,
    TimedOutError,
    UnreachableError,
    WrongModelError,
)
from vlm_engine.types import Form, Question

RETRY = RetryPolicy()


@pytest.fixture
def pending():
    return PendingQuestion(Question(("Foul",), Form.LIST, b""))


def proven(label="proven"):
    member = Member(label)
    member.health.record_answer(1.0, 0.0)
    return member


def end(pending, error, *, another):
    return pending.final_error(error, another=another, retry=RETRY)


def end_after(pending, error, *labels, another):
    """Return how the question ends after it failed with ``error`` at these endpoints."""
    for label in labels:
        pending.record_failure(Member(label), error)
    return end(pending, error, another=another)


def test_a_question_ends_with_its_own_error_not_an_endpoints(pending):
    failing = Member("failing")
    for _ in range(RETRY.attempts):
        pending.record_failure(failing, ServerError("it failed"))
    assert end(pending, ServerError("it failed"), another=True) is None
    for error in (WrongModelError("no such model"), BusyError("later")):
        pending.record_failure(Member("other"), error)
        assert str(end(pending, error, another=False)) == "it failed"


@pytest.mark.parametrize("error", [ServerError("500"), TimedOutError("late")])
def test_server_errors_end_a_question_after_three_attempts(pending, error):
    for number in range(RETRY.attempts):
        final = end_after(pending, error, str(number), another=True)
        assert (final is error) == (number == RETRY.attempts - 1)
    assert len(pending.failures) == RETRY.attempts


@pytest.mark.parametrize("kind", [RequestError, ReplyError])
def test_a_refused_question_ends_after_all_or_three_refused(pending, kind):
    error = kind("too long")
    assert end_after(pending, error, "one", another=False) is error
    assert end(pending, error, another=True) is None
    assert end_after(pending, error, "two", another=True) is None
    assert end_after(pending, error, "three", another=True) is error


def test_no_question_ends_at_one_endpoint_if_there_are_two(pending):
    one, error = Member("one"), ServerError("500")
    for _ in range(3):
        pending.record_failure(one, error)
    assert end(pending, error, another=False) is error
    assert end(pending, error, another=True) is None


def test_busy_never_ends_a_question(pending):
    for _ in range(100):
        assert end_after(pending, BusyError("later"), "one", another=False) is None


def test_a_question_that_crashes_endpoints_ends_with_the_cause(pending):
    one, error = proven(), UnreachableError("dropped", endpoint="court")
    for _ in range(RETRY.crashes - 1):
        pending.record_failure(one, error)
    assert end(pending, error, another=True) is None
    assert end_after(pending, error, "never answered", another=True) is None
    pending.record_failure(one, error)
    final = end(pending, error, another=True)
    assert type(final) is ServerError
    assert final.__cause__ is error
    assert str(final) == "court: every attempt failed, the last with: dropped"


def test_only_the_endpoint_that_failed_it_gets_a_break():
    error = ServerError("500")
    assert RETRY.backoff_s(error, 1, another=True) == 0
    assert RETRY.backoff_s(error, 1, another=False) == 0.5
    assert RETRY.backoff_s(BusyError("later"), 1, another=False) == 0


def test_delays_grow_to_a_limit_with_jitter():
    low, middle, high = (RetryPolicy(jitter=lambda roll=roll: roll) for roll in (0.0, 0.5, 1.0))
    assert [middle.probe_delay_s(outage_s) for outage_s in (0, 6, 1000)] == pytest.approx(
        [0.5, 1.0, 15.0]
    )
    assert low.probe_delay_s(0) < high.probe_delay_s(0)
    assert (low.busy_delay_s(0), high.busy_delay_s(1000)) == (0.5, 30.5)


def test_a_budget_earns_a_share_of_every_question():
    budget = Budget(0.25, reserve=1)
    for _ in range(20):
        budget.earn()
    taken = 0
    while budget.left(0.0) >= 1:
        budget.take(0.0)
        taken += 1
    assert taken == 6


def test_a_budget_has_an_upper_limit():
    budget = Budget(0.5, most=3)
    for _ in range(100):
        budget.earn()
    assert budget.left(0.0) == 3


def test_an_overdrawn_budget_recovers_with_time():
    budget = Budget(0.2, per_s=2.0, reserve=1)
    budget.take(10.0)
    assert budget.pause_s(10.0) == 0
    budget.take(10.0)
    budget.take(10.0)
    assert budget.pause_s(10.0) == pytest.approx(1.0)
    assert budget.pause_s(10.6) == pytest.approx(0.4)
    assert budget.left(11.5) == pytest.approx(1.0)
