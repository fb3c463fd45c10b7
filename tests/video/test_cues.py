"""Matroska by its cues: the same key frames and pictures as read through, fewer cut hints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sandbox.videos import LabelledVideo, VideoSpec, generate
from tests.video.numbered import HEIGHT, RATE, WIDTH, frames_of, number_of, remux
from vlm_engine.types import Frame
from vlm_engine.video import probe
from vlm_engine.video.container import open_video
from vlm_engine.video.index import PacketIndex, read_index

SPEC = VideoSpec(
    20, WIDTH, HEIGHT, RATE, ("Goal",), seed=3, gop_s=2, shot_median_s=2, start_offset_s=2.0
)
KINDS: dict[str, Any] = {
    "mkv": {"container": "mkv", "b_frames": 2},
    "webm": {"container": "webm", "codec": "vp9"},
}


@pytest.fixture(scope="module", params=KINDS)
def video(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> LabelledVideo:
    spec = replace(SPEC, **KINDS[request.param])
    return generate(spec, tmp_path_factory.mktemp("videos") / "match")


def index_of(path: Path) -> PacketIndex:
    with open_video(path) as (container, stream):
        return read_index(container, stream, path.stat().st_size, read_through=0)


def test_cues_tell_what_reading_through_tells(video):
    assert index_of(video.path).keys_only
    by_cues, by_reading = probe(video.path, read_through_bytes=0), probe(video.path)
    assert len(by_cues.key_frames_s) >= 10
    assert replace(by_cues, cuts=(), bars=0.0) == replace(by_reading, cuts=(), bars=0.0)
    times_s = sorted([*by_cues.key_frames_s, 0.02, 7.3, 19.9, 99.0])
    for time_s, frame in zip(times_s, frames_of(by_cues, times_s), strict=True):
        assert number_of(frame) == min(int(time_s * RATE + 0.1), video.spec.frames - 1)
    hints = np.array([cut.time_s for cut in by_cues.cuts])
    if video.spec.codec != "vp9":  # whose encoder puts no key frames at cuts
        distance = np.abs(hints[:, None] - np.array(video.cuts_s)[None, :])
        assert len(hints) >= len(video.cuts_s) / 3
        assert (distance.min(axis=1) <= 0.1).mean() >= 0.8


def test_without_cues_the_file_is_read_through(video, tmp_path):
    path = tmp_path / "half"
    path.write_bytes(video.path.read_bytes()[: video.path.stat().st_size // 2])
    assert not index_of(path).keys_only
    assert probe(path, read_through_bytes=0) == probe(path)


def test_cues_that_lead_beyond_the_end_do_not_count(video, tmp_path):
    path = remux(video.path, tmp_path / "front.mkv", reserve_index_space="5000")
    assert index_of(path).keys_only
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    by_cues = probe(path, read_through_bytes=0)
    assert by_cues.end_s == pytest.approx(probe(path).end_s, abs=0.2)
    assert set(by_cues.key_frames_s) <= set(probe(path).key_frames_s)
    (frame,) = frames_of(by_cues, [by_cues.end_s - 0.5])
    assert isinstance(frame, Frame)
