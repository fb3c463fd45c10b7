"""Reads that hang in the kernel. A lease on a file makes whoever opens it wait until the lease is given back."""

from __future__ import annotations

import asyncio
import errno
import gc
import io
import os
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
from PIL import Image

from sandbox.videos import VideoSpec, generate
from vlm_engine import VLMEngine
from vlm_engine.config.models import EngineConfig, ModelConfig, VideoConfig
from vlm_engine.errors import FrameError, MediaOutOfReachError, MediaUnreadableError
from vlm_engine.files import WatchedFile
from vlm_engine.pictures import PictureReader, name_of
from vlm_engine.testing import SandboxVLM, glyphs
from vlm_engine.types import Frame, ImageShape, Progress, ZipEntry
from vlm_engine.video import VideoReader, probe
from vlm_engine.watchdog import Readers, Watchdog, heartbeat

fcntl = pytest.importorskip("fcntl")
SHAPE = ImageShape()
STALL_S = 0.4
BOUND_S = 20.0

Hold = Callable[[Path], Callable[[], None]]


@pytest.fixture
def hold() -> Iterator[Hold]:
    """Makes every opening of a file hang until the function that it returns is called, or the test ends."""
    if not hasattr(fcntl, "F_SETLEASE"):
        pytest.skip("this system has no leases on files")
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)  # sent when somebody opens the file
    held = []

    def take(path: Path) -> Callable[[], None]:
        file = path.open("r+b")
        held.append(file)
        try:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOLCK, errno.EOPNOTSUPP, errno.EAGAIN):
                raise
            pytest.skip(f"no leases on this file system: {error}")
        return file.close

    yield take
    for file in held:
        file.close()
    signal.signal(signal.SIGIO, before)


def make(path: Path, seed: int = 1) -> Path:
    spec = VideoSpec(
        duration_s=4, width=320, height=240, frame_rate=25, gop_s=1, seed=seed, tags=("Goal",)
    )
    return generate(spec, path).path


def shown_number(frame: Frame | FrameError) -> int | None:
    assert isinstance(frame, Frame), frame
    return glyphs.read(Image.open(io.BytesIO(frame.jpeg))).frame_number


def test_a_file_that_does_not_open_is_given_up_by_name(hold: Hold, tmp_path: Path) -> None:
    path = make(tmp_path / "corner kick.mp4")
    info = probe(path)
    let_go = hold(path)
    with pytest.raises(
        MediaUnreadableError, match=r"corner kick\.mp4: reading stalled, nothing came for 0\.4 s"
    ):
        probe(path, stall_s=STALL_S)
    with pytest.raises(MediaUnreadableError, match=r"corner kick\.mp4: reading stalled"):
        VideoReader(info, stall_s=STALL_S)
    let_go()
    assert probe(path, stall_s=BOUND_S) == info


def test_pictures_behind_a_read_that_hangs_fail_and_come_back_with_it(
    hold: Hold, tmp_path: Path
) -> None:
    make(tmp_path / "first.mp4")
    second = make(tmp_path / "second.mp4", seed=2)
    halves = tmp_path / "both halves"  # FFmpeg opens its second part when it gets there
    halves.write_text(
        "ffconcat version 1.0\nfile first.mp4\nduration 4\nfile second.mp4\nduration 4\n"
    )
    info = probe(halves)
    with VideoReader(info, stall_s=STALL_S) as reader:
        let_go = hold(second)
        (_, early), (_, late), (_, later) = reader.frames([1.02, 5.02, 7.02], SHAPE)
        assert shown_number(early) == 25
        assert isinstance(late, FrameError)
        assert isinstance(later, FrameError)
        assert "both halves: reading stalled" in str(later)
        let_go()
        deadline = time.monotonic() + BOUND_S
        while isinstance(later, FrameError) and time.monotonic() < deadline:
            ((_, later),) = reader.frames([7.02], SHAPE)
            time.sleep(0.02)
        assert shown_number(later) == 75


