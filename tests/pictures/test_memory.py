"""Memory for decoding: never more than there is, and a large picture gets its share."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from vlm_engine.pictures.reader import MemoryBudget

BOUND_S = 30


def test_never_more_is_reserved_than_there_is():
    budget, lock, reserved, most = MemoryBudget(10), threading.Lock(), 0, 0

    def work(amount: int) -> None:
        nonlocal reserved, most
        for number in range(50):
            with suppress(ValueError), budget.reserve(amount):
                with lock:
                    reserved += min(amount, 10)
                    most = max(most, reserved)
                with lock:
                    reserved -= min(amount, 10)
                if number % 5 == 0:
                    raise ValueError  # it is given back all the same

    with ThreadPoolExecutor(5) as threads:
        for done in [threads.submit(work, amount) for amount in (1, 3, 4, 9, 25)]:
            done.result(BOUND_S)
    assert reserved == 0
    assert 0 < most <= 10
    with budget.reserve(10):
        pass


def test_a_large_one_comes_before_small_ones_that_came_later():
    budget, order = MemoryBudget(10), list[str]()
    first_has_it, first_may_go = threading.Event(), threading.Event()

    def hold_some() -> None:
        with budget.reserve(4):
            first_has_it.set()
            assert first_may_go.wait(BOUND_S)

    def take(name: str, amount: int) -> None:
        with budget.reserve(amount):
            order.append(name)

    with ThreadPoolExecutor(3) as threads:
        holding = threads.submit(hold_some)
        assert first_has_it.wait(BOUND_S)
        large = threads.submit(take, "large", 10)
        while not budget._waiting:
            threading.Event().wait(0.001)
        small = threads.submit(take, "small", 1)
        first_may_go.set()
        for done in (holding, large, small):
            done.result(BOUND_S)
    assert order == ["large", "small"]
