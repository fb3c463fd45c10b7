"""Files that are not what they should be, or are no longer: what decodes is served, and the rest is said."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from sandbox.videos import VideoSpec, generate
from vlm_engine.errors import FrameError, MediaNotFoundError, MediaUnreadableError
from vlm_engine.testing import glyphs
from vlm_engine.types import Frame, ImageShape, VideoInfo
from vlm_engine.video import VideoReader, probe

RATE = 25
SHAPE = ImageShape()


def make(path: Path, container: str = "mp4", **changes: Any) -> Path:
    spec = VideoSpec(
        duration_s=6,
        width=320,
        height=240,
        frame_rate=RATE,
        seed=3,
        gop_s=2,
        container=container,
        **changes,
    )
    return generate(spec, path).path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MP4 file with its index in front, as one for streaming has it."""
    target = tmp_path_factory.mktemp("videos") / "front.mp4"
    plain = make(target.with_name("match.mp4"))
    with av.open(plain) as given, av.open(target, "w", options={"movflags": "faststart"}) as made:
        old = given.streams.video[0]
        new = made.add_stream_from_template(old)
        for packet in given.demux(old):
            if packet.dts is not None:
                packet.stream = new
                made.mux(packet)
    return target


def damaged(source: Path, target: Path, chosen: Callable[[float, bool], bool]) -> Path:
    """A copy in which the content of the packets ``chosen`` by time and kind is overwritten."""
    content = bytearray(source.read_bytes())
    with av.open(source) as container:
        stream = container.streams.video[0]
        assert stream.time_base is not None
        for packet in container.demux(stream):
            is_real = packet.size and packet.pos is not None and packet.pts is not None
            if is_real and chosen(float(packet.pts * stream.time_base), packet.is_keyframe):
                content[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    target.write_bytes(content)
    return target


def served(info: VideoInfo, times_s: list[float]) -> list[int | FrameError | None]:
    """For each time, ascending, the number of the frame that is shown, or the error."""
    with VideoReader(info) as reader:
        return [_number(frame) for _, frame in reader.frames(times_s, SHAPE)]


def _number(frame: Frame | FrameError) -> int | FrameError | None:
    return (
        frame
        if isinstance(frame, FrameError)
        else glyphs.read(Image.open(io.BytesIO(frame.jpeg))).frame_number
    )


def test_a_key_frame_needs_no_other_packet(whole: Path, tmp_path: Path) -> None:
    info = probe(damaged(whole, tmp_path / "keys only.mp4", lambda _, is_key: not is_key))
    keys = list(info.key_frames_s)
    assert len(keys) >= 3
    assert served(info, keys) == [round(time_s * RATE) for time_s in keys]


def test_later_pictures_are_served_after_damage_and_those_it_spoils_are_not(
    whole: Path, tmp_path: Path
) -> None:
    keys = probe(whole).key_frames_s
    group = next(n for n in range(1, len(keys) - 1) if keys[n + 1] - keys[n] > 0.8)
    start, end = keys[group], keys[group + 1]
    hit = start + 0.4
    info = probe(damaged(whole, tmp_path / "hit.mp4", lambda time_s, _: hit <= time_s < hit + 0.2))
    before, spoilt, after = start + 0.1, end - 0.06, end + 0.06
    early, middle, late = served(info, [before, spoilt, after])
    assert (early, late) == (int(before * RATE + 0.1), int(after * RATE + 0.1))
    assert isinstance(middle, FrameError)
    assert "hit.mp4" in str(middle)


def test_a_damaged_key_frame_costs_its_group_only(whole: Path, tmp_path: Path) -> None:
    keys = probe(whole).key_frames_s
    info = probe(
        damaged(whole, tmp_path / "hit.mp4", lambda time_s, is_key: is_key and time_s == keys[1])
    )
    results = served(info, list(keys))
    assert isinstance(results[1], FrameError)
    assert [*results[:1], *results[2:]] == [
        round(time_s * RATE) for time_s in (*keys[:1], *keys[2:])
    ]


@pytest.mark.parametrize("container", ["index in front", "mkv", "mpegts", "webm"])
def test_a_file_that_was_cut_short_is_served_up_to_there(
    container: str, whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    in_front = container == "index in front"
    codec = {"codec": "vp9"} if container == "webm" else {}
    content = (whole if in_front else make(tmp_path / "whole", container, **codec)).read_bytes()
    path = tmp_path / "half a match"
    path.write_bytes(content[: len(content) * 6 // 10])
    with caplog.at_level(logging.WARNING):
        info = probe(path)
    assert 1 < info.end_s < 5.5
    assert info.end_s < info.duration_s < info.end_s + 0.1
    times = [0.5, 1.0, info.end_s - 0.5, 100.0]
    *numbers, last = served(info, times)
    assert numbers == [int(time_s * RATE + 0.1) for time_s in times[:-1]]
    assert isinstance(last, int)
    assert 0 <= round(info.end_s * RATE) - last <= 4
    if in_front:
        assert "half a match: cut short" in caplog.text


def test_an_mp4_without_its_index_is_unreadable(tmp_path: Path) -> None:
    path = make(tmp_path / "match.mp4")
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(
        MediaUnreadableError, match=r"match\.mp4: cannot be opened as a video: its index is missing"
    ):
        probe(path)


def test_a_video_of_which_nothing_decodes_is_unreadable(whole: Path, tmp_path: Path) -> None:
    path = damaged(whole, tmp_path / "noise.mp4", lambda *_: True)
    with pytest.raises(MediaUnreadableError, match=r"noise\.mp4"):
        probe(path)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(MediaNotFoundError, match=r"corner kick\.mp4"):
        probe(tmp_path / "corner kick.mp4")
    with pytest.raises(MediaUnreadableError, match=tmp_path.name):
        probe(tmp_path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"Final score: 3 to 1\n" * 50, "cannot be opened as a video"),
        (bytes(5000), "cannot be opened as a video"),
    ],
)
def test_what_is_no_media_is_refused_by_name(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "score.mp4"
    path.write_bytes(content)
    with pytest.raises(MediaUnreadableError, match=rf"score\.mp4: .*{says}"):
        probe(path)


@pytest.mark.parametrize("kind", ["jpeg", "png", "bmp", "webp"])
def test_a_picture_is_no_video_whatever_its_name(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "goal.mp4"
    glyphs.picture([], 320, 240, 3).save(path, kind)
    with pytest.raises(MediaUnreadableError, match=r"goal\.mp4: is a picture, not a video"):
        probe(path)


def test_an_animation_is_a_video_up_to_where_it_was_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "goal.gif"
    shown = [glyphs.picture([], 320, 240, number) for number in range(20)]
    shown[0].save(path, save_all=True, append_images=shown[1:], duration=40)
    info = probe(path)
    assert info.end_s == pytest.approx(19 / RATE)
    assert served(info, [0.0, 0.41, 9.0]) == [0, 10, 19]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    info = probe(path)
    assert 0.2 < info.end_s < 0.6
    assert served(info, [0.0, 0.21]) == [0, 5]


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_a_video_without_a_single_picture_is_refused(container: str, tmp_path: Path) -> None:
    path = tmp_path / "timeout.video"
    with av.open(path, "w", format=container) as made:
        stream: Any = made.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        made.start_encoding()
    with pytest.raises(
        MediaUnreadableError, match=r"timeout\.video: (holds no video|.* it ends too early)"
    ):
        probe(path)


@pytest.mark.parametrize("with_cover", [False, True])
def test_sound_alone_is_no_video(with_cover: bool, tmp_path: Path) -> None:
    path = tmp_path / "commentary.mp4"
    with av.open(path, "w") as container:
        sound: Any = container.add_stream("aac", rate=44_100)
        if with_cover:
            art: Any = container.add_stream("mjpeg", rate=1)
            art.width = art.height = 64
            art.pix_fmt = "yuvj420p"
            art.disposition = av.stream.Disposition.attached_pic
            container.mux(art.encode(av.VideoFrame.from_image(Image.new("RGB", (64, 64)))))
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 4096), np.float32), format="flt", layout="mono"
        )
        frame.sample_rate = 44_100
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    with pytest.raises(
        MediaUnreadableError,
        match=r"commentary\.mp4: holds no video, only audio" + " and cover art" * with_cover,
    ):
        probe(path)


def test_a_playlist_does_not_lead_elsewhere(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "list.m3u8"
    path.write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\nhttp://127.0.0.1:9/match.ts\n#EXT-X-ENDLIST\n"
    )
    with pytest.raises(MediaUnreadableError, match=r"list\.m3u8"):
        probe(path)


@pytest.mark.parametrize("change", ["content", "time", "gone"])
def test_a_file_that_was_replaced_since_is_not_read(
    change: str, whole: Path, tmp_path: Path
) -> None:
    path = tmp_path / "match.mp4"
    path.write_bytes(whole.read_bytes())
    info = probe(path)
    if change == "content":
        path.write_bytes(whole.read_bytes()[:-1])
        os.utime(path, ns=(info.modified_ns, info.modified_ns))
    elif change == "time":
        os.utime(path, ns=(info.modified_ns, info.modified_ns + 1_000_000_000))
    else:
        path.unlink()
    error = MediaNotFoundError if change == "gone" else MediaUnreadableError
    with pytest.raises(
        error,
        match=r"match\.mp4: " + ("no such file" if change == "gone" else "the file was replaced"),
    ):
        VideoReader(info)


def test_a_video_is_told_from_another_by_its_identity(whole: Path, tmp_path: Path) -> None:
    first = probe(whole).identity
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(whole.read_bytes())
    stamp = whole.stat().st_mtime_ns
    os.utime(copy, ns=(stamp, stamp))
    assert probe(whole).identity == probe(copy).identity == first
    os.utime(copy, ns=(stamp, stamp + 1))
    assert probe(copy).identity != first
    content = bytearray(whole.read_bytes())
    content[-1] ^= 1
    copy.write_bytes(content)
    os.utime(copy, ns=(stamp, stamp))
    assert probe(copy).identity != first
    assert probe(copy, identity="oshash 0123").identity == "oshash 0123"
