"""Matroska by its cues: the same key frames and pictures as by reading it through, at the price of fewer cut hints."""

from __future__ import annotations

import io
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from sandbox.videos import LabelledVideo, VideoSpec, generate
from vlm_engine.testing import glyphs
from vlm_engine.types import Frame, ImageShape
from vlm_engine.video import VideoReader, probe
from vlm_engine.video.container import open_video
from vlm_engine.video.index import PacketIndex, read_index

RATE = 25
KINDS: dict[str, Any] = {
    "mkv": {"container": "mkv", "b_frames": 2},
    "webm": {"container": "webm", "codec": "vp9"},
}


@pytest.fixture(scope="module", params=KINDS)
def video(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> LabelledVideo:
    usual = VideoSpec(
        20, 192, 144, RATE, ("Goal",), seed=3, gop_s=2, shot_median_s=2, start_offset_s=2.0
    )
    spec = replace(usual, **KINDS[request.param])
    return generate(spec, tmp_path_factory.mktemp("videos") / "match")


def known_by(path: Path) -> PacketIndex:
    with open_video(path) as (container, stream):
        return read_index(container, stream, path.stat().st_size, read_through=0)


def with_cues_in_front(source: Path, target: Path) -> Path:
    with (
        av.open(source) as given,
        av.open(target, "w", "matroska", options={"reserve_index_space": "5000"}) as made,
    ):
        old = given.streams.video[0]
        new = made.add_stream_from_template(old)
        for packet in given.demux(old):
            if packet.dts is not None:
                packet.stream = new
                made.mux(packet)
    return target


def test_cues_tell_what_reading_through_tells(video: LabelledVideo) -> None:
    assert known_by(video.path).keys_only
    by_cues, by_reading = probe(video.path, read_through_bytes=0), probe(video.path)
    assert len(by_cues.key_frames_s) >= 10
    for name in ("key_frames_s", "end_s", "duration_s", "start_s", "identity", "width", "codec"):
        assert getattr(by_cues, name) == getattr(by_reading, name)
    asked = [*by_cues.key_frames_s, 0.02, 7.3, 19.9, 99.0]
    with VideoReader(by_cues) as reader:
        for time_s, frame in reader.frames(asked, ImageShape()):
            assert isinstance(frame, Frame)
            number = glyphs.read(Image.open(io.BytesIO(frame.jpeg))).frame_number
            assert number == min(int(time_s * RATE + 0.1), video.spec.frames - 1)


def test_key_frames_off_the_cadence_are_cuts(video: LabelledVideo) -> None:
    if video.spec.codec == "vp9":
        pytest.skip("this encoder puts no key frames at cuts")
    hints = [cut.time_s for cut in probe(video.path, read_through_bytes=0).cuts]
    distance = np.abs(np.array(hints)[:, None] - np.array(video.cuts_s)[None, :])
    assert len(hints) >= len(video.cuts_s) / 3
    assert (distance.min(axis=1) <= 0.1).mean() >= 0.8


def test_without_cues_the_file_is_read_through(video: LabelledVideo, tmp_path: Path) -> None:
    path = tmp_path / "half"
    path.write_bytes(video.path.read_bytes()[: video.path.stat().st_size // 2])
    assert not known_by(path).keys_only
    assert probe(path, read_through_bytes=0) == probe(path)


def test_cues_that_lead_beyond_the_end_do_not_count(
    video: LabelledVideo, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = with_cues_in_front(video.path, tmp_path / "front.mkv")
    assert known_by(path).keys_only
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with caplog.at_level(logging.WARNING):
        by_cues = probe(path, read_through_bytes=0)
    assert by_cues.end_s == pytest.approx(probe(path).end_s, abs=0.2)
    assert set(by_cues.key_frames_s) <= set(probe(path).key_frames_s)
    with VideoReader(by_cues) as reader:
        ((_, frame),) = reader.frames([by_cues.end_s - 0.5], ImageShape())
    assert isinstance(frame, Frame)
