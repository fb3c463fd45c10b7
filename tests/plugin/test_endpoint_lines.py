"""What is said of the endpoints."""

from dataclasses import replace

from haven.tasks.endpoints import interim_line, summary_lines
from vlm_engine.types import EndpointStats

IDLE = EndpointStats("working", 4, 0, 0, {}, 0, None, 0.0, 0, 0)
PC = EndpointStats("working", 4, 3, 300, {}, 2, 0.8, 0.0, 250_000, 4_000)
LAPTOP = EndpointStats(
    "not working", 1, 0, 100, {"TimedOutError": 2, "BusyError": 1}, 0, 2.25, 75.4, 0, 0
)


def test_once_a_minute_each_endpoint_has_its_part_of_one_line():
    before = {
        "gaming PC": replace(PC, served=120),
        "laptop": replace(LAPTOP, served=90, failed={"BusyError": 1}),
    }
    assert interim_line(before, {"gaming PC": PC, "laptop": LAPTOP}, 60.0) == (
        "Endpoints: gaming PC 180 a minute, 0.8 s each, 3 of 4 under way; "
        "laptop 10 a minute, 2.2 s each, 0 of 1 under way, 2 failed, not working"
    )


def test_an_endpoint_that_was_not_there_before_counts_from_nothing():
    assert (
        interim_line({}, {"gaming PC": replace(IDLE, in_flight=1)}, 60.0)
        == "Endpoints: gaming PC 0 a minute, 1 of 4 under way"
    )


def test_nothing_is_said_while_nothing_happens():
    assert interim_line({"laptop": LAPTOP}, {"laptop": LAPTOP}, 60.0) is None
    assert interim_line({}, {}, 60.0) is None


def test_at_the_end_each_has_a_line_with_its_share():
    assert list(summary_lines({"gaming PC": PC, "laptop": LAPTOP, "spare": IDLE}, 120.0)) == [
        "Endpoints: 400 answers, 200 a minute.",
        "Endpoint gaming PC: 300 answers (75%); 0.8 s each; 250,000 tokens read and 4,000 written; "
        "2 of its questions asked of another before.",
        "Endpoint laptop: 100 answers (25%); 2.2 s each; failed: 2 TimedOutError, 1 BusyError; not working for 75 s.",
        "Endpoint spare: 0 answers (0%).",
    ]


def test_a_task_that_asked_nothing_says_nothing():
    assert list(summary_lines({"spare": IDLE}, 5.0)) == []
