"""What may be asked on top, with the clock passed in."""

import pytest

from vlm_engine.clients.retry import Budget


def test_a_share_of_what_was_asked_may_be_taken():
    budget = Budget(0.25, reserve=1)
    for _ in range(20):
        budget.earn()
    taken = 0
    while budget.left(0.0) >= 1:
        budget.take(0.0)
        taken += 1
    assert taken == 6


def test_it_holds_only_so_much():
    budget = Budget(0.5, most=3)
    for _ in range(100):
        budget.earn()
    assert budget.left(0.0) == 3


def test_what_is_taken_too_much_comes_back_with_time():
    budget = Budget(0.2, per_s=2.0, reserve=1)
    budget.take(10.0)
    assert budget.pause_s(10.0) == 0
    budget.take(10.0)
    budget.take(10.0)
    assert budget.pause_s(10.0) == pytest.approx(1.0)
    assert budget.pause_s(10.6) == pytest.approx(0.4)
    assert budget.left(11.5) == pytest.approx(1.0)
