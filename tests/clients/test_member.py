"""Slots and figures of one endpoint, with the clock passed in."""

import heapq
import random

import pytest

from vlm_engine.clients.discovery import Capabilities
from vlm_engine.clients.member import GIVEN_BACK_AFTER, AutoSlots, Member, Slots
from vlm_engine.errors import BusyError, TimedOutError
from vlm_engine.types import Answer


def answer(slots, count):
    for _ in range(count):
        slots.record_answer(0.0, full=True)


REDUCE = "busy"


@pytest.mark.parametrize(
    ("events", "limit"),
    [
        ([], 1),
        ([6], 6),
        ([6, 0], 1),
        ([6, REDUCE], 3),
        ([6, REDUCE, REDUCE, REDUCE], 1),
        ([8, REDUCE, 2], 2),
    ],
)
def test_offers_and_busy_decide_how_many_fixed_slots(events, limit):
    slots = Slots()
    for event in events:
        slots.reduce() if event is REDUCE else slots.offer(event)
    assert slots.limit == limit


def test_answers_restore_halved_slots_one_by_one():
    slots = Slots()
    slots.offer(4)
    slots.reduce()
    answer(slots, GIVEN_BACK_AFTER - 1)
    assert slots.limit == 2
    seen = []
    for _ in range(4 * GIVEN_BACK_AFTER):
        answer(slots, 1)
        seen.append(slots.limit)
    assert list(dict.fromkeys(seen)) == [3, 4]


def climbed(service_s, answers, start=1, noise=0.0, seed=5):
    """Return the final rate and limit of ``AutoSlots`` in front of a simulated server.

    ``service_s(n)``: the seconds that it takes for each of n questions.
    """
    slots, draw, now = AutoSlots(), random.Random(seed), 0.0
    slots.offer(start)
    under_way, rates = [], []
    for _ in range(answers):
        while len(under_way) < slots.limit:
            seconds = service_s(len(under_way) + 1) * draw.lognormvariate(-(noise**2) / 2, noise)
            heapq.heappush(under_way, now + seconds)
        full = len(under_way) >= slots.limit
        now = heapq.heappop(under_way)
        slots.record_answer(now, full=full)
        rates.append(now)
    last = rates[-answers // 3 :]
    return (len(last) - 1) / (last[-1] - last[0]), slots.limit


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("start", [1, 4, 40])
def test_auto_finds_most_of_a_batching_servers_rate(start, noise):
    def service_s(n):
        return 1.0 + 0.05 * (n - 1) + 0.2 * max(0, n - 24)

    rate, limit = climbed(service_s, 4000, start, noise)
    best = max(n / service_s(n) for n in range(1, 100))
    assert rate > 0.8 * best
    assert 10 <= limit <= 60


@pytest.mark.parametrize("start", [1, 30])
def test_auto_does_not_overload_a_server_with_four_slots(start):
    rate, limit = climbed(lambda n: 0.5 * max(1.0, n / 4), 4000, start)
    assert rate > 7
    assert limit <= 12


def test_auto_ignores_answers_while_slots_were_free():
    slots = AutoSlots()
    slots.offer(4)
    for number in range(1000):
        slots.record_answer(number / 10, full=False)
    assert slots.limit == 4


def test_auto_starts_at_the_offer_and_ignores_later_ones():
    slots = AutoSlots()
    slots.offer(2)
    slots.offer(4)
    assert slots.limit == 4
    seen = set()
    for number in range(60):
        slots.record_answer(number / 10, full=True)
        slots.offer(4 if number < 20 else 40)
        seen.add(slots.limit)
    assert seen == {4, 6}, "it tried six, and that was no better"


def test_busy_halves_auto_slots():
    slots = AutoSlots()
    slots.offer(9)
    slots.reduce()
    assert slots.limit == 4


def member(label="one", seconds=None, slots=1, **settings):
    """Return an endpoint that was measured to take ``seconds``."""
    made = Member(label, **settings)
    made.slots.offer(slots)
    for _ in range(0 if seconds is None else 2):
        made.health.record_answer(seconds, -1000.0)
    return made


def test_a_server_that_finishes_abandoned_questions_holds_slots():
    one = member(seconds=3.0, capabilities=Capabilities(finishes_abandoned=True))
    one.record_failure(TimedOutError("no answer"), 10.0)
    assert not one.has_slot(12.9)
    assert 13.0 in one.changes_at()
    assert one.has_slot(13.1)
    one.record_abandoned(1.0, 1.0, 20.0)
    assert not one.has_slot(22.0)
    other = member(seconds=3.0)
    other.record_failure(TimedOutError("no answer"), 10.0)
    assert other.has_slot(10.0)


def test_only_late_abandoned_questions_show_that_one_is_slow():
    one = member()
    one.record_abandoned(0.01, 1.0, 0.0)
    assert one.health.seconds is None
    one.record_abandoned(7.0, 1.0, 0.0)
    assert one.health.seconds == 7.0
    for seconds in (20.0, 1.0):
        one.record_answer(Answer({}, "", "m", "one"), seconds, 0.0)
    assert one.health.seconds == 1.0, "a measured time replaces a lower bound"


def test_busy_again_or_without_a_pause_halves_the_slots():
    one, later = member(slots=8, seconds=1.0), BusyError("later", retry_after_s=2)
    one.record_failure(later, 0.0)
    one.record_failure(later, 0.1)
    assert one.slots.limit == 8, "it named a pause; responses during one pause count once"
    one.record_failure(later, 3.0)
    assert one.slots.limit == 4, "the pause did not help"
    other = member(slots=8, seconds=1.0)
    other.record_failure(BusyError("later"), 0.0)
    assert other.slots.limit == 4
