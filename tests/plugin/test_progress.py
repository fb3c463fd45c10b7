"""Progress of few scenes: it never falls, ends at 1, and is near the share of work done."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from haven.tasks.progress import ProgressBoard, likely_frames, split
from vlm_engine.types import Coverage, Progress

searches = st.tuples(st.integers(8, 200), st.floats(0.05, 1.0), st.booleans())


def frames_of(scan: int, more: float) -> int:
    return scan + max(1, round(scan * more))


def advance(board: ProgressBoard, scene: str, settled: int, scan: int, in_all: int) -> None:
    """Report a search: twice its scan at first, then what is left and half as much again."""
    left = in_all - settled
    expected = 2 * scan if settled <= scan else min(2 * scan, settled + left + left // 2)
    board.advance(scene, Progress(Coverage(settled, settled, 0, settled), expected))


@given(st.lists(searches, min_size=1, max_size=5))
def test_progress_of_few_scenes_is_about_the_work_done(
    scenes,
):
    seen: list[float] = []
    board = ProgressBoard(len(scenes), seen.append)
    sizes = [frames_of(scan, more) for scan, more, _ in scenes]
    for number, (scan, _, is_known) in enumerate(scenes):
        if is_known:
            board.announce(str(number), scan * 4.0)
    done = 0
    for number, (scan, _, _) in enumerate(scenes):
        for settled in range(1, sizes[number] + 1):
            advance(board, str(number), settled, scan, sizes[number])
            done += 1
            if len(scenes) == 1:
                assert abs(seen[-1] - done / sum(sizes)) < 0.45
        board.finish(str(number))
    assert all(one <= other for one, other in pairwise(seen))
    assert seen[-1] == 1
    if len(scenes) == 1:
        assert max(other - one for one, other in pairwise(seen)) < 0.35


def test_three_scenes_of_a_length_move_evenly():
    seen: list[tuple[float, float]] = []
    done = [0]
    board = ProgressBoard(3, lambda share: seen.append((share, done[0] / 81)))
    for scene in "abc":
        board.announce(scene, 45.0)
    for settled in range(1, 28):
        for scene in "ab":
            advance(board, scene, settled, 21, 27)
            done[0] += 1
    board.finish("a")
    board.finish("b")
    for settled in range(1, 28):
        advance(board, "c", settled, 21, 27)
        done[0] += 1
    board.finish("c")
    assert seen[-1] == (1.0, 1.0)
    assert max(abs(share - truth) for share, truth in seen) < 0.15
    assert max(other - one for (one, _), (other, _) in pairwise(seen)) < 0.1


def test_a_scene_that_fails_at_once_counts_as_no_work():
    seen: list[float] = []
    board = ProgressBoard(2, seen.append)
    board.announce("lost", 3600.0)
    board.announce("there", 40.0)
    board.finish("lost")
    assert seen[-1] < 0.1
    advance(board, "there", 1, 20, 22)
    assert seen[-1] < 0.2
    board.finish("there")
    assert seen[-1] == 1


def test_short_videos_beside_many_pictures_are_a_small_share():
    seen: list[float] = []
    of_videos, of_pictures = split(seen.append, likely_frames(3, [45.0, 45.0]), 1000)
    of_videos(1.0)
    of_pictures(0.5)
    of_pictures(1.0)
    assert seen[0] < 0.1
    assert 0.5 < seen[1] < 0.55
    assert seen[2] == 1
