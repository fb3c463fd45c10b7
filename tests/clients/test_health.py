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

ANSWER, TRIAL, CONTRADICTION = "an answer", "a trial", "another endpoint answered"


def after(*events, now=0.0):
    """Return the health after these events: errors, or the constants above."""
    health = Health(RetryPolicy(jitter=lambda: 0.0))
    for event in events:
        if event is ANSWER:
            health.record_answer(1.0, now)
        elif event is TRIAL:
            health.start_trial()
        elif event is CONTRADICTION:
            health.record_contradiction(RequestError("no"), now)
        else:
            health.record_failure(event("no"), now)
    return health


PERMANENT = (WrongKeyError, WrongModelError, NoVisionError)
REFUSED_ALONE = (RequestError, CONTRADICTION)
CASES = {
    **{
        f"permanent: {kind.__name__}": ([kind, TRIAL, ANSWER, UnreachableError], State.DEAD)
        for kind in PERMANENT
    },
    **{
        f"not permanent after an answer: {kind.__name__}": ([ANSWER, kind], State.OPEN)
        for kind in PERMANENT
    },
    "works again after a trial": ([ANSWER, WrongKeyError, TRIAL, ANSWER], State.CLOSED),
    "two refusals of what others answer": ([ANSWER, *REFUSED_ALONE * 2], State.CLOSED),
    "three refusals of what others answer": ([ANSWER, *REFUSED_ALONE * 3], State.OPEN),
    "not even a trial": ([ANSWER, *REFUSED_ALONE * 3, TRIAL, ReplyError], State.OPEN),
    "an answer between refusals": ([*REFUSED_ALONE * 2, ANSWER, *REFUSED_ALONE], State.CLOSED),
    "seven refusals": ([RequestError] * 7, State.CLOSED),
    "eight refusals": ([RequestError] * 8, State.OPEN),
    "eight replies that say nothing": ([ReplyError] * 8, State.OPEN),
    "unreachable": ([ANSWER, UnreachableError], State.OPEN),
    "no endpoint for chat": ([ANSWER, EndpointError], State.OPEN),
    "on trial": ([ANSWER, UnreachableError, TRIAL], State.HALF_OPEN),
    "a trial that fails": ([ANSWER, UnreachableError, TRIAL, ServerError], State.OPEN),
    "a trial that is refused": ([UnreachableError, TRIAL, RequestError], State.CLOSED),
    "a trial with an odd reply": ([UnreachableError, TRIAL, ReplyError], State.CLOSED),
    "the first answer is late": ([TimedOutError], State.OPEN),
    "one is late": ([ANSWER, TimedOutError, ANSWER, TimedOutError], State.CLOSED),
    "two are late": ([ANSWER, TimedOutError, TimedOutError], State.OPEN),
    "four server errors": ([*[ServerError] * 4, ANSWER, *[ServerError] * 4], State.CLOSED),
    "five server errors": ([ANSWER, *[ServerError] * 5], State.OPEN),
}


@pytest.mark.parametrize(("events", "state"), CASES.values(), ids=CASES)
def test_what_happened_decides_whether_it_works(events, state):
    health = after(*events)
    assert health.state is state
    limits = {State.CLOSED: 4, State.HALF_OPEN: 1}
    assert health.limit(4, 0.0, loaded=True) == limits.get(state, 0)
    assert (health.cause is None) == (state is State.CLOSED)


def test_a_busy_endpoint_gets_its_pause_but_not_for_ever():
    health = after(ANSWER)
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
    health = after(ANSWER)
    assert health.deadline_s(120, alone=True) == 120
    health.record_answer(1.0, 0.0)
    assert health.deadline_s(120, alone=True) == 20
    for _ in range(60):
        health.record_answer(10.0, 0.0)
    assert health.deadline_s(120, alone=True) == pytest.approx(60, rel=0.01)
    assert health.deadline_s(15, alone=True) == 15


def test_outages_are_timed():
    health = after(ANSWER)
    health.record_failure(UnreachableError("gone"), 100.0)
    assert (health.outage_s(103.0), health.down_s(103.0)) == (3.0, 3.0)
    health.start_trial()
    health.record_failure(ServerError("not yet"), 104.0)
    assert health.outage_s(105.0) == 5.0
    health.record_answer(1.0, 106.0)
    assert (health.outage_s(200.0), health.down_s(200.0)) == (0.0, 6.0)
    health.record_failure(WrongKeyError("no"), 300.0)
    assert (health.outage_s(301.0), health.down_s(301.0)) == (1.0, 7.0)
