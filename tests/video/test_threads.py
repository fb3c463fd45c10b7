"""What decodes: the processor's threads, shared by the videos that are open, or a device."""

from __future__ import annotations

import io
import logging
from contextlib import ExitStack

import av
import pytest
from PIL import Image

from sandbox.videos import VideoSpec, generate
from vlm_engine.testing import glyphs
from vlm_engine.types import Frame, ImageShape, VideoInfo
from vlm_engine.video import VideoReader, probe
from vlm_engine.video.container import DECODING_THREADS, ThreadPool, open_video


@pytest.fixture(scope="module")
def match(tmp_path_factory: pytest.TempPathFactory) -> VideoInfo:
    spec = VideoSpec(duration_s=2, width=320, height=240, frame_rate=25, gop_s=1, tags=("Foul",))
    return probe(generate(spec, tmp_path_factory.mktemp("videos") / "match.mp4").path)


def test_videos_share_the_threads_and_none_goes_without() -> None:
    threads = ThreadPool(6)
    with ExitStack() as first:
        assert first.enter_context(threads.share()) == 4
        with threads.share() as second, threads.share() as third, threads.share() as fourth:
            assert (second, third, fourth) == (2, 1, 1)
    with threads.share() as count:
        assert count == 4


def test_an_open_video_has_its_share_and_gives_it_back(match: VideoInfo) -> None:
    with DECODING_THREADS.share() as all_of_it:
        pass
    with open_video(match.path) as (_, stream):
        assert stream.codec_context.thread_count == all_of_it
    with VideoReader(match), DECODING_THREADS.share() as left:
        assert left <= all_of_it
    with DECODING_THREADS.share() as count:
        assert count == all_of_it


@pytest.mark.parametrize("device", ["abacus", *av.codec.hwaccel.hwdevices_available()])
def test_what_a_device_does_not_decode_the_processor_does(
    device: str, match: VideoInfo, caplog: pytest.LogCaptureFixture
) -> None:
    times = [0.02, 0.5, 1.0, 1.5]
    with caplog.at_level(logging.WARNING), VideoReader(match, hwaccel=device) as reader:
        frames = [frame for _, frame in reader.frames(times, ImageShape())]
        is_on_device = reader._session.on_device
    assert all(isinstance(frame, Frame) for frame in frames)
    shown = [
        glyphs.read(Image.open(io.BytesIO(frame.jpeg))).frame_number
        for frame in frames
        if isinstance(frame, Frame)
    ]
    assert shown == [0, 12, 25, 37]
    assert is_on_device or (
        "match.mp4: " in caplog.text and "decoded by the processor" in caplog.text
    )


def test_without_being_asked_no_device_is_tried(
    match: VideoInfo, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), VideoReader(match) as reader:
        assert not reader._session.on_device
    assert not caplog.records
