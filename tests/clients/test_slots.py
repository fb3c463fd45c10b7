"""How many questions at once, with the clock passed in."""

import heapq
import random

import pytest

from vlm_engine.clients.member import GIVEN_BACK_AFTER, AutoSlots, FixedSlots


def answer(slots, count, now=0.0, full=True):
    for _ in range(count):
        slots.answered(now, full=full)


def test_as_many_as_offered():
    slots = FixedSlots()
    assert slots.limit == 1
    slots.offer(6)
    assert slots.limit == 6
    slots.offer(0)
    assert slots.limit == 1


def test_busy_halves_them_and_answers_give_them_back_one_by_one():
    slots = FixedSlots()
    slots.offer(6)
    slots.too_many()
    assert slots.limit == 3
    slots.too_many()
    assert slots.limit == 1
    slots.too_many()
    assert slots.limit == 1
    answer(slots, GIVEN_BACK_AFTER - 1)
    assert slots.limit == 1
    seen = []
    for _ in range(7 * GIVEN_BACK_AFTER):
        answer(slots, 1)
        seen.append(slots.limit)
    assert list(dict.fromkeys(seen)) == [2, 3, 4, 5, 6]


def test_what_is_offered_later_counts_while_they_are_cut():
    slots = FixedSlots()
    slots.offer(8)
    slots.too_many()
    slots.offer(2)
    assert slots.limit == 2


def climbed(service_s, answers, start=1, noise=0.0, seed=5):
    """``AutoSlots`` in front of a server that takes ``service_s(n)`` for each of n questions: answers per second at the end."""
    slots, draw, now = AutoSlots(), random.Random(seed), 0.0
    slots.offer(start)
    under_way, rates = [], []
    for _ in range(answers):
        while len(under_way) < slots.limit:
            seconds = service_s(len(under_way) + 1) * draw.lognormvariate(-(noise**2) / 2, noise)
            heapq.heappush(under_way, now + seconds)
        full = len(under_way) >= slots.limit
        now = heapq.heappop(under_way)
        slots.answered(now, full=full)
        rates.append(now)
    last = rates[-answers // 3 :]
    return (len(last) - 1) / (last[-1] - last[0]), slots.limit


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("start", [1, 4, 40])
def test_auto_finds_most_of_what_a_batching_server_can_do(start, noise):
    rate, limit = climbed(
        lambda n: 1.0 + 0.05 * max(0, n - 1) + (0.2 * (n - 24) if n > 24 else 0), 4000, start, noise
    )
    best = max(
        n / (1.0 + 0.05 * (n - 1) + (0.2 * (n - 24) if n > 24 else 0)) for n in range(1, 100)
    )
    assert rate > 0.8 * best
    assert 10 <= limit <= 60


@pytest.mark.parametrize("start", [1, 30])
def test_auto_does_not_pile_questions_up_before_a_server_that_works_on_four(start):
    rate, limit = climbed(lambda n: 0.5 * max(1.0, n / 4), 4000, start)
    assert rate > 7
    assert limit <= 12


def test_auto_does_not_judge_by_answers_that_came_while_slots_were_free():
    slots = AutoSlots()
    slots.offer(4)
    for number in range(1000):
        slots.answered(number / 10, full=False)
    assert slots.limit == 4


def test_auto_begins_where_the_server_says_and_is_not_told_twice():
    slots = AutoSlots()
    slots.offer(2)
    slots.offer(4)
    assert slots.limit == 4
    seen = set()
    for number in range(60):
        slots.answered(number / 10, full=True)
        slots.offer(4 if number < 20 else 40)
        seen.add(slots.limit)
    assert seen == {4, 6}, "it tried six, and that was no better"


def test_auto_halves_at_busy():
    slots = AutoSlots()
    slots.offer(9)
    slots.too_many()
    assert slots.limit == 4
