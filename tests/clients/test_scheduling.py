"""Who takes which question, what is asked again and what twice, with the clock passed in."""

import pytest

from vlm_engine.clients.discovery import Capabilities
from vlm_engine.clients.member import Member
from vlm_engine.clients.retry import BOUNCES, TRIES, RetryState
from vlm_engine.clients.scheduling import RequestQueue
from vlm_engine.errors import (
    BusyError,
    ReplyError,
    RequestError,
    ServerError,
    TimedOutError,
    UnreachableError,
)
from vlm_engine.types import Answer

LONG_AGO = -1000.0


def member(label, seconds=None, slots=1, **settings):
    """An endpoint that has been found to take so many seconds."""
    own = Member(label, **settings)
    own.slots.offer(slots)
    for _ in range(0 if seconds is None else 2):
        own.health.succeeded(seconds, LONG_AGO)
    return own


def line_of(count, *members, **settings):
    """A line in which ``count`` questions have waited for so long that nobody thinks that more will come."""
    line = RequestQueue(members, **settings)
    for _ in range(count):
        line.join(RetryState(), LONG_AGO)
    return line


def first(line):
    return next(iter(line))


def test_first_come_first_served_and_those_asked_again_before_the_others():
    one = member("one", 1.0)
    line = line_of(3, one)
    turns = list(line)
    assert line.next_for(one, 0.0) is turns[0]
    line.begin(turns[0], one, 0.0)
    assert list(line) == turns[1:]
    again = RetryState()
    line.rejoin(again)
    assert line.next_for(one, 0.0) is again
    line.leave(again)
    assert line.clear() == turns[1:]
    assert line.next_for(one, 0.0) is None


def test_a_question_that_is_to_wait_a_little_is_passed_over():
    one = member("one", 1.0)
    line = line_of(1, one)
    again = RetryState(not_before=5.0)
    line.rejoin(again)
    assert line.next_for(one, 4.0) is not again
    assert line.next_for(one, 5.0) is again
    assert line.changes_at() == [5.0]


def test_a_question_goes_back_to_who_failed_it_only_when_all_have():
    one, two = member("one", 1.0), member("two", 1.0)
    line = RequestQueue((one, two))
    again = RetryState(failures={one: ServerError("no")})
    line.rejoin(again)
    assert line.next_for(one, 0.0) is None
    assert line.next_for(two, 0.0) is again
    again.failures[two] = ServerError("no")
    assert line.next_for(one, 0.0) is again
    two.health.refused(UnreachableError("gone"), 0.0)
    again.failures = {one: ServerError("no")}
    assert line.next_for(one, 0.0) is again


@pytest.mark.parametrize(("waiting", "takes"), [(20, False), (70, False), (73, True), (500, True)])
def test_a_slow_endpoint_leaves_the_tail_to_the_fast_ones(waiting, takes):
    fast, slow = member("fast", 0.2, slots=8), member("slow", 2.0)
    line = line_of(waiting, fast, slow)
    # The fast one answers 40 a second: 72 questions take it as long as one takes the slow one.
    assert (line.next_for(slow, 0.0) is not None) == takes
    assert line.next_for(fast, 0.0) is first(line)


def test_nobody_leaves_a_question_to_an_endpoint_that_does_not_work():
    fast, slow = member("fast", 0.2, slots=8), member("slow", 2.0)
    line = line_of(1, fast, slow)
    assert line.next_for(slow, 0.0) is None
    fast.health.refused(BusyError("later", retry_after_s=10), 0.0)
    assert line.next_for(slow, 0.0) is first(line)
    fast.health.refused(UnreachableError("gone"), 20.0)
    assert line.next_for(slow, 20.0) is first(line)


def test_nor_for_ever_to_one_that_hangs():
    fast, slow = member("fast", 0.2), member("slow", 2.0)
    line = line_of(2, fast, slow)
    line.begin(first(line), fast, 0.0)
    assert line.next_for(slow, 0.1) is None
    assert line.next_for(slow, 1.5) is first(line)


def test_one_that_hangs_leaves_the_tail_to_others_although_it_was_fast():
    hanging, steady = member("hanging", 0.2, slots=4), member("steady", 0.5)
    line = line_of(5, hanging, steady)
    line.begin(first(line), hanging, 0.0)
    assert line.next_for(hanging, 0.3) is not None
    assert line.next_for(hanging, 7.0) is None
    assert line.next_for(steady, 7.0) is first(line)


def test_while_questions_keep_coming_there_is_no_tail():
    fast, slow = member("fast", 0.2, slots=8), member("slow", 2.0)
    line = RequestQueue((fast, slow))
    for number in range(400):
        turn = RetryState()
        line.join(turn, number / 40)
        line.leave(turn)
    line.join(RetryState(), 10.0)
    assert line.next_for(slow, 10.0) is not None
    assert line.next_for(slow, 20.0) is None


