"""The health of one endpoint, with the clock passed in."""

import pytest

from vlm_engine.clients.health import BUSY_LIMIT_S, Health, State
from vlm_engine.clients.retry import RetryPolicy
from vlm_engine.errors import (
    BusyError,
    EndpointError,
    NoVisionError,
    ReplyError,
    RequestError,
    ServerError,
    TimedOutError,
    UnreachableError,
    WrongKeyError,
    WrongModelError,
)


def proven():
    health = Health(RetryPolicy(jitter=lambda: 0.0))
    health.record_answer(1.0, 0.0)
    return health


@pytest.mark.parametrize("kind", [WrongKeyError, WrongModelError, NoVisionError])
def test_a_wrong_key_or_model_is_permanent(kind):
    health = Health()
    health.record_failure(kind("no"), 0.0)
    health.start_trial()
    health.record_answer(1.0, 0.0)
    health.record_failure(UnreachableError("gone"), 0.0)
    assert health.state is State.DEAD
    assert isinstance(health.cause, kind)
    assert health.limit(4, 0.0) == 0


@pytest.mark.parametrize("kind", [WrongKeyError, WrongModelError, NoVisionError])
def test_nothing_is_permanent_after_an_answer(kind):
    health = proven()
    health.record_failure(kind("no"), 0.0)
    assert health.state is State.OPEN
    health.start_trial()
    health.record_answer(1.0, 1.0)
    assert health.state is State.CLOSED


def test_three_refusals_of_what_others_answer_open_it():
    health = proven()
    for number in range(3):
        assert health.state is State.CLOSED
        health.record_failure(RequestError("no", endpoint="court"), float(number))
        health.record_contradiction(RequestError("no", endpoint="court"), float(number))
    assert health.state is State.OPEN
    health.start_trial()
    health.record_failure(ReplyError("neither"), 9.0)
    assert (health.state, health.outage_s(9.0)) == (State.OPEN, 7.0)
    health.start_trial()
    health.record_answer(1.0, 10.0)
    health.record_failure(RequestError("no"), 11.0)
    health.record_contradiction(RequestError("no"), 11.0)
    assert health.state is State.CLOSED, "an answer between begins the row anew"


@pytest.mark.parametrize("kind", [RequestError, ReplyError])
def test_eight_refusals_in_a_row_open_it(kind):
    health = Health()
    for number in range(8):
        assert health.state is State.CLOSED
        health.record_failure(kind("no"), float(number))
    assert health.state is State.OPEN
    assert str(health.cause) == "no"


@pytest.mark.parametrize("kind", [UnreachableError, EndpointError])
def test_its_own_fault_opens_it_at_once_until_a_trial(kind):
    health = proven()
    health.record_failure(kind("no"), 0.0)
    assert (health.state, health.limit(4, 0.0)) == (State.OPEN, 0)
    health.start_trial()
    assert (health.state, health.limit(4, 0.0)) == (State.HALF_OPEN, 1)
    health.record_answer(1.0, 0.0)
    assert (health.state, health.limit(4, 0.0), health.cause) == (State.CLOSED, 4, None)


def test_a_failed_trial_opens_it_again():
    health = proven()
    health.record_failure(UnreachableError("gone"), 0.0)
    health.start_trial()
    health.record_failure(ServerError("no"), 0.0)
    assert health.state is State.OPEN


@pytest.mark.parametrize(("kind", "in_a_row"), [(TimedOutError, 2), (ServerError, 5)])
def test_other_failures_open_it_after_some_in_a_row(kind, in_a_row):
    health = proven()
    for _ in range(in_a_row - 1):
        health.record_failure(kind("no"), 0.0)
    assert health.state is State.CLOSED
    health.record_answer(1.0, 0.0)
    for _ in range(in_a_row - 1):
        health.record_failure(kind("no"), 0.0)
    assert health.state is State.CLOSED
    health.record_failure(kind("no"), 0.0)
    assert health.state is State.OPEN


def test_without_an_answer_the_first_timeout_opens_it():
    health = Health()
    health.record_failure(TimedOutError("no"), 0.0)
    assert health.state is State.OPEN


@pytest.mark.parametrize("kind", [RequestError, ReplyError])
def test_a_refused_trial_closes_it_because_it_responds(kind):
    health = proven()
    health.record_failure(UnreachableError("gone"), 0.0)
    health.start_trial()
    health.record_failure(kind("no"), 0.0)
    assert health.state is State.CLOSED
    assert health.failed == {"UnreachableError": 1, kind.__name__: 1}


def test_a_busy_endpoint_gets_its_pause_but_not_for_ever():
    health = proven()
    health.record_failure(BusyError("later", retry_after_s=7), 100.0)
    assert (health.limit(4, 106.9), health.limit(4, 107.1)) == (0, 4)
    health.record_failure(BusyError("later"), 107.1)
    assert (health.limit(4, 107.5), health.limit(4, 107.7)) == (0, 4)
    health.record_failure(BusyError("later"), 100.0 + BUSY_LIMIT_S)
    assert health.state is State.OPEN


def test_the_first_question_is_alone_and_may_take_long():
    health = Health()
    assert (health.limit(4, 0.0), health.limit(4, 0.0, loaded=True)) == (1, 4)
    assert health.deadline_s(120, alone=True) == 300
    assert health.deadline_s(120, alone=False) == 120
    assert health.deadline_s(8, alone=True) == 20
    assert health.deadline_s(600, alone=True) == 600
    health.record_failure(TimedOutError("no"), 0.0)
    health.start_trial()
    assert health.deadline_s(120, alone=True) == 20, "it had its time"
    assert health.deadline_s(120, alone=False) == 20
    health.record_failure(UnreachableError("gone"), 0.0)
    health.start_trial()
    assert health.deadline_s(120, alone=True) == 120


def test_deadlines_follow_the_measured_time_within_limits():
    health = proven()
    assert health.deadline_s(120, alone=True) == 120
    health.record_answer(1.0, 0.0)
    assert health.deadline_s(120, alone=True) == 20
    for _ in range(60):
        health.record_answer(10.0, 0.0)
    assert health.deadline_s(120, alone=True) == pytest.approx(60, rel=0.01)
    assert health.deadline_s(15, alone=True) == 15


def test_outages_are_timed():
    health = proven()
    health.record_failure(UnreachableError("gone"), 100.0)
    assert (health.outage_s(103.0), health.down_s(103.0)) == (3.0, 3.0)
    health.start_trial()
    health.record_failure(ServerError("not yet"), 104.0)
    assert health.outage_s(105.0) == 5.0
    health.record_answer(1.0, 106.0)
    assert (health.outage_s(200.0), health.down_s(200.0)) == (0.0, 6.0)
    health.record_failure(WrongKeyError("no"), 300.0)
    assert (health.outage_s(301.0), health.down_s(301.0)) == (1.0, 7.0)
