"""When going on makes no sense: item after item fails for one cause."""

import pytest

from haven.tasks.same_cause import FAILURES_IN_A_ROW, FILES_IN_A_ROW, FailureRow, SameCauseError
from vlm_engine.errors import (
    CoverageError,
    MediaNotFoundError,
    MediaOutOfReachError,
    MediaUnreadableError,
    ReplyError,
    RequestError,
)


def ends_after(errors):
    """How many of these failures are taken before the batch ends; None where it does not."""
    row = FailureRow()
    for number, (error, path) in enumerate(errors, 1):
        try:
            row.add(error, path)
        except SameCauseError as same:
            assert str(error) in str(same)
            return number
    return None


def test_what_concerns_the_item_alone_makes_no_difference():
    failures = [
        (
            CoverageError(
                f'/v/{n}/game {n}.mp4: only {n} of {2 * n} frames could be judged: "I am {n}"'
            ),
            f"/v/{n}/game {n}.mp4",
        )
        for n in range(20)
    ]
    assert ends_after(failures) == FAILURES_IN_A_ROW


@pytest.mark.parametrize("kind", [MediaNotFoundError, MediaOutOfReachError])
def test_a_share_that_is_gone_ends_the_batch_later(kind):
    gone = [
        (
            kind(f"/data/{n}/game.mp4: there is no such file here: /data does not exist"),
            f"/data/{n}/game.mp4",
        )
        for n in range(60)
    ]
    assert ends_after(gone) == FILES_IN_A_ROW


def test_files_that_are_broken_say_nothing_of_others():
    broken = [
        (MediaUnreadableError(f"/v/{n}.mp4: holds no video"), f"/v/{n}.mp4") for n in range(100)
    ]
    assert ends_after(broken) is None


def test_what_a_server_quotes_in_its_words_makes_no_difference():
    names = ("Ann", "Bo", "Cy", "Di", "Ed", "Flo")
    failures = [
        (RequestError(f'it refused: HTTP 400 "I am "{name}", said "{name}" there"'), "/v/a.mp4")
        for name in names
    ]
    assert ends_after(failures) == FAILURES_IN_A_ROW


def test_two_causes_that_take_turns_end_the_batch_too():
    two = [
        (ReplyError("no", endpoint="one"), "/v/a.mp4"),
        (RequestError("never", endpoint="two"), "/v/b.mp4"),
    ]
    assert ends_after(two * 20) == 2 * FAILURES_IN_A_ROW - 1


def test_one_that_goes_well_begins_the_row_anew():
    row, error = FailureRow(), ReplyError("no")
    for _ in range(5):
        for _ in range(FAILURES_IN_A_ROW - 1):
            row.add(error, "/v/a.mp4")
        row.ends()
    with pytest.raises(SameCauseError):
        for _ in range(FAILURES_IN_A_ROW):
            row.add(error, "/v/a.mp4")
