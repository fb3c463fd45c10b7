"""The processor's threads, shared by the videos that are open, or a device decode."""

from __future__ import annotations

from contextlib import ExitStack

import av
import pytest

from tests.video.numbered import SHAPE, number_of
from vlm_engine.video import VideoReader
from vlm_engine.video.container import DECODING_THREADS, ThreadPool, open_video


def test_videos_share_the_threads_and_none_goes_without():
    threads = ThreadPool(6)
    with ExitStack() as first:
        assert first.enter_context(threads.share()) == 4
        with threads.share() as second, threads.share() as third, threads.share() as fourth:
            assert (second, third, fourth) == (2, 1, 1)
    with threads.share() as count:
        assert count == 4


def test_an_open_video_has_its_share_and_gives_it_back(match):
    with DECODING_THREADS.share() as all_of_it:
        pass
    with open_video(match.path) as (_, stream):
        assert stream.codec_context.thread_count == all_of_it
    with VideoReader(match), DECODING_THREADS.share() as left:
        assert left <= all_of_it
    with DECODING_THREADS.share() as count:
        assert count == all_of_it


@pytest.mark.parametrize("device", [None, "abacus", *av.codec.hwaccel.hwdevices_available()])
def test_the_processor_decodes_what_a_device_does_not(device, match, caplog):
    with VideoReader(match, hwaccel=device) as reader:
        frames = [frame for _, frame in reader.frames([0.02, 0.5, 1.0, 1.5], SHAPE)]
        is_on_device = reader._session.on_device
    assert [number_of(frame) for frame in frames] == [0, 12, 25, 37]
    if device is None:
        assert not is_on_device
        assert not caplog.records
    elif not is_on_device:
        assert "match.mp4: " in caplog.text
        assert "decoded by the processor" in caplog.text
