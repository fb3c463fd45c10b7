"""Files that are not what they should be: what decodes is served, and the rest is named."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest

from sandbox import odd_files
from sandbox.stills import saved
from tests.video.numbered import RATE, frames_of, number_of, numbers_at, picture, remux
from vlm_engine.errors import FrameError, MediaError, MediaNotFoundError, MediaUnreadableError
from vlm_engine.types import VideoInfo
from vlm_engine.video import VideoReader, probe


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
    """For each time, ascending, the number of the picture that is shown, or the error."""
    frames = frames_of(info, times_s)
    return [each if isinstance(each, FrameError) else number_of(each) for each in frames]


def test_a_key_frame_needs_no_other_packet(whole, tmp_path):
    info = probe(damaged(whole, tmp_path / "keys only.mp4", lambda _, is_key: not is_key))
    keys = list(info.key_frames_s)
    assert len(keys) >= 3
    assert served(info, keys) == [round(time_s * RATE) for time_s in keys]


def test_only_pictures_that_damage_spoils_are_lost(whole, tmp_path):
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


def test_a_video_of_which_nothing_decodes_is_unreadable(whole, tmp_path):
    path = damaged(whole, tmp_path / "noise.mp4", lambda *_: True)
    with pytest.raises(MediaUnreadableError, match=r"noise\.mp4"):
        probe(path)


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(MediaNotFoundError, match=r"corner kick\.mp4"):
        probe(tmp_path / "corner kick.mp4")
    with pytest.raises(MediaUnreadableError, match=tmp_path.name):
        probe(tmp_path)


def pictured(form: str) -> bytes:
    return saved(picture(3), form)


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\nhttp://127.0.0.1:9/match.ts\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"Final score: 3 to 1\n" * 50, "cannot be opened as a video"),
        (bytes(5000), "cannot be opened as a video"),
        (PLAYLIST + b"#EXT-X-ENDLIST\n", ""),  # does not lead elsewhere
        *((pictured(form), "is a picture, not a video") for form in ("jpeg", "png", "bmp", "webp")),
    ],
)
def test_what_is_no_video_is_refused_by_name(content, reason, tmp_path):
    path = tmp_path / "score.mp4"
    path.write_bytes(content)
    with pytest.raises(MediaUnreadableError, match=rf"score\.mp4: .*{reason}"):
        probe(path)


def test_an_animation_is_a_video_up_to_where_it_was_cut_short(tmp_path):
    path = tmp_path / "goal.gif"
    picture(0).save(path, save_all=True, append_images=map(picture, range(1, 20)), duration=40)
    info = probe(path)
    assert info.end_s == pytest.approx(19 / RATE)
    assert numbers_at(info, [0.0, 0.41, 9.0]) == [0, 10, 19]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    info = probe(path)
    assert 0.2 < info.end_s < 0.6
    assert numbers_at(info, [0.0, 0.21]) == [0, 5]


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_a_video_without_a_single_picture_is_refused(container, tmp_path):
    path = tmp_path / "timeout.video"
    with av.open(path, "w", format=container) as made:
        stream: Any = made.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        made.start_encoding()
    reason = r"timeout\.video: (holds no video|.* it ends too early)"
    with pytest.raises(MediaUnreadableError, match=reason):
        probe(path)


def test_sound_alone_is_no_video(tmp_path):
    song = odd_files.audio_only(tmp_path / "song.mp4")
    with pytest.raises(MediaUnreadableError, match=r"song\.mp4: holds no video, only audio$"):
        probe(song)
    remux(song, tmp_path / "cover.mp4", cover=True)
    with pytest.raises(MediaUnreadableError, match=r"holds no video, only audio and cover art"):
        probe(tmp_path / "cover.mp4")


@pytest.mark.parametrize("change", ["content", "time", "gone"])
def test_a_file_that_was_replaced_since_is_not_read(change, whole, tmp_path):
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
    reason = "no such file" if change == "gone" else "the file was replaced"
    with pytest.raises(MediaError, match=rf"match\.mp4: {reason}"):
        VideoReader(info)


def test_a_video_is_told_from_another_by_its_identity(whole, tmp_path):
    copy, content, stamp = tmp_path / "copy.mp4", whole.read_bytes(), whole.stat().st_mtime_ns
    identities = []
    for data, modified_ns in (
        (content, stamp),
        (content, stamp + 1),
        (content[:-1] + bytes([content[-1] ^ 1]), stamp),
    ):
        copy.write_bytes(data)
        os.utime(copy, ns=(modified_ns, modified_ns))
        identities.append(probe(copy).identity)
    assert identities[0] == probe(whole).identity
    assert len(set(identities)) == 3
    assert probe(copy, identity="oshash 0123").identity == "oshash 0123"