def test_an_unmeasured_endpoint_is_thought_as_quick_as_its_weight_says():
    known, heavy, light = (
        member("known", 1.0),
        member("heavy", weight=4.0),
        member("light", weight=0.5),
    )
    line = line_of(1, known, heavy, light)
    assert line.eligible(0.0) == [heavy, known, light]
    assert line.next_for(light, 0.0) is None


def test_fallbacks_pull_while_no_primary_works_and_after_those_on_trial():
    primary, spare = member("primary", 2.0), member("spare", 0.1, is_fallback=True)
    line = line_of(50, primary, spare)
    assert line.eligible(0.0) == [primary]
    assert line.next_for(spare, 0.0) is None
    primary.health.refused(UnreachableError("gone"), 0.0)
    assert line.next_for(spare, 0.0) is not None
    primary.health.on_trial()
    assert line.eligible(0.0) == [primary, spare]
    assert line.next_for(primary, 0.0) is not None


def test_fallbacks_also_pull_when_the_wait_grows_long_where_that_is_set():
    primary, spare = member("primary", 2.0, slots=2), member("spare", 1.0, is_fallback=True)
    assert line_of(10, primary, spare, fallback_wait_s=10).eligible(0.0) == [primary]
    assert line_of(11, primary, spare, fallback_wait_s=10).eligible(0.0) == [primary, spare]
    assert line_of(500, primary, spare).eligible(0.0) == [primary]


def asked_of(line, holder, now=0.0):
    turn = RetryState()
    return line.begin(turn, holder, now)


def test_what_will_take_long_is_asked_of_an_idle_fast_endpoint_too():
    fast, slow = member("fast", 0.2), member("slow", 2.0)
    line = RequestQueue((fast, slow))
    attempt = asked_of(line, slow)
    copy = line.next_copy([fast], 0.5)
    assert (copy.attempt, copy.member, copy.at) == (attempt, fast, 0.5)
    assert line.next_copy([fast], 1.7).at == pytest.approx(2.4), (
        "it is expected back soon: first see"
    )
    assert line.next_copy([fast], 2.5).at == 2.5, "it is late, and may be late by as much again"


def test_nothing_is_asked_twice_while_questions_wait_or_of_slow_or_unknown_endpoints():
    fast, middle, slow, fresh = (
        member("fast", 0.2),
        member("middle", 0.5),
        member("slow", 30.0),
        member("fresh", weight=9),
    )
    line = RequestQueue((fast, middle, slow, fresh))
    asked_of(line, slow)
    assert line.next_copy([middle], 1.0) is None
    assert line.next_copy([fresh], 1.0) is None
    assert line.next_copy([slow], 1.0) is None
    line.join(RetryState(), 1.0)
    assert line.next_copy([fast], 1.0) is None


def test_a_question_is_asked_twice_at_most_and_not_of_one_that_failed_it():
    fast, faster, slow = member("fast", 0.2), member("faster", 0.19), member("slow", 30.0)
    line = RequestQueue((fast, faster, slow))
    attempt = asked_of(line, slow)
    attempt.turn.failures = {faster: ServerError("no")}
    assert line.next_copy([fast, faster], 1.0).member is fast
    second = line.begin(attempt.turn, fast, 1.0)
    assert line.next_copy([faster], 1.0) is None
    line.end(second)
    assert line.next_copy([fast], 1.0) is not None
    attempt.turn.over = True
    assert line.next_copy([fast], 1.0) is None


def test_the_one_that_would_take_longest_is_asked_twice_first():
    fast, slow, slower = member("fast", 0.2), member("slow", 5.0), member("slower", 30.0)
    line = RequestQueue((fast, slow, slower))
    asked_of(line, slow)
    late = asked_of(line, slower)
    assert line.next_copy([fast], 1.0).attempt is late


def test_slots_are_taken_and_freed():
    one = member("one", 1.0, slots=2)
    line = line_of(3, one)
    attempts = [line.begin(first(line), one, 0.0) for _ in range(2)]
    assert (one.in_flight, one.has_slot(0.0), len(line)) == (2, False, 1)
    line.end(attempts[0])
    assert (one.in_flight, one.has_slot(0.0)) == (1, True)
    assert attempts[0].turn.attempts == []


