from __future__ import annotations

from vlm_engine.tagging.tally import Tally


def tally(*read: tuple[float, bool]) -> Tally:
    made = Tally()
    for time_s, readable in read:
        made.read(time_s, readable)
    return made


def test_gaps_lie_between_frames_that_could_be_read() -> None:
    assert tally((0, True), (5, False), (8, False), (12, True), (20, False), (25, True)).gaps_s(
        30
    ) == ((5, 8), (20, 20))


def test_a_gap_that_nothing_follows_lasts_to_the_end() -> None:
    assert tally((25, False), (0, True), (20, False)).gaps_s(30) == ((20, 30),)


def test_what_could_not_be_read_is_counted_apart() -> None:
    made = tally((0, True), (5, False), (8, True), (9, True))
    made.answered()
    made.called("judge", 1)
    made.answered()
    made.called("judge", 0)
    made.failed("damaged at 5 s")
    made.failed("no answer")
    coverage = made.coverage()
    assert (
        coverage.asked,
        coverage.answered,
        coverage.failed,
        coverage.unreadable,
        coverage.calls,
    ) == (4, 2, 2, 1, 1)
    assert made.calls == {"judge": 1}
    assert made.reasons() == "damaged at 5 s (1 x); no answer (1 x)"
