"""Cut hints from packet sizes and key frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from sandbox.videos import VideoSpec, generate
from vlm_engine.video import probe
from vlm_engine.video.cuts import find_cuts

Hints = dict[int, float]
FAR = 2 * 16_384 + 5  # in the third block of those that are judged one after the other
COUNTED_SECONDS = np.cumsum(np.random.default_rng(2).integers(96, 101, 40)).tolist()


def found(count: int, keys: Sequence[int], large: Mapping[int, int] | None = None) -> Hints:
    """Hints in packets of about 1,000 bytes, key frames of 20,000, and some ``large`` ones."""
    sizes = np.random.default_rng(1).integers(800, 1200, count).astype(np.int32)
    is_key = np.isin(np.arange(count), keys)
    sizes[is_key] = 20_000
    for number, size in (large or {}).items():
        sizes[number] = size
    numbers, strengths = find_cuts(sizes, is_key)
    return dict(zip(numbers.tolist(), strengths.tolist(), strict=True))


@pytest.mark.parametrize(
    ("keys", "large", "cuts"),
    [
        (range(0, 1000, 100), {}, []),  # a steady video
        ([0, *COUNTED_SECONDS], {}, []),
        ([0, 250, 500, 750], {120: 1_550}, []),  # large among tiny ones, but no whole picture
        # After the cut at 260 the encoder counts its 100 packets again, or keeps its cadence.
        ([0, 100, 200, 260, 360, 460, 560], {}, [260]),
        ([0, 100, 200, 260, 300, 400, 500], {}, [260]),
        ([0, 130, 300, 550, 590], {}, [130, 300, 550, 590]),  # no cadence
        ([0, 250], {100: 9_000, 102: 15_000, 103: 9_000}, [102]),  # neighbours share a hint
        (range(0, FAR + 300, 250), {16_384: 15_000, FAR: 15_000}, [16_384, FAR]),
    ],
)
def test_cuts_follow_from_key_frames_and_sizes(keys, large, cuts):
    assert list(found(max(1000, keys[-1] + 300), keys, large)) == cuts


def test_a_large_packet_is_a_cut_and_the_larger_the_surer():
    hints = found(1000, [0, 250, 500, 750], {120: 15_000, 333: 2_500})
    assert list(hints) == [120, 333]
    assert hints[120] == 1.0
    assert 0.1 <= hints[333] < 0.7


@pytest.mark.parametrize("count", [1, 2, 3, 60])
def test_short_videos_and_those_of_key_frames_only(count):
    assert found(count, [0]) == {}
    assert found(count, list(range(count))) == {}


@pytest.mark.parametrize(
    ("codec", "container", "gop_s"),
    [
        ("h264", "mp4", 10.0),
        ("h264", "mkv", 2.0),
        ("mpeg4", "avi", 2.0),
    ],
)
def test_cuts_of_generated_videos_are_found(codec, container, gop_s, tmp_path):
    spec = VideoSpec(60, 164, 112, seed=7, shot_median_s=3, codec=codec, gop_s=gop_s)
    video = generate(replace(spec, container=container), tmp_path / "match")
    hints = [hint for hint in probe(video.path).cuts if hint.strength >= 0.3]
    assert len(video.cuts_s) >= 8
    assert hints == sorted(hints, key=lambda hint: hint.time_s)
    times_s = np.array([hint.time_s for hint in hints])
    is_near = np.abs(np.array(video.cuts_s)[:, None] - times_s[None, :]) <= 0.1
    assert is_near.any(axis=1).mean() >= 0.85
    assert is_near.any(axis=0).mean() >= 0.75
