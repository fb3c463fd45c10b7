"""Times are those that a player shows, whatever clock a file has, and whether it has one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest

from tests.video.numbered import RATE, at, frames_of, numbers_at, write
from vlm_engine.tagging.video import cache_key_of
from vlm_engine.video import probe

H264 = {"x264-params": "bframes=2:b-adapt=0"}
MPEG = {"bit_rate": 4_000_000, "max_b_frames": 2}
JOINED: dict[str, dict[str, Any]] = {
    "ts": {"options": H264},
    "vob": {"codec": "mpeg2video", "tags": MPEG, "gop": 12, "sound": "mp2"},
    "mkv": {"options": H264},
    "webm": {"codec": "libvpx", "sound": "libopus"},
    "mp4": {
        "options": H264,
        "muxer": {"movflags": "frag_keyframe+empty_moov+default_base_moof"},
    },
}
RAW: dict[str, dict[str, Any]] = {
    "closed.h264": {"options": {"x264-params": "bframes=3:b-adapt=0:keyint=25"}},
    "open.h264": {"options": {"x264-params": "open-gop=1:bframes=3:b-adapt=0:scenecut=0"}},
    "closed.hevc": {"codec": "libx265", "options": {"x265-params": "keyint=25:open-gop=0"}},
    "open.hevc": {"codec": "libx265", "options": {"x265-params": "keyint=25:bframes=3"}},
    "b-frames.m1v": {"codec": "mpeg1video", "gop": 12, "tags": MPEG},
    "b-frames.m2v": {"codec": "mpeg2video", "gop": 12, "tags": MPEG},
    "b-frames.m4v": {"codec": "mpeg4", "format": "m4v", "tags": MPEG},
    "pictures.mjpeg": {"codec": "mjpeg", "pix_fmt": "yuvj420p", "format": "mjpeg"},
    "av1.obu": {"codec": "libsvtav1", "format": "obu"},
}
SOME = range(0, 200, 9)


def late(path: Path, **config: Any) -> Path:
    """A video whose pictures begin 3 s after its sound."""
    return write(path, time_of=lambda place: place + 75, sound_s=7, **config)


def joined(path: Path, *parts: Path) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


@pytest.mark.parametrize("container", ["mkv", "flv", "ts", "mov", "mp4"])
def test_pictures_that_begin_after_the_sound(container, tmp_path):
    info = probe(late(tmp_path / f"late.{container}", options=H264))
    assert info.first_s == pytest.approx(3, abs=0.07)  # sound codecs begin up to 65 ms before 0
    assert info.duration_s == pytest.approx(7, abs=0.07)
    assert numbers_at(info, at([0, 10, 60, 99], info.first_s)) == [0, 10, 60, 99]
    assert numbers_at(info, [0.0, 1.5]) == [0, 0]
    assert info.key_frames_s[1] - info.first_s == pytest.approx(1, abs=0.002)


def test_damage_is_named_by_the_time_that_a_player_shows(tmp_path):
    path = late(tmp_path / "late.mkv")
    with av.open(path) as container:
        key = [packet for packet in container.demux(video=0) if packet.is_keyframe][2]
        assert key.pos is not None
        content = bytearray(path.read_bytes())
        content[key.pos + 20 : key.pos + key.size] = bytes(key.size - 20)
    path.write_bytes(content)
    info = probe(path)
    (frame,) = frames_of(info, [info.key_frames_s[2]])
    time_s = re.search(r"damaged at (.*) s", str(frame))
    assert time_s
    assert float(time_s[1]) == pytest.approx(info.key_frames_s[2], abs=0.5)


def test_a_ts_that_was_cut_in_the_middle_of_a_group(tmp_path):
    options = {"x264-params": "bframes=0:scenecut=0"}
    path = write(tmp_path / "cut.ts", pictures=range(200), options=options, gop=100)
    content = path.read_bytes()
    path.write_bytes(content[188 * int(0.2 * len(content) / 188) :])
    info = probe(path)
    missing = 4 - info.first_s  # the first key frame that is left is that of picture 100
    assert 0.2 < missing < 3
    assert numbers_at(info, [info.first_s + 0.02, info.first_s + 2.02]) == [100, 150]
    assert info.duration_s == pytest.approx(8 - missing, abs=0.01)


@pytest.mark.parametrize("sound_s", [pytest.param(0, marks=pytest.mark.thorough), 4])
@pytest.mark.parametrize("container", JOINED)
def test_joined_recordings_are_searched_to_their_end(container, sound_s, tmp_path, caplog):
    config: dict[str, Any] = {"sound_s": sound_s, **JOINED[container]}
    first = write(tmp_path / f"first.{container}", **config)
    second = write(tmp_path / f"second.{container}", pictures=range(100, 200), **config)
    info = probe(joined(tmp_path / f"joined.{container}", first, second))
    assert (
        f"joined.{container}: recordings were joined in it: its clock begins anew 1 x. "
        "Times are counted on" in caplog.text
    )
    assert info.end_s - info.first_s == pytest.approx(199 / RATE, abs=0.01)
    assert info.gaps_s == ()
    assert numbers_at(info, at(SOME, info.first_s)) == list(SOME)
    keys = numbers_at(info, info.key_frames_s)
    assert keys == [round((time_s - info.first_s) * RATE) for time_s in info.key_frames_s]
    assert len(keys) >= 8
    for number in (150, 120, 10):
        assert numbers_at(info, at([number], info.first_s)) == [number]


def test_joined_matroska_that_has_cues_is_read_through(tmp_path):
    parts = [write(tmp_path / f"{n}.mkv", pictures=range(n, n + 100)) for n in (0, 100)]
    path = joined(tmp_path / "joined.mkv", *parts)
    assert numbers_at(probe(path, read_through_bytes=0), at(SOME)) == list(SOME)


@pytest.mark.parametrize("container", ["ts", "vob"])
def test_a_clock_of_33_bits_that_runs_over_is_no_jump(container, tmp_path):
    """It runs over after 26.5 hours. FFmpeg counts what is before that from below 0."""
    before = 2**33 * RATE // 90_000 - 150
    path = write(
        tmp_path / f"over.{container}",
        time_of=lambda place: place + before,
        pictures=range(200),
        **JOINED[container],
    )
    info = probe(path)
    assert info.start_s < -3
    assert info.key_places == ()
    assert numbers_at(info, at(SOME, info.first_s)) == list(SOME)


def test_a_ts_whose_clock_leaps_ahead_runs_on(tmp_path):
    first = write(tmp_path / "1.ts")
    second = write(
        tmp_path / "2.ts", pictures=range(100, 200), time_of=lambda place: place + 50_000 * RATE
    )
    info = probe(joined(tmp_path / "both.ts", first, second))
    assert info.duration_s == pytest.approx(8, abs=0.01)
    assert numbers_at(info, at(SOME)) == list(SOME)


@pytest.mark.parametrize("name", RAW)
def test_raw_streams_are_read_by_counting(name, tmp_path):
    info = probe(write(tmp_path / name, **RAW[name]))
    assert (info.first_s, info.duration_s, info.gaps_s) == (0, pytest.approx(4), ())
    assert numbers_at(info, at(range(0, 100, 7))) == list(range(0, 100, 7))
    assert numbers_at(info, info.key_frames_s) == [
        round(time_s * RATE) for time_s in info.key_frames_s
    ]
    assert numbers_at(info, at([99])) == [99]
    if not name.startswith("open"):
        assert len(info.key_frames_s) >= 3


@pytest.mark.parametrize(("held", "numbers"), [(50, [25, 49, 49, 99]), (99, [25, 98, 98, 99])])
def test_a_picture_that_an_avi_holds_long_is_no_gap(held, numbers, tmp_path, caplog):
    path = write(
        tmp_path / "held.avi", "mpeg4", time_of=lambda place: place + 750 * (place >= held)
    )
    info = probe(path)
    assert (info.gaps_s, caplog.text) == ((), "")
    assert info.duration_s == pytest.approx(34)
    assert numbers_at(info, [1.02, 15.0, 31.9 if held == 99 else 30.0, 33.98]) == numbers


def test_answers_of_another_time_axis_are_not_taken_for_these(tmp_path):
    usual = probe(write(tmp_path / "usual.mkv"), identity="oshash:1")
    later = probe(late(tmp_path / "late.mkv"), identity="oshash:1")
    assert cache_key_of(usual, None) == "oshash:1"
    assert cache_key_of(later, None) != "oshash:1"


def test_a_damaged_time_that_lies_days_ahead_is_not_believed(tmp_path):
    path = write(tmp_path / "damaged.ivf", "libvpx")
    content = bytearray(path.read_bytes())
    for _, start in zip(range(70), _frames_of_ivf(content), strict=False):
        head = start
    content[head + 10] = 1  # of 8 bytes, the least significant first
    path.write_bytes(content)
    assert probe(path).duration_s < 8
    assert numbers_at(path, at([0, 40, 60])) == [0, 40, 60]


def _frames_of_ivf(content: bytearray) -> Iterator[int]:
    start = 32
    while start < len(content):
        yield start
        start += 12 + int.from_bytes(content[start : start + 4], "little")


def test_a_stream_that_turns_up_in_the_middle_of_a_file(tmp_path):
    path = write(tmp_path / "sound.flv", "flv", tags={"bit_rate": 4_000_000})
    head = bytes([8, *(201).to_bytes(3), *(4000).to_bytes(3), *bytes(4), 0x3F])
    with path.open("ab") as file:
        file.write(head + bytes(200) + (212).to_bytes(4))
    assert probe(path).duration_s == pytest.approx(4)
    assert numbers_at(path, at(range(0, 100, 9))) == list(range(0, 100, 9))
