"""Work beside a task: its time slice, and lines about the endpoints."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from haven.tasks.background import TimeSlice, TimeSliceOverError, interim_line, summary_lines
from vlm_engine import EndpointStats, QuestionCost

IDLE = EndpointStats("working", 4, 0, 0, {}, 0, None, 0.0, 0, 0)
PC = EndpointStats("working", 4, 3, 300, {}, 2, 0.8, 0.0, 250_000, 4_000)
LAPTOP = EndpointStats(
    "not working", 1, 0, 100, {"TimedOutError": 2, "BusyError": 1}, 0, 2.25, 75.4, 0, 0
)


async def nobody_waits() -> bool:
    return False


async def test_a_time_slice_that_ends_several_times_is_over_once():
    time_slice = TimeSlice(0, nobody_waits)

    async def look() -> None:
        async with time_slice.limit():
            await asyncio.sleep(60)

    tasks = [asyncio.create_task(look()) for _ in range(4)]
    await asyncio.sleep(0)
    for _ in range(6):  # also while what was interrupted is still ending
        time_slice.end()
        await asyncio.sleep(0)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [TimeSliceOverError] * 4


def test_a_line_says_what_each_endpoint_did_since_the_last():
    before = {
        "gaming PC": replace(PC, served=120),
        "laptop": replace(LAPTOP, served=90, failed={"BusyError": 1}),
    }
    assert interim_line(before, {"gaming PC": PC, "laptop": LAPTOP}, 60.0) == (
        "Endpoints: gaming PC 180 a minute, 0.8 s each, 3 of 4 slots busy; "
        "laptop 10 a minute, 2.2 s each, 0 of 1 slots busy, 2 failed, not working"
    )
    assert (
        interim_line({}, {"new": replace(IDLE, in_flight=1)}, 60.0)
        == "Endpoints: new 0 a minute, 1 of 4 slots busy"
    )
    assert interim_line({"laptop": LAPTOP}, {"laptop": LAPTOP}, 60.0) is None
    assert interim_line({}, {}, 60.0) is None


def test_at_the_end_each_endpoint_has_a_line_with_its_share():
    costly = replace(LAPTOP, busy_s=93.6, cost=QuestionCost(0.21, 1.448, 0.002, 0.0305))
    assert list(summary_lines({"gaming PC": PC, "laptop": costly, "spare": IDLE}, 120.0)) == [
        "Endpoints: 400 answers, 200 a minute.",
        "Endpoint gaming PC: 300 answers (75%); 0.8 s each; 250,000 tokens read and 4,000 written;"
        " 2 copies of late requests.",
        "Endpoint laptop: 100 answers (25%); 2.2 s each; busy for 94 s; a call takes 0.21 s, a"
        " picture 1.4 s and a token of the answer 0.03 s of its time; failed: 2 TimedOutError,"
        " 1 BusyError;"
        " not working for 75 s.",
        "Endpoint spare: 0 answers (0%).",
    ]
    assert list(summary_lines({"spare": IDLE}, 5.0)) == []
