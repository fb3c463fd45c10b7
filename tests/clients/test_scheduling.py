"""Scheduling and patience, with the clock passed in."""

import pytest

from tests.clients.test_member import member
from vlm_engine.clients.retry import RetryPolicy
from vlm_engine.clients.scheduling import (
    Patience,
    PendingQuestion,
    RequestQueue,
    ranked,
    reference_s,
)
from vlm_engine.errors import (
    BusyError,
    RequestError,
    ServerError,
    UnreachableError,
    WrongKeyError,
)
from vlm_engine.types import Form, Question

LONG_AGO = -1000.0
GONE = UnreachableError("gone")


@pytest.fixture
def one():
    return member("one", 1.0)


@pytest.fixture
def two():
    return member("two", 1.0)


@pytest.fixture
def fast():
    return member("fast", 0.2)


@pytest.fixture
def slow():
    return member("slow", 2.0)


def pending(**fields):
    return PendingQuestion(Question(("Foul",), Form.LIST, b""), **fields)


def queue_of(count, *members, **settings):
    """Return a queue of questions so old that no more are expected to arrive."""
    queue = RequestQueue(members, **settings)
    for _ in range(count):
        queue.add(pending(), LONG_AGO)
    return queue


def in_flight_at(queue, holder):
    return queue.start(pending(), holder, 0.0)


def fail(member, now=0.0, error=GONE):
    member.health.record_failure(error, now)


def first(queue):
    return next(iter(queue))


def test_repeated_questions_come_first_then_the_oldest(one):
    queue = queue_of(3, one)
    questions = list(queue)
    assert queue.next_for(one, 0.0) is questions[0]
    queue.start(questions[0], one, 0.0)
    assert list(queue) == questions[1:]
    again = pending()
    queue.add_again(again)
    assert queue.next_for(one, 0.0) is again
    queue.discard(again)
    assert queue.clear() == questions[1:]
    assert queue.next_for(one, 0.0) is None


def test_a_question_is_skipped_until_its_delay_is_over(one):
    queue = queue_of(1, one)
    again = pending(not_before=5.0)
    queue.add_again(again)
    assert queue.next_for(one, 4.0) is not again
    assert queue.next_for(one, 5.0) is again
    assert queue.changes_at() == [5.0]


def test_an_endpoint_gets_a_question_back_only_if_all_failed_it(one, two):
    queue = RequestQueue((one, two))
    again = pending(failures={one: ServerError("no")})
    queue.add_again(again)
    assert queue.next_for(one, 0.0) is None
    assert queue.next_for(two, 0.0) is again
    again.failures[two] = ServerError("no")
    assert queue.next_for(one, 0.0) is again
    fail(two)
    again.failures = {one: ServerError("no")}
    assert queue.next_for(one, 0.0) is again


def test_a_primary_that_is_tested_comes_before_a_fallback():
    primary, tested = member("primary", 1.0), member("tested", 1.0)
    fallback = member("fallback", 1.0, is_fallback=True)
    queue = queue_of(0, primary, tested, fallback)
    again = pending(failures={primary: RequestError("no")})
    queue.add_again(again)
    tested.is_held = True
    assert queue.next_for(fallback, 0.0) is None
    assert queue.next_for(primary, 0.0) is None
    tested.is_held = False
    assert queue.next_for(tested, 0.0) is again


def test_a_fallback_gets_what_every_primary_refused():
    primary, fallback = member("primary", 1.0), member("fallback", 1.0, is_fallback=True)
    queue = queue_of(1, primary, fallback)
    again = pending(failures={primary: RequestError("no")})
    assert queue.next_for(fallback, 0.0) is None
    queue.add_again(again)
    assert queue.has_another(again)
    assert queue.next_for(fallback, 0.0) is again
    assert queue.next_for(primary, 0.0) is not again


@pytest.mark.parametrize(("queued", "takes"), [(20, False), (70, False), (73, True), (500, True)])
def test_a_slow_endpoint_leaves_the_tail_to_fast_ones(queued, takes):
    fast, slow = member("fast", 0.2, slots=8), member("slow", 2.0)
    queue = queue_of(queued, fast, slow)
    # The fast one answers 40 per second: 72 questions take as long as one takes the slow one.
    assert (queue.next_for(slow, 0.0) is not None) == takes
    assert queue.next_for(fast, 0.0) is first(queue)


def test_no_endpoint_defers_to_one_that_is_down_or_hangs():
    fast, slow = member("fast", 0.2, slots=8), member("slow", 2.0)
    queue = queue_of(1, fast, slow)
    assert queue.next_for(slow, 0.0) is None
    fail(fast, 0.0, BusyError("later", retry_after_s=10))
    assert queue.next_for(slow, 0.0) is first(queue)
    fail(fast, 20.0)
    assert queue.next_for(slow, 20.0) is first(queue)
    hanging, steady = member("hanging", 0.2, slots=4), member("steady", 0.5)
    queue = queue_of(5, hanging, steady)
    queue.start(first(queue), hanging, 0.0)
    assert queue.next_for(hanging, 0.3) is not None
    assert queue.next_for(hanging, 7.0) is None
    assert queue.next_for(steady, 7.0) is first(queue)


def test_there_is_no_tail_while_questions_keep_arriving():
    fast, slow = member("fast", 0.2, slots=8), member("slow", 2.0)
    queue = RequestQueue((fast, slow))
    for number in range(400):
        question = pending()
        queue.add(question, number / 40)
        queue.discard(question)
    queue.add(pending(), 10.0)
    assert queue.next_for(slow, 10.0) is not None
    assert queue.next_for(slow, 20.0) is None


