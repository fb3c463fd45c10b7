"""Reads that hang in the kernel: a lease on a file makes its opening wait until it is released."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import shutil
import signal
import threading
import time
import weakref
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests.video.numbered import SHAPE, number_of
from vlm_engine import VLMEngine
from vlm_engine.config.models import EngineConfig, ModelConfig, VideoConfig
from vlm_engine.errors import FrameError, MediaOutOfReachError, MediaUnreadableError
from vlm_engine.files import WatchedFile
from vlm_engine.pictures import PictureReader, name_of
from vlm_engine.testing import SandboxVLM, glyphs
from vlm_engine.types import Progress, VideoInfo, ZipEntry
from vlm_engine.video import VideoReader, probe
from vlm_engine.watchdog import Readers, Watchdog, heartbeat

fcntl = pytest.importorskip("fcntl")
STALL_S = 0.4
BOUND_S = 20.0

Block = Callable[[Path], Callable[[], None]]


@pytest.fixture
def block() -> Iterator[Block]:
    """Make every opening of a file hang until the returned function is called, or the test ends."""
    if not hasattr(fcntl, "F_SETLEASE"):
        pytest.skip("this system has no leases on files")
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)  # sent when somebody opens the file
    files = []

    def take(path: Path) -> Callable[[], None]:
        file = path.open("r+b")
        files.append(file)
        try:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOLCK, errno.EOPNOTSUPP, errno.EAGAIN):
                raise
            pytest.skip(f"no leases on this file system: {error}")
        return file.close

    yield take
    for file in files:
        file.close()
    signal.signal(signal.SIGIO, before)


@pytest.fixture
def copy(match: VideoInfo, tmp_path: Path) -> Path:
    """A copy of the video for this test alone: a lease is of the file, not of its path."""
    return Path(shutil.copy(match.path, tmp_path))


@pytest.fixture
def halves(copy: Path, tmp_path: Path) -> Path:
    """Twice the same video; FFmpeg opens ``second.mp4`` when it gets there."""
    shutil.copy(copy, tmp_path / "second.mp4")
    path = tmp_path / "both halves"
    path.write_text(
        "ffconcat version 1.0\nfile match.mp4\nduration 4\nfile second.mp4\nduration 4\n"
    )
    return path


def test_a_file_that_does_not_open_is_given_up_by_name(block, copy):
    info = probe(copy)
    release = block(copy)
    stalled = r"match\.mp4: reading stalled, nothing came for 0\.4 s"
    with pytest.raises(MediaUnreadableError, match=stalled):
        probe(copy, stall_s=STALL_S)
    with pytest.raises(MediaUnreadableError, match=stalled):
        VideoReader(info, stall_s=STALL_S)
    release()
    assert probe(copy, stall_s=BOUND_S) == info


def test_pictures_behind_a_stalled_read_fail_until_it_returns(block, halves):
    reader = VideoReader(probe(halves), stall_s=STALL_S)
    release = block(halves.parent / "second.mp4")
    (_, early), (_, late), (_, later) = reader.frames([1.02, 5.02, 7.02], SHAPE)
    assert number_of(early) == 25
    assert isinstance(late, FrameError)
    assert "both halves: reading stalled" in str(later)
    release()
    deadline = time.monotonic() + BOUND_S
    while isinstance(later, FrameError) and time.monotonic() < deadline:
        ((_, later),) = reader.frames([7.02], SHAPE)
        time.sleep(0.02)
    assert number_of(later) == 75
    reader.close()


def settings(vlm: SandboxVLM) -> EngineConfig:
    model = ModelConfig(
        api_base_url=vlm.url, tag_list=("Goal",), max_concurrent_requests=1, max_batch_size=1
    )
    return EngineConfig(models={"vlm": model}, video=VideoConfig(stall_s=1))


async def test_how_long_to_wait_for_a_file_is_a_setting(block, copy):
    stalled = r"match\.mp4: reading stalled, nothing came for 1 s"
    async with SandboxVLM() as vlm, VLMEngine(settings(vlm)) as engine:
        block(copy)
        with pytest.raises(MediaUnreadableError, match=stalled):
            await engine.tag_video(copy)


async def test_what_a_stalled_read_would_have_brought_is_a_gap(block, halves):
    blocked = []

    def after_the_first_frame(_: Progress) -> None:
        if not blocked:
            blocked.append(block(halves.parent / "second.mp4"))

    async with SandboxVLM() as vlm, VLMEngine(settings(vlm)) as engine:
        result = await engine.tag_video(halves, frame_interval=1, on_progress=after_the_first_frame)
    gap = result.gaps_s[-1]  # single frames before it may fail, too, while the read hangs
    assert gap == (pytest.approx(4, abs=1), result.video.duration_s)
    assert 0 < result.coverage.unreadable == result.coverage.failed < result.coverage.asked


@pytest.mark.parametrize("in_zip", [False, True])
async def test_a_picture_that_does_not_open_is_given_up_by_name(block, tmp_path, in_zip):
    path, archive = tmp_path / "corner kick.png", tmp_path / "season.zip"
    glyphs.picture(["Goal"], 320, 180).save(path)
    with zipfile.ZipFile(archive, "w") as season:
        season.write(path, path.name)
    source = ZipEntry(str(archive), path.name) if in_zip else path
    release = block(archive if in_zip else path)
    reader, impatient = PictureReader(), Readers(1, STALL_S)
    stalled = r"corner kick\.png: reading stalled, nothing came for 0\.4 s"
    for work in (lambda: reader.views(source, SHAPE), lambda: reader.fingerprint(source)):
        with pytest.raises(MediaOutOfReachError, match=stalled):
            await impatient.call(name_of(source), work)
    release()
    views = await Readers(1, BOUND_S).call(name_of(source), lambda: reader.views(source, SHAPE))
    assert len(views.frames) == 1
    reader.close()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe: reading from the first hangs until the second is written to."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def slowly() -> str:
    for _ in range(8):
        time.sleep(0.1)
        heartbeat()
    return "here"


def fail() -> None:
    raise TimeoutError("of its own")


async def test_errors_and_slow_reading_are_told_from_a_stall():
    watchdog, readers = Watchdog("match.mp4", 0.5), Readers(1, 0.5)
    with pytest.raises(TimeoutError, match="of its own"):
        watchdog.call(fail)
    with pytest.raises(TimeoutError, match="of its own"):
        await readers.call("match.jpg", fail)
    assert watchdog.call(slowly) == await readers.call("match.jpg", slowly) == "here"
    watchdog.close()
    watchdog.close()
    with pytest.raises(ValueError, match="closed"):
        watchdog.call(lambda: 3)


async def test_readers_wait_for_each_other_but_not_for_a_stall(pipe):
    readers, at_once, most = Readers(2, STALL_S), [0], [0]

    def work(number: int) -> int:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        time.sleep(0.01)
        at_once[0] -= 1
        return number

    calls = [readers.call("match.jpg", partial(work, number)) for number in range(20)]
    assert await asyncio.gather(*calls) == list(range(20))
    assert most[0] == 2
    stuck = [
        asyncio.create_task(readers.call("stuck.jpg", lambda: os.read(pipe[0], 1)))
        for _ in range(2)
    ]
    assert await readers.call("match.jpg", partial(work, 7)) == 7
    for each in stuck:
        with pytest.raises(MediaOutOfReachError, match=r"stuck\.jpg: reading stalled"):
            await each
    os.write(pipe[1], b"xx")


async def test_closing_readers_waits_for_cancelled_reads():
    readers, done = Readers(1), list[str]()

    def read() -> None:
        time.sleep(0.2)
        done.append("read")

    waiting = asyncio.create_task(readers.call("match.jpg", read))
    await asyncio.sleep(0.05)
    waiting.cancel()
    await readers.aclose()
    await readers.aclose()
    assert done == ["read"]


def test_what_a_failed_call_had_in_memory_goes_with_its_error():
    class Pixels:
        pass

    held: list[weakref.ref[Pixels]] = []

    def fail() -> None:
        pixels = Pixels()
        held.append(weakref.ref(pixels))
        raise ValueError("damaged")

    async def read() -> None:
        readers = Readers(1)
        for _ in range(3):
            with suppress(ValueError):
                await readers.call("match.jpg", fail)

    gc.disable()
    try:
        asyncio.run(read())
        ends_at = time.monotonic() + BOUND_S
        while any(pixels() for pixels in held) and time.monotonic() < ends_at:
            time.sleep(0.01)  # the thread hands its error over before it lets go of it
        assert [pixels() for pixels in held] == [None] * 3
    finally:
        gc.enable()


def test_long_computing_is_not_taken_for_a_stalled_read(tmp_path):
    path = tmp_path / "goal.bin"
    path.write_bytes(bytes(10_000))
    watchdog = Watchdog(path, 0.1)

    def work() -> int:
        with WatchedFile(path) as file:
            file.readall()
            threading.Event().wait(0.5)
            return len(file.readall())

    try:
        assert watchdog.call(work) == 0
    finally:
        watchdog.close()
