from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sandbox.videos import VideoSpec, generate
from vlm_engine.types import Cut
from vlm_engine.video import probe
from vlm_engine.video.cuts import find_cuts


def packets(count: int, keys: list[int], large: dict[int, int] | None = None) -> tuple[Any, Any]:
    """PacketIndex of about 1,000 bytes, key frames of 20,000 and some ``large`` ones."""
    sizes = np.random.default_rng(1).integers(800, 1200, count).astype(np.int32)
    is_key = np.zeros(count, np.bool_)
    is_key[keys] = True
    sizes[keys] = 20_000
    for number, size in (large or {}).items():
        sizes[number] = size
    return sizes, is_key


def found(*args: Any) -> dict[int, float]:
    numbers, strengths = find_cuts(*packets(*args))
    return dict(zip(numbers.tolist(), strengths.tolist(), strict=True))


def test_a_steady_video_has_no_cuts() -> None:
    assert found(1000, list(range(0, 1000, 100))) == {}


def test_a_large_packet_where_no_key_frame_stands_is_a_cut_and_the_larger_the_surer() -> None:
    hints = found(1000, [0, 250, 500, 750], {120: 15_000, 333: 2_500})
    assert list(hints) == [120, 333]
    assert hints[120] == 1.0
    assert 0.1 <= hints[333] < 0.7


def test_a_packet_that_is_large_among_tiny_ones_only_is_no_whole_picture() -> None:
    assert found(1000, [0, 250, 500, 750], {120: 1_550}) == {}


def test_a_key_frame_off_the_cadence_is_a_cut() -> None:
    # After the cut at 260 the encoder counts its 100 packets anew.
    assert list(found(900, [0, 100, 200, 260, 360, 460, 560])) == [260]


def test_an_encoder_may_keep_its_cadence_through_a_cut() -> None:
    assert list(found(900, [0, 100, 200, 260, 300, 400, 500])) == [260]


def test_key_frames_of_an_encoder_that_counts_seconds_are_no_cuts() -> None:
    rng = np.random.default_rng(2)
    keys = np.cumsum(rng.integers(96, 101, 40))
    assert found(4200, [0, *keys.tolist()]) == {}


def test_without_a_cadence_every_key_frame_is_a_cut() -> None:
    assert list(found(1000, [0, 130, 300, 550, 590])) == [130, 300, 550, 590]


def test_neighbours_share_one_hint() -> None:
    assert list(found(500, [0, 250], {100: 9_000, 102: 15_000, 103: 9_000})) == [102]


@pytest.mark.parametrize("count", [1, 2, 3, 60])
def test_short_videos_and_those_of_key_frames_only(count: int) -> None:
    assert found(count, [0]) == {}
    assert found(count, list(range(count))) == {}


def test_a_long_video_is_judged_in_blocks_as_in_one() -> None:
    far = 16_384 * 2 + 5
    assert list(
        found(far + 300, list(range(0, far + 300, 250)), {16_384: 15_000, far: 15_000})
    ) == [16_384, far]


def test_the_memory_for_it_is_a_few_numbers_for_each_packet() -> None:
    sizes, keys = packets(100_000, list(range(0, 100_000, 250)))
    find_cuts(sizes, keys)
    tracemalloc.start()
    try:
        find_cuts(sizes, keys)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 30 * len(sizes)


def recall_and_precision(cuts_s: tuple[float, ...], hints: list[Cut]) -> tuple[float, float]:
    """At 0.1 s."""
    distance = np.abs(
        np.array(cuts_s)[:, None] - np.array([hint.time_s for hint in hints])[None, :]
    )
    return float((distance.min(axis=1) <= 0.1).mean()), float((distance.min(axis=0) <= 0.1).mean())


@pytest.mark.parametrize(
    ("codec", "container", "gop_s"),
    [("h264", "mp4", 10.0), ("h264", "mkv", 2.0), ("vp9", "webm", 8.0), ("mpeg4", "avi", 2.0)],
)
def test_cuts_of_generated_videos_are_found(
    codec: str, container: str, gop_s: float, tmp_path: Path
) -> None:
    spec = VideoSpec(
        duration_s=60,
        width=320,
        height=180,
        seed=7,
        shot_median_s=4,
        codec=codec,
        container=container,
        gop_s=gop_s,
        tags=("Goal",),
    )
    video = generate(spec, tmp_path / "match")
    info = probe(video.path)
    assert len(video.cuts_s) >= 8
    assert [hint.time_s for hint in info.cuts] == sorted(hint.time_s for hint in info.cuts)
    recall, precision = recall_and_precision(
        video.cuts_s, [hint for hint in info.cuts if hint.strength >= 0.3]
    )
    assert recall >= 0.85
    assert precision >= 0.75
