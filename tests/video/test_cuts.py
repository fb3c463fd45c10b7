"""Cut hints from packet sizes and key frames."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sandbox.videos import VideoSpec, generate
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


@pytest.mark.parametrize(
    ("keys", "large", "cuts"),
    [
        (range(0, 1000, 100), {}, []),  # a steady video
        ([0, 250, 500, 750], {120: 1_550}, []),  # large among tiny ones, but no whole picture
        # After the cut at 260 the encoder counts its 100 packets again, or keeps its cadence.
        ([0, 100, 200, 260, 360, 460, 560], {}, [260]),
        ([0, 100, 200, 260, 300, 400, 500], {}, [260]),
        ([0, 130, 300, 550, 590], {}, [130, 300, 550, 590]),  # no cadence
        ([0, 250], {100: 9_000, 102: 15_000, 103: 9_000}, [102]),  # neighbours share a hint
    ],
)
def test_cuts_follow_from_key_frames_and_sizes(
    keys: list[int], large: dict[int, int], cuts: list[int]
) -> None:
    assert list(found(1000, list(keys), large)) == cuts


def test_a_large_packet_is_a_cut_and_the_larger_the_surer() -> None:
    hints = found(1000, [0, 250, 500, 750], {120: 15_000, 333: 2_500})
    assert list(hints) == [120, 333]
    assert hints[120] == 1.0
    assert 0.1 <= hints[333] < 0.7


def test_key_frames_at_counted_seconds_are_no_cuts() -> None:
    rng = np.random.default_rng(2)
    keys = np.cumsum(rng.integers(96, 101, 40))
    assert found(4200, [0, *keys.tolist()]) == {}


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


@pytest.mark.parametrize(
    ("codec", "container", "gop_s"),
    [
        ("h264", "mp4", 10.0),
        ("h264", "mkv", 2.0),
        pytest.param("vp9", "webm", 8.0, marks=pytest.mark.thorough),
        ("mpeg4", "avi", 2.0),
    ],
)
def test_cuts_of_generated_videos_are_found(
    codec: str, container: str, gop_s: float, tmp_path: Path
) -> None:
    spec = VideoSpec(
        40 if codec == "vp9" else 60,
        164,
        112,
        seed=7,
        shot_median_s=3,
        codec=codec,
        container=container,
        gop_s=gop_s,
    )
    video = generate(spec, tmp_path / "match")
    hints = [hint for hint in probe(video.path).cuts if hint.strength >= 0.3]
    assert len(video.cuts_s) >= 8
    assert hints == sorted(hints, key=lambda hint: hint.time_s)
    times_s = np.array([hint.time_s for hint in hints])
    is_near = np.abs(np.array(video.cuts_s)[:, None] - times_s[None, :]) <= 0.1
    assert is_near.any(axis=1).mean() >= 0.85
    assert is_near.any(axis=0).mean() >= 0.75