def settings(vlm: SandboxVLM) -> EngineConfig:
    model = ModelConfig(
        api_base_url=vlm.url, tag_list=("Goal",), max_concurrent_requests=1, max_batch_size=1
    )
    return EngineConfig(models={"vlm": model}, video=VideoConfig(stall_s=1))


def test_how_long_to_wait_for_a_file_that_does_not_open_is_a_setting(
    hold: Hold, tmp_path: Path
) -> None:
    path = make(tmp_path / "match.mp4")

    async def run() -> None:
        async with SandboxVLM() as vlm, VLMEngine(settings(vlm)) as engine:
            hold(path)
            with pytest.raises(
                MediaUnreadableError, match=r"match\.mp4: reading stalled, nothing came for 1 s"
            ):
                await engine.tag_video(path)

    asyncio.run(run())


def test_what_a_read_that_hangs_for_so_long_would_have_brought_is_a_gap(
    hold: Hold, tmp_path: Path
) -> None:
    make(tmp_path / "first.mp4")
    second = make(tmp_path / "second.mp4", seed=2)
    halves = tmp_path / "both halves"
    halves.write_text(
        "ffconcat version 1.0\nfile first.mp4\nduration 4\nfile second.mp4\nduration 4\n"
    )
    held = []

    def after_the_first_frame(_: Progress) -> None:
        if not held:
            held.append(hold(second))

    async def run() -> None:
        async with SandboxVLM() as vlm, VLMEngine(settings(vlm)) as engine:
            result = await engine.tag_video(
                halves, frame_interval=1, on_progress=after_the_first_frame
            )
        gap = result.gaps_s[
            -1
        ]  # single frames before it may fail, too: whatever is wanted while the read hangs does
        assert gap == (pytest.approx(4, abs=1), result.video.duration_s)
        assert 0 < result.coverage.unreadable == result.coverage.failed < result.coverage.asked

    asyncio.run(run())


def test_a_reader_whose_read_hangs_can_be_closed(hold: Hold, tmp_path: Path) -> None:
    make(tmp_path / "first.mp4")
    second = make(tmp_path / "second.mp4")
    halves = tmp_path / "both halves"
    halves.write_text(
        "ffconcat version 1.0\nfile first.mp4\nduration 4\nfile second.mp4\nduration 4\n"
    )
    reader = VideoReader(probe(halves), stall_s=STALL_S)
    let_go = hold(second)
    ((_, frame),) = reader.frames([5.0], SHAPE)
    assert isinstance(frame, FrameError)
    reader.close()
    let_go()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe: reading from the first hangs until something is written to the second."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_what_is_to_be_done_last_is_done_when_the_read_returns(pipe: tuple[int, int]) -> None:
    watch, done = Watchdog("match.mp4", STALL_S), threading.Event()
    with pytest.raises(MediaUnreadableError, match=r"match\.mp4: reading stalled"):
        watch.call(lambda: os.read(pipe[0], 1))
    watch.close(done.set)
    assert not done.is_set()
    os.write(pipe[1], b"x")
    assert done.wait(BOUND_S)


def test_slow_reading_is_no_stall(pipe: tuple[int, int]) -> None:
    def slowly() -> str:
        for _ in range(15):
            time.sleep(0.1)
            heartbeat()
        return "here"

    watch = Watchdog("match.mp4", 1.0)
    assert watch.call(slowly) == "here"
    watch.close()


def test_errors_are_those_of_the_call_even_a_timeout() -> None:
    def fail() -> None:
        raise TimeoutError("of its own")

    watch = Watchdog("match.mp4", BOUND_S)
    with pytest.raises(TimeoutError, match="of its own"):
        watch.call(fail)
    assert watch.call(lambda: 3) == 3
    watch.close()
    watch.close()
    with pytest.raises(ValueError, match="closed"):
        watch.call(lambda: 3)