def test_weight_ranks_endpoints_that_are_not_measured():
    known, heavy, light = member("k", 1.0), member("h", weight=4.0), member("l", weight=0.5)
    queue = queue_of(1, known, heavy, light)
    members = queue.eligible(0.0)
    assert ranked(members, reference_s(members)) == [heavy, known, light]
    assert queue.next_for(light, 0.0) is None


def test_fallbacks_help_if_the_wait_is_longer_than_set():
    primary, spare = member("primary", 2.0, slots=2), member("spare", 1.0, is_fallback=True)
    both = (primary, spare)
    assert queue_of(10, *both, fallback_wait_s=10).eligible(0.0) == (primary,)
    assert queue_of(11, *both, fallback_wait_s=10).eligible(0.0) == both
    assert queue_of(500, *both).eligible(0.0) == (primary,)


def test_a_late_request_is_copied_to_an_idle_fast_endpoint(fast, slow):
    queue = RequestQueue((fast, slow))
    request = in_flight_at(queue, slow)
    copy = queue.next_copy([fast], 0.5)
    assert (copy.original, copy.member, copy.at) == (request, fast, 0.5)
    assert queue.next_copy([fast], 1.7).at == pytest.approx(2.4), "it is expected back soon"
    assert queue.next_copy([fast], 2.5).at == 2.5, "it is late, and may be late by as much again"


def test_no_copy_while_questions_wait_or_for_slow_endpoints():
    fast, middle, slow = member("fast", 0.2), member("middle", 0.5), member("slow", 30.0)
    fresh = member("fresh", weight=9)
    queue = RequestQueue((fast, middle, slow, fresh))
    in_flight_at(queue, slow)
    for idle in (middle, fresh, slow):
        assert queue.next_copy([idle], 1.0) is None
    queue.add(pending(), 1.0)
    assert queue.next_copy([fast], 1.0) is None


def test_a_question_gets_one_copy_and_not_where_it_failed():
    fast, faster, slow = member("fast", 0.2), member("faster", 0.19), member("slow", 30.0)
    queue = RequestQueue((fast, faster, slow))
    question = in_flight_at(queue, slow).pending
    question.failures = {faster: ServerError("no")}
    assert queue.next_copy([fast, faster], 1.0).member is fast
    second = queue.start(question, fast, 1.0)
    assert queue.next_copy([faster], 1.0) is None
    queue.finish(second)
    assert queue.next_copy([fast], 1.0) is not None
    question.is_over = True
    assert queue.next_copy([fast], 1.0) is None


def test_the_request_that_would_take_longest_is_copied_first():
    fast, slow, slower = member("fast", 0.2), member("slow", 5.0), member("slower", 30.0)
    queue = RequestQueue((fast, slow, slower))
    in_flight_at(queue, slow)
    late = in_flight_at(queue, slower)
    assert queue.next_copy([fast], 1.0).original is late


def patience_for(*members, total_s=300.0):
    return Patience(members, RetryPolicy(total_s=total_s))


def ended(patience, *times):
    for now in times:
        patience.update(now)
    return patience.ended


def test_patience_lasts_as_set_and_starts_again_after_a_return(one, two):
    patience = patience_for(one, two)
    fail(one)
    patience.update(0.0)
    assert patience.changes_at() == []
    fail(two, 100.0)
    assert not ended(patience, 100.0, 399.0)
    assert 400.0 in patience.changes_at()
    one.health.start_trial()
    one.health.record_answer(1.0, 399.5)
    patience.update(399.5)
    fail(one, 500.0)
    assert not ended(patience, 500.0, 799.0)
    assert ended(patience, 800.0)
    assert patience.changes_at() == []


def test_patience_ends_until_a_trial_and_again_if_that_fails(one):
    patience = patience_for(one, total_s=10.0)
    fail(one)
    assert ended(patience, 0.0, 10.0)
    one.health.start_trial()
    assert not ended(patience, 20.0)
    fail(one, 21.0)
    assert ended(patience, 21.0)


@pytest.mark.parametrize(("error", "wait_s"), [(GONE, 3.0), (WrongKeyError("no"), 0.0)])
def test_patience_is_short_if_nothing_was_ever_answered(error, wait_s):
    one = member("one")
    patience = patience_for(one)
    fail(one, 5.0, error)
    assert ended(patience, 5.0) == (not wait_s)
    assert ended(patience, 5.0 + wait_s)


def test_a_busy_endpoint_is_waited_for_within_patience(one):
    patience = patience_for(one)
    fail(one, 0.0, BusyError("later", retry_after_s=200.0))
    assert not ended(patience, 0.0) and patience.left_s(2.0) == 298.0
    assert not ended(patience, 250.0)
    fail(one, 250.0, BusyError("later", retry_after_s=200.0))
    assert ended(patience, 250.0), "it asks for more than is left"


def test_a_pause_longer_than_patience_ends_it_if_it_is_alone(one, two):
    fail(one, 0.0, BusyError("later", retry_after_s=600.0))
    fail(two)
    assert ended(patience_for(one), 0.0)
    assert not ended(patience_for(one, two), 0.0)


def test_a_question_in_flight_keeps_patience_alive(one):
    patience = patience_for(one, total_s=10.0)
    one.start(0.0)
    fail(one)
    assert not ended(patience, 0.0, 60.0)
    one.finish(0.0)
    assert ended(patience, 61.0)
