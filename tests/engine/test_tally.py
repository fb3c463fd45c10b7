from __future__ import annotations

from vlm_engine.tagging.category_search import FrameTally


def tally(*read: tuple[float, bool]) -> FrameTally:
    made = FrameTally()
    for time_s, readable in read:
        made.record_read(time_s, readable)
    return made


def test_gaps_lie_between_frames_that_could_be_read():
    assert tally((0, True), (5, False), (8, False), (12, True), (20, False), (25, True)).gaps_s(
        30
    ) == ((5, 8), (20, 20))


def test_a_gap_that_nothing_follows_lasts_to_the_end():
    assert tally((25, False), (0, True), (20, False)).gaps_s(30) == ((20, 30),)


def test_unreadable_frames_are_counted_apart():
    made = tally((0, True), (5, False), (8, True), (9, True))
    made.record_answer()
    made.record_calls("judge", 1, 0.5)
    made.record_answer()
    made.record_calls("judge", 0, 0.0)
    made.record_failure("damaged at 5 s")
    made.record_failure("no answer")
    coverage = made.coverage()
    assert (
        coverage.asked,
        coverage.answered,
        coverage.failed,
        coverage.unreadable,
        coverage.calls,
    ) == (4, 2, 2, 1, 1)
    assert (made.calls, made.seconds, coverage.seconds) == ({"judge": 1}, {"judge": 0.5}, 0.5)
    assert made.reasons() == "damaged at 5 s (1 x); no answer (1 x)"
