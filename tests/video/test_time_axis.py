"""Times are those that a player shows, whatever clock a file has, and whether it has one. Every picture carries its number."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest

from tests.video.numbered import RATE, at, shown, write
from vlm_engine.tagging.video import cache_key_of
from vlm_engine.types import ImageShape
from vlm_engine.video import VideoReader, probe

H264 = {"x264-params": "bframes=2:b-adapt=0"}
JOINED: dict[str, dict[str, Any]] = {
    "ts": {"codec": "libx264", "options": H264},
    "vob": {
        "codec": "mpeg2video",
        "tags": {"bit_rate": 4_000_000, "max_b_frames": 2},
        "gop": 12,
        "sound": "mp2",
    },
    "mkv": {"codec": "libx264", "options": H264},
    "webm": {
        "codec": "libvpx",
        "options": {"deadline": "realtime", "cpu-used": "8"},
        "sound": "libopus",
    },
    "mp4": {
        "codec": "libx264",
        "options": H264,
        "muxer": {"movflags": "frag_keyframe+empty_moov+default_base_moof"},
    },
}
RAW: dict[str, dict[str, Any]] = {
    "closed.h264": {
        "codec": "libx264",
        "options": {"x264-params": "bframes=3:b-adapt=0:keyint=25"},
    },
    "open.h264": {
        "codec": "libx264",
        "options": {"x264-params": "open-gop=1:bframes=3:b-adapt=0:scenecut=0"},
    },
    "closed.hevc": {
        "codec": "libx265",
        "options": {"x265-params": "log-level=none:keyint=25:open-gop=0:bframes=3"},
    },
    "open.hevc": {
        "codec": "libx265",
        "options": {"x265-params": "log-level=none:keyint=25:bframes=3"},
    },
    "b-frames.m1v": {
        "codec": "mpeg1video",
        "gop": 12,
        "tags": {"bit_rate": 4_000_000, "max_b_frames": 2},
    },
    "b-frames.m2v": {
        "codec": "mpeg2video",
        "gop": 12,
        "tags": {"bit_rate": 4_000_000, "max_b_frames": 2},
    },
    "b-frames.m4v": {
        "codec": "mpeg4",
        "format": "m4v",
        "tags": {"bit_rate": 4_000_000, "max_b_frames": 2},
    },
    "pictures.mjpeg": {"codec": "mjpeg", "pix_fmt": "yuvj420p", "format": "mjpeg"},
    "av1.obu": {"codec": "libsvtav1", "options": {"preset": "12"}, "format": "obu"},
}
SOME = range(0, 200, 9)


@pytest.mark.parametrize("container", ["mkv", "flv", "ts", "mov", "mp4"])
def test_pictures_that_begin_after_the_sound(container: str, tmp_path: Path) -> None:
    path = write(
        tmp_path / f"late.{container}",
        "libx264",
        time_of=lambda place: place + 75,
        sound_s=7,
        options=H264,
    )
    info = probe(path)
    assert info.first_s == pytest.approx(3, abs=0.07)  # sound codecs begin up to 65 ms before 0
    assert info.duration_s == pytest.approx(7, abs=0.07)
    assert shown(info, at([0, 10, 60, 99], info.first_s)) == [0, 10, 60, 99]
    assert shown(info, [0.0, 1.5]) == [0, 0]
    assert probe(path).key_frames_s[1] - info.first_s == pytest.approx(1, abs=0.002)


def test_damage_is_named_by_the_time_that_a_player_shows(tmp_path: Path) -> None:
    path = write(tmp_path / "late.mkv", "libx264", time_of=lambda place: place + 75, sound_s=7)
    with av.open(path) as container:
        key = [packet for packet in container.demux(video=0) if packet.is_keyframe][2]
        assert key.pos is not None
        content = bytearray(path.read_bytes())
        content[key.pos + 20 : key.pos + key.size] = bytes(key.size - 20)
    path.write_bytes(content)
    info = probe(path)
    with VideoReader(info) as reader:
        ((_, frame),) = reader.frames([info.key_frames_s[2]], ImageShape())
    told = re.search(r"damaged at (.*) s", str(frame))
    assert told
    assert float(told[1]) == pytest.approx(info.key_frames_s[2], abs=0.5)


def test_a_ts_that_was_cut_in_the_middle_of_a_group(tmp_path: Path) -> None:
    path = write(
        tmp_path / "cut.ts",
        "libx264",
        range(200),
        options={"x264-params": "bframes=0:scenecut=0"},
        gop=100,
    )
    content = path.read_bytes()
    path.write_bytes(content[188 * int(0.2 * len(content) / 188) :])
    info = probe(path)
    missing = 4 - info.first_s  # the first key frame that is left is that of picture 100
    assert 0.2 < missing < 3
    assert shown(info, [info.first_s + 0.02, info.first_s + 2.02]) == [100, 150]
    assert info.duration_s == pytest.approx(8 - missing, abs=0.01)


@pytest.mark.parametrize("sound_s", [0, 4])
@pytest.mark.parametrize("container", JOINED)
def test_joined_recordings_are_searched_to_their_end(
    container: str, sound_s: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    how = JOINED[container]
    parts = [
        write(
            tmp_path / f"{first}.{container}",
            numbers=range(first, first + 100),
            sound_s=sound_s,
            **how,
        )
        for first in (0, 100)
    ]
    path = tmp_path / f"joined.{container}"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    with caplog.at_level(logging.WARNING):
        info = probe(path)
    assert (
        f"joined.{container}: recordings were joined in it: its clock begins anew 1 x. Times are counted on"
        in caplog.text
    )
    assert info.end_s - info.first_s == pytest.approx(199 / RATE, abs=0.01)
    assert info.gaps_s == ()
    assert shown(info, at(SOME, info.first_s)) == list(SOME)
    keys = shown(info, info.key_frames_s)
    assert keys == [round((time_s - info.first_s) * RATE) for time_s in info.key_frames_s]
    assert len(keys) >= 8
    for number in (150, 120, 10):
        assert shown(info, at([number], info.first_s)) == [number]


def test_joined_matroska_that_has_cues_is_read_through(tmp_path: Path) -> None:
    parts = [
        write(tmp_path / f"{first}.mkv", "libx264", range(first, first + 100)) for first in (0, 100)
    ]
    path = tmp_path / "joined.mkv"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert shown(probe(path, read_through_bytes=0), at(SOME)) == list(SOME)


@pytest.mark.parametrize("container", ["ts", "vob"])
def test_a_clock_of_33_bits_that_runs_over_is_no_jump(container: str, tmp_path: Path) -> None:
    """It runs over after 26.5 hours. FFmpeg counts what is before that from below 0."""
    before = 2**33 * RATE // 90_000 - 150
    path = write(
        tmp_path / f"over.{container}",
        time_of=lambda place: place + before,
        numbers=range(200),
        **JOINED[container],
    )
    info = probe(path)
    assert info.start_s < -3
    assert info.key_places == ()
    assert shown(info, at(SOME, info.first_s)) == list(SOME)


def test_a_ts_whose_clock_leaps_ahead_runs_on(tmp_path: Path) -> None:
    first = write(tmp_path / "1.ts", "libx264", range(100))
    second = write(
        tmp_path / "2.ts", "libx264", range(100, 200), time_of=lambda place: place + 50_000 * RATE
    )
    path = tmp_path / "both.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    info = probe(path)
    assert info.duration_s == pytest.approx(8, abs=0.01)
    assert shown(info, at(SOME)) == list(SOME)


@pytest.mark.parametrize("name", RAW)
def test_raw_streams_are_read_by_counting(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, **RAW[name])
    info = probe(path)
    assert (info.first_s, info.duration_s, info.gaps_s) == (0, pytest.approx(4), ())
    assert shown(info, at(range(0, 100, 7))) == list(range(0, 100, 7))
    assert shown(info, info.key_frames_s) == [round(time_s * RATE) for time_s in info.key_frames_s]
    assert shown(info, at([99])) == [99]
    if not name.startswith("open"):
        assert len(info.key_frames_s) >= 3


@pytest.mark.parametrize("held", [50, 99])
def test_a_picture_that_an_avi_holds_long_is_no_gap(
    held: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(
        tmp_path / "held.avi", "mpeg4", time_of=lambda place: place + 750 * (place >= held)
    )
    with caplog.at_level(logging.WARNING):
        info = probe(path)
    assert (info.gaps_s, caplog.text) == ((), "")
    assert info.duration_s == pytest.approx(34)
    assert (
        shown(info, [1.02, 15.0, 31.9, 33.98])
        == [25, *[held - 1 if held == 50 else 98] * 2, 99][:4]
    )


def test_answers_of_another_time_axis_are_not_taken_for_these(tmp_path: Path) -> None:
    usual = probe(write(tmp_path / "usual.mkv", "libx264"), identity="oshash:1")
    late = probe(
        write(tmp_path / "late.mkv", "libx264", time_of=lambda place: place + 75, sound_s=7),
        identity="oshash:1",
    )
    assert cache_key_of(usual, None) == "oshash:1"
    assert cache_key_of(late, None) not in {"oshash:1", cache_key_of(usual, None)}


def test_a_damaged_time_that_lies_days_ahead_is_not_believed(tmp_path: Path) -> None:
    path = write(
        tmp_path / "damaged.ivf", "libvpx", options={"deadline": "realtime", "cpu-used": "8"}
    )
    content = bytearray(path.read_bytes())
    for _, start in zip(range(70), _frames_of_ivf(content), strict=False):
        head = start
    content[head + 10] = 1  # of 8 bytes, the least significant first
    path.write_bytes(content)
    assert probe(path).duration_s < 8
    assert shown(path, at([0, 40, 60])) == [0, 40, 60]


def _frames_of_ivf(content: bytearray) -> Iterator[int]:
    start = 32
    while start < len(content):
        yield start
        start += 12 + int.from_bytes(content[start : start + 4], "little")


def test_a_stream_that_turns_up_in_the_middle_of_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "sound.flv", "flv")
    sound = bytes(
        [
            8,
            *(201).to_bytes(3),
            *(4000).to_bytes(3),
            0,
            0,
            0,
            0,
            0x3F,
            *bytes(200),
            *(212).to_bytes(4),
        ]
    )
    with path.open("ab") as file:
        file.write(sound)
    assert probe(path).duration_s == pytest.approx(4)
    assert shown(path, at(range(0, 100, 9))) == list(range(0, 100, 9))