def test_files_in_turn_are_read_on_one_thread_but_never_on_one_that_hangs(
    pipe: tuple[int, int],
) -> None:
    def thread_of(watch: Watchdog) -> int:
        return watch.call(threading.get_ident)

    first, stuck = Watchdog("first half.mp4", STALL_S), Watchdog("stuck.mp4", STALL_S)
    first_thread, stuck_thread = thread_of(first), thread_of(stuck)
    assert first_thread != stuck_thread
    with pytest.raises(MediaUnreadableError, match="stalled"):
        stuck.call(lambda: os.read(pipe[0], 1))
    stuck.close()
    first.close()
    second, third = Watchdog("second half.mp4"), Watchdog("overtime.mp4")
    assert thread_of(second) == first_thread
    assert thread_of(third) != stuck_thread
    for watch in (second, third):
        watch.close()
    os.write(pipe[1], b"x")


@pytest.mark.parametrize("in_zip", [False, True])
def test_a_picture_that_does_not_open_is_given_up_by_name(
    hold: Hold, tmp_path: Path, in_zip: bool
) -> None:
    path, archive = tmp_path / "corner kick.png", tmp_path / "season.zip"
    glyphs.picture(["Goal"], 320, 180).save(path)
    with zipfile.ZipFile(archive, "w") as season:
        season.write(path, path.name)
    source = ZipEntry(str(archive), path.name) if in_zip else path
    let_go = hold(archive if in_zip else path)
    reader = PictureReader()

    async def read() -> None:
        impatient, patient = Readers(1, STALL_S), Readers(1, BOUND_S)
        with pytest.raises(
            MediaOutOfReachError,
            match=r"corner kick\.png: reading stalled, nothing came for 0\.4 s",
        ):
            await impatient.call(name_of(source), lambda: reader.views(source, SHAPE))
        with pytest.raises(MediaOutOfReachError, match=r"corner kick\.png: reading stalled"):
            await impatient.call(name_of(source), lambda: reader.fingerprint(source))
        let_go()
        assert (
            len((await patient.call(name_of(source), lambda: reader.views(source, SHAPE))).frames)
            == 1
        )

    asyncio.run(read())
    reader.close()


def test_readers_wait_for_one_another_and_for_nobody_who_hangs(pipe: tuple[int, int]) -> None:
    async def read() -> None:
        readers, at_once, most = Readers(2, STALL_S), [0], [0]

        def work(number: int) -> int:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
            time.sleep(0.01)
            at_once[0] -= 1
            return number

        async with asyncio.TaskGroup() as group:
            calls = [
                group.create_task(readers.call("match.jpg", partial(work, number)))
                for number in range(20)
            ]
        assert [call.result() for call in calls] == list(range(20))
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

    asyncio.run(read())


def test_readers_end_with_what_is_read_even_if_nobody_waits_for_it() -> None:
    async def read() -> list[str]:
        readers, done = Readers(1), list[str]()

        def slowly() -> None:
            time.sleep(0.2)
            done.append("read")

        waiting = asyncio.create_task(readers.call("match.jpg", slowly))
        await asyncio.sleep(0.05)
        waiting.cancel()
        await readers.aclose()
        await readers.aclose()
        return done

    assert asyncio.run(read()) == ["read"]


def test_what_a_failed_call_had_in_memory_goes_with_its_error() -> None:
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


def test_readers_hand_on_errors_and_know_slow_reading_from_a_stall() -> None:
    def slowly() -> str:
        for _ in range(8):
            time.sleep(0.1)
            heartbeat()
        return "here"

    def fail() -> None:
        raise TimeoutError("of its own")

    async def read() -> str:
        readers = Readers(1, STALL_S)
        with pytest.raises(TimeoutError, match="of its own"):
            await readers.call("match.jpg", fail)
        return await readers.call("match.jpg", slowly)

    assert asyncio.run(read()) == "here"


def test_what_computes_for_long_is_not_taken_for_a_read_that_hangs(tmp_path: Path) -> None:
    path = tmp_path / "goal.bin"
    path.write_bytes(bytes(10_000))
    watch = Watchdog(path, 0.1)

    def work() -> int:
        with WatchedFile(path) as file:
            file.readall()
            threading.Event().wait(0.5)
            return len(file.readall())

    try:
        assert watch.call(work) == 0
    finally:
        watch.close()