def test_where_a_server_goes_on_with_what_was_given_up_the_slot_stays_taken_for_a_while():
    one = member("one", 3.0, told=Capabilities(finishes_abandoned=True))
    one.refused(TimedOutError("no answer"), 10.0)
    assert not one.has_slot(12.9)
    assert 13.0 in one.changes_at()
    assert one.has_slot(13.1)
    one.abandoned(1.0, 1.0, 20.0)
    assert not one.has_slot(22.0)
    other = member("other", 3.0)
    other.refused(TimedOutError("no answer"), 10.0)
    assert other.has_slot(10.0)


def test_giving_up_early_tells_nothing_of_an_endpoint_and_giving_up_late_that_it_is_slow():
    one = member("one")
    one.abandoned(0.01, 1.0, 0.0)
    assert one.health.seconds is None
    one.abandoned(7.0, 1.0, 0.0)
    assert one.health.seconds == 7.0
    one.answered(Answer({}, "", "m", "one"), 20.0, 0.0)
    one.answered(Answer({}, "", "m", "one"), 1.0, 0.0)
    assert one.health.seconds == 1.0, "what was measured replaces what was only known to be more"


def test_busy_with_a_time_is_obeyed_and_busy_again_or_without_one_halves_the_slots():
    one = member("one", 1.0, slots=8)
    one.refused(BusyError("later", retry_after_s=2), 0.0)
    one.refused(BusyError("later", retry_after_s=2), 0.1)
    assert one.slots.limit == 8, (
        "it said when to come back; all that it refused in one go count once"
    )
    one.refused(BusyError("later", retry_after_s=2), 3.0)
    assert one.slots.limit == 4, "that did not help"
    other = member("other", 1.0, slots=8)
    other.refused(BusyError("later"), 0.0)
    assert other.slots.limit == 4


@pytest.mark.parametrize("error", [ServerError("500"), TimedOutError("late")])
def test_what_may_be_the_questions_own_fault_ends_it_after_some_tries(error):
    turn = RetryState()
    for number in range(TRIES):
        turn.failed(member(str(number)), error)
        assert (turn.end(error, another=True) is error) == (number == TRIES - 1)
    assert len(turn.tried) == TRIES


def test_an_unreadable_reply_is_asked_of_another_but_not_of_the_same():
    turn, error = RetryState(), ReplyError("no JSON")
    turn.failed(member("one"), error)
    assert turn.end(error, another=True) is None
    assert turn.end(error, another=False) is error


@pytest.mark.parametrize("kind", [RequestError, ReplyError])
def test_a_refused_question_ends_when_nobody_else_is_left_or_three_refused(kind):
    turn, error = RetryState(), kind("too long")
    turn.failed(member("one"), error)
    assert turn.end(error, another=False) is error
    assert turn.end(error, another=True) is None
    turn.failed(member("two"), error)
    assert turn.end(error, another=True) is None
    turn.failed(member("three"), error)
    assert turn.end(error, another=True) is error


def test_no_question_ends_at_one_endpoint_where_there_are_two():
    turn, one, error = RetryState(), member("one"), ServerError("500")
    for _ in range(3):
        turn.failed(one, error)
    assert turn.end(error, another=False) is error
    assert turn.end(error, another=True) is None


def test_a_fallback_gets_what_every_primary_refused_and_nothing_else():
    primary, fallback = member("primary", 1.0), member("fallback", 1.0, is_fallback=True)
    line = RequestQueue((primary, fallback))
    fresh, again = RetryState(), RetryState(failures={primary: RequestError("no")})
    line.join(fresh, 0.0)
    assert line.next_for(fallback, 0.0) is None
    line.rejoin(again)
    assert line.has_another(again)
    assert line.next_for(fallback, 0.0) is again
    assert line.next_for(primary, 0.0) is fresh


def test_busy_never_counts():
    turn = RetryState()
    for _ in range(100):
        turn.failed(member("one"), BusyError("later"))
        assert turn.end(BusyError("later"), another=False) is None


def test_a_question_that_brings_down_whatever_it_is_put_to_ends_with_the_last_cause():
    turn, error = RetryState(), UnreachableError("dropped", endpoint="court")
    for _ in range(BOUNCES - 1):
        turn.failed(member("one", 1.0), error)
    assert turn.end(error, another=True) is None
    turn.failed(member("new"), error)
    assert turn.end(error, another=True) is None, "it has never answered anything"
    turn.failed(member("one", 1.0), error)
    end = turn.end(error, another=True)
    assert type(end) is ServerError
    assert end.__cause__ is error
    assert str(end) == "court: every attempt failed, the last with: dropped"


def test_a_breath_is_taken_only_before_going_back_to_who_failed_it():
    turn, error = RetryState(), ServerError("500")
    turn.failed(member("one"), error)
    assert turn.breath_s(error, another=True) == 0
    assert turn.breath_s(error, another=False) == 0.5
    assert turn.breath_s(BusyError("later"), another=False) == 0
