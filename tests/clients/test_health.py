"""What is thought of one endpoint, with the clock passed in."""

import pytest

from vlm_engine.clients.health import BUSY_LIMIT_S, Health, State, busy_delay_s, probe_delay_s
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
    health = Health()
    health.succeeded(1.0, 0.0)
    return health


@pytest.mark.parametrize("kind", [WrongKeyError, WrongModelError, NoVisionError])
def test_what_only_the_user_can_mend_is_for_good(kind):
    health = Health()
    health.refused(kind("no"), 0.0)
    health.on_trial()
    health.succeeded(1.0, 0.0)
    health.refused(UnreachableError("gone"), 0.0)
    assert health.state is State.DEAD
    assert isinstance(health.cause, kind)
    assert health.limit(4, 0.0) == 0


@pytest.mark.parametrize("kind", [WrongKeyError, WrongModelError, NoVisionError])
def test_what_it_has_answered_with_is_not_wrong_for_good(kind):
    health = proven()
    health.refused(kind("no"), 0.0)
    assert health.state is State.OPEN
    health.on_trial()
    health.succeeded(1.0, 1.0)
    assert health.state is State.CLOSED


def test_what_others_answer_it_may_refuse_twice_in_a_row():
    health = proven()
    for number in range(3):
        assert health.state is State.CLOSED
        health.refused(RequestError("no", endpoint="court"), float(number))
        health.contradicted(RequestError("no", endpoint="court"), float(number))
    assert health.state is State.OPEN
    health.on_trial()
    health.refused(ReplyError("neither"), 9.0)
    assert (health.state, health.outage_s(9.0)) == (State.OPEN, 7.0)
    health.on_trial()
    health.succeeded(1.0, 10.0)
    health.refused(RequestError("no"), 11.0)
    health.contradicted(RequestError("no"), 11.0)
    assert health.state is State.CLOSED, "an answer between begins the row anew"


@pytest.mark.parametrize("kind", [RequestError, ReplyError])
def test_eight_refusals_in_a_row_are_the_endpoints_fault(kind):
    health = Health()
    for number in range(8):
        assert health.state is State.CLOSED
        health.refused(kind("no"), float(number))
    assert health.state is State.OPEN
    assert str(health.cause) == "no"


@pytest.mark.parametrize("kind", [UnreachableError, EndpointError])
def test_an_endpoint_that_is_at_fault_opens_at_once_and_returns_by_a_trial(kind):
    health = proven()
    health.refused(kind("no"), 0.0)
    assert (health.state, health.limit(4, 0.0)) == (State.OPEN, 0)
    health.on_trial()
    assert (health.state, health.limit(4, 0.0)) == (State.HALF_OPEN, 1)
    health.succeeded(1.0, 0.0)
    assert (health.state, health.limit(4, 0.0), health.cause) == (State.CLOSED, 4, None)


def test_a_failed_trial_opens_it_again():
    health = proven()
    health.refused(UnreachableError("gone"), 0.0)
    health.on_trial()
    health.refused(ServerError("no"), 0.0)
    assert health.state is State.OPEN


@pytest.mark.parametrize(("kind", "in_a_row"), [(TimedOutError, 2), (ServerError, 5)])
def test_doubtful_failures_open_it_after_some_in_a_row(kind, in_a_row):
    health = proven()
    for _ in range(in_a_row - 1):
        health.refused(kind("no"), 0.0)
    assert health.state is State.CLOSED
    health.succeeded(1.0, 0.0)
    for _ in range(in_a_row - 1):
        health.refused(kind("no"), 0.0)
    assert health.state is State.CLOSED
    health.refused(kind("no"), 0.0)
    assert health.state is State.OPEN


def test_one_that_never_answered_opens_at_its_first_time_out():
    health = Health()
    health.refused(TimedOutError("no"), 0.0)
    assert health.state is State.OPEN


@pytest.mark.parametrize("kind", [RequestError, ReplyError])
def test_a_fault_of_the_request_or_reply_shows_that_somebody_is_there(kind):
    health = proven()
    health.refused(UnreachableError("gone"), 0.0)
    health.on_trial()
    health.refused(kind("no"), 0.0)
    assert health.state is State.CLOSED
    assert health.failed == {"UnreachableError": 1, kind.__name__: 1}


def test_busy_is_left_alone_as_long_as_it_says_and_not_for_ever():
    health = proven()
    health.refused(BusyError("later", retry_after_s=7), 100.0)
    assert (health.limit(4, 106.9), health.limit(4, 107.1)) == (0, 4)
    health.refused(BusyError("later"), 107.1, roll=lambda: 0.0)
    assert (health.limit(4, 107.5), health.limit(4, 107.7)) == (0, 4)
    health.refused(BusyError("later"), 100.0 + BUSY_LIMIT_S)
    assert health.state is State.OPEN


def test_the_first_question_is_alone_and_may_take_long():
    health = Health()
    assert (health.limit(4, 0.0), health.limit(4, 0.0, loaded=True)) == (1, 4)
    assert health.deadline_s(120, alone=True) == 300
    assert health.deadline_s(120, alone=False) == 120
    assert health.deadline_s(8, alone=True) == 20
    assert health.deadline_s(600, alone=True) == 600
    health.refused(TimedOutError("no"), 0.0)
    health.on_trial()
    assert health.deadline_s(120, alone=True) == 20, "it had its time"
    assert health.deadline_s(120, alone=False) == 20
    health.refused(UnreachableError("gone"), 0.0)
    health.on_trial()
    assert health.deadline_s(120, alone=True) == 120


def test_deadlines_follow_the_measured_time_within_bounds():
    health = proven()
    assert health.deadline_s(120, alone=True) == 120
    health.succeeded(1.0, 0.0)
    assert health.deadline_s(120, alone=True) == 20
    for _ in range(60):
        health.succeeded(10.0, 0.0)
    assert health.deadline_s(120, alone=True) == pytest.approx(60, rel=0.01)
    assert health.deadline_s(15, alone=True) == 15


def test_delays_grow_to_a_limit():
    assert probe_delay_s(0, lambda: 0.5) == pytest.approx(0.5)
    assert probe_delay_s(6, lambda: 0.5) == pytest.approx(1.0)
    assert probe_delay_s(1000, lambda: 0.5) == pytest.approx(15)
    assert probe_delay_s(0, lambda: 0.0) < probe_delay_s(0, lambda: 1.0)
    assert busy_delay_s(0, lambda: 0.0) == 0.5
    assert busy_delay_s(1000, lambda: 1.0) == 30.5


def test_it_knows_how_long_it_did_not_work():
    health = proven()
    health.refused(UnreachableError("gone"), 100.0)
    assert (health.outage_s(103.0), health.down_s(103.0)) == (3.0, 3.0)
    health.on_trial()
    health.refused(ServerError("not yet"), 104.0)
    assert health.outage_s(105.0) == 5.0
    health.succeeded(1.0, 106.0)
    assert (health.outage_s(200.0), health.down_s(200.0)) == (0.0, 6.0)
    health.refused(WrongKeyError("no"), 300.0)
    assert (health.outage_s(301.0), health.down_s(301.0)) == (1.0, 7.0)
