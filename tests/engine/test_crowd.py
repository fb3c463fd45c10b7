"""Many videos at once on one engine: they share its slots, and a cancelled one leaves nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from sandbox.videos import LabelledVideo
from tests.engine.engines import plays
from vlm_engine import VLMEngine
from vlm_engine.config.models import EngineConfig
from vlm_engine.testing import Behaviour, SandboxVLM
from vlm_engine.testing.threads import running

VIDEOS, SLOTS, AHEAD = 24, 3, 2


@pytest.fixture
def videos(clip: LabelledVideo, tmp_path: Path) -> list[Path]:
    """Copies that are different videos to an engine."""
    paths = [tmp_path / f"game {number}.mp4" for number in range(VIDEOS)]
    for number, path in enumerate(paths):
        shutil.copy(clip.path, path)
        os.utime(path, (1e9 + number, 1e9 + number))
    return paths


def settings(vlm: SandboxVLM) -> EngineConfig:
    return plays(vlm, model_settings={"max_batch_size": 2})


def decoding() -> int:
    """The number of open videos, each with a thread that decodes it."""
    return sum(thread.name.startswith("decode") for thread in threading.enumerate())


def open_files(paths: Sequence[Path]) -> int:
    """The number of descriptors of these files that this process has open."""
    files = {(status.st_dev, status.st_ino) for status in map(os.stat, paths)}
    opened = 0
    with os.scandir("/proc/self/fd") as descriptors:
        for descriptor in descriptors:
            with suppress(OSError):  # closed meanwhile
                status = descriptor.stat()
                opened += (status.st_dev, status.st_ino) in files
    return opened


@contextmanager
def watched(measure: Callable[[], int]) -> Iterator[list[int]]:
    """Results of ``measure``, again and again, on the event loop."""
    seen: list[int] = []

    async def look() -> None:
        while True:
            seen.append(measure())
            await asyncio.sleep(0.01)

    looking = asyncio.ensure_future(look())
    try:
        yield seen
    finally:
        looking.cancel()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.01)


async def test_many_videos_share_the_slots_and_end_in_order(
    videos,
):
    ended: list[int] = []
    async with SandboxVLM(Behaviour(slots=SLOTS)) as vlm, VLMEngine(settings(vlm)) as engine:

        async def tag(number: int) -> object:
            result = await engine.process_video(videos[number])
            ended.append(number)
            return result["video_tag_info"]

        with (
            watched(decoding) as decoders,
            watched(lambda: open_files(videos)) as files,
        ):
            infos = await asyncio.gather(*map(tag, range(VIDEOS)))
        assert all(info == infos[0] for info in infos)
        # A file is closed a little after its video is through; that many may come on top.
        assert 1 < max(decoders) <= 2 * (SLOTS + AHEAD)
        assert max(files) < VIDEOS / 2
        assert vlm.counters.in_flight_max == SLOTS
    assert max(abs(place - number) for place, number in enumerate(ended)) < VIDEOS / 2


async def test_all_open_videos_make_progress(videos):
    """None of them waits until another is through with its scan."""

    per_cent = dict.fromkeys(range(SLOTS + AHEAD), 0)
    async with (
        SandboxVLM(Behaviour(slots=SLOTS, latency_s=0.04)) as vlm,
        VLMEngine(settings(vlm)) as engine,
    ):

        async def tag(number: int) -> None:
            def progress(percent: int) -> None:
                if percent == 100 and max(per_cent.values()) < 100:
                    assert min(per_cent.values()) > 5, per_cent
                per_cent[number] = percent

            await engine.process_video(videos[number], progress_callback=progress)

        await asyncio.gather(*map(tag, per_cent))
    assert set(per_cent.values()) == {100}


async def test_cancelled_videos_free_everything_and_disturb_no_other(
    videos,
):
    videos = videos[: VIDEOS // 2]
    given_up = range(0, len(videos), 2)
    # The endpoint runs on another loop: the tasks of its connections are no leftovers.
    with running(SandboxVLM(Behaviour(slots=SLOTS, latency_s=0.002))) as vlm:
        async with VLMEngine(settings(vlm)) as engine:
            before = asyncio.all_tasks()
            tasks = [asyncio.create_task(engine.process_video(path)) for path in videos]
            await until(lambda: vlm.counters.answered > 10)
            for number in given_up:
                tasks[number].cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            kept = [result for number, result in enumerate(ended) if number not in given_up]
            assert all(isinstance(ended[number], asyncio.CancelledError) for number in given_up)
            infos = [result["video_tag_info"] for result in kept if isinstance(result, dict)]
            assert infos == [infos[0]] * len(kept)
            assert all(stats.in_flight == 0 for stats in engine.endpoint_stats().values())
            await until(lambda: decoding() == 0 and open_files(videos) == 0)
            await until(lambda: asyncio.all_tasks() == before)
            # Every slot, and all room, is there again.
            again = await asyncio.gather(
                *(engine.process_video(path, frame_interval=1.0) for path in videos[: 2 * SLOTS])
            )
            assert sum(result["coverage"]["calls"] for result in again) > 0
