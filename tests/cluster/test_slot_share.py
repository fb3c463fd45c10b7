"""An engine's share of slots: what it tells the hub, and when."""

from __future__ import annotations

import asyncio

import pytest

from vlm_engine.cluster.division import Allowance
from vlm_engine.cluster.slots import SlotShare


@pytest.fixture
def told() -> list[list[int]]:
    return []


@pytest.fixture
def share(told) -> SlotShare:
    return SlotShare(told.append)


async def test_what_it_lacks_is_told_at_once(share, told):
    share.report(0, 3, 8)
    assert told == [[3, 0, 8, 0]]
    assert share.allowed == 0
    share.take(Allowance(1, 3, 5))
    assert share.allowed == 3
    share.report(1, 4, 8)
    assert told[-1] == [4, 1, 8, 1]


async def test_reports_that_change_nothing_are_not_sent(share, told):
    share.report(0, 3, 8)
    share.take(Allowance(1, 3))
    share.report(0, 3, 8)  # confirms the allowance
    sent = len(told)
    for taken in (1, 2, 3, 2, 3):
        share.report(taken, 3, 8)
    assert len(told) == sent


async def test_slots_to_give_back_go_one_by_one_as_they_get_free(share, told):
    share.report(0, 8, 8)
    share.take(Allowance(1, 8))
    share.report(8, 8, 8)
    share.take(Allowance(2, 4, 4))
    sent = len(told)
    for taken in (8, 7, 7, 6, 5, 4, 3, 4):
        share.report(taken, 8, 8)
    assert told[sent:] == [[8, taken, 8, 2] for taken in (8, 7, 6, 5, 4)]


async def test_slots_that_are_not_wanted_are_told_after_a_while(share, told):
    share.report(0, 4, 8)
    share.take(Allowance(1, 4))
    share.report(4, 4, 8)
    sent = len(told)
    share.report(1, 1, 8)
    share.report(4, 4, 8)  # the next questions follow at once
    share.report(1, 1, 8)
    assert len(told) == sent
    async with asyncio.timeout(10):
        while len(told) == sent:
            await asyncio.sleep(0.01)
    assert told[sent:] == [[1, 1, 8, 1]]


async def test_followers_hear_what_others_have(share):
    heard = []
    share.follow(heard.append)
    share.take(Allowance(1, 2, 6))
    share.take(Allowance(2, 0, 8))
    assert heard == [6, 8]
