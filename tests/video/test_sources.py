"""A video that somebody else sends is read as a file is, and no more of it than is needed."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from sandbox.videos import VideoSpec, generate
from tests.video.numbered import SHAPE, frames_of
from vlm_engine.errors import MediaOutOfReachError, MediaUnreadableError
from vlm_engine.types import Frame
from vlm_engine.video import VideoReader, probe

TIMES_S = [0.0, 0.4, 1.9, 3.3]
NAME = "/data/sport/match"


@dataclass
class Sent:
    """A source that reads a file, and counts. ``before`` gets the place before each read."""

    path: Path | str
    before: Callable[[int], None] = lambda place: None
    modified_ns: int = 7
    name: str = NAME
    opened: list[SentContent] = field(default_factory=list)

    def open(self) -> SentContent:
        self.opened.append(SentContent(Path(self.path).read_bytes(), self))
        return self.opened[-1]


class SentContent(io.BytesIO):
    def __init__(self, content: bytes, source: Sent) -> None:
        super().__init__(content)
        self.size_bytes, self.modified_ns = len(content), source.modified_ns
        self.sent = 0
        self._before = source.before

    def read(self, size: int | None = -1, /) -> bytes:
        self._before(self.tell())
        data = super().read(size)
        self.sent += len(data)
        return data


@pytest.mark.parametrize("container", ["mp4", "mkv", "webm", "avi", "mpegts"])
def test_it_is_read_as_a_file_is(container, tmp_path):
    codec = "vp9" if container == "webm" else "h264"
    spec = VideoSpec(4, 160, 96, container=container, codec=codec, gop_s=1)
    path = generate(replace(spec, audio=container != "webm"), tmp_path / "match").path
    source = Sent(path)
    of_file, of_source = probe(path), probe(source)
    assert of_source.path == source.name
    different = {"path": "", "identity": "", "modified_ns": 0}
    assert replace(of_source, **different) == replace(of_file, **different)
    frames = frames_of(of_file, TIMES_S)
    assert all(isinstance(frame, Frame) for frame in frames)
    assert frames_of(of_source, TIMES_S) == frames
    assert all(content.closed for content in source.opened)


def test_of_a_long_video_only_what_is_looked_at_is_read(tmp_path):
    video = generate(VideoSpec(60, 480, 270, gop_s=3), tmp_path / "match.mp4")
    source = Sent(video.path)
    info = probe(source)
    frames_of(info, info.key_frames_s[5:8])
    assert sum(content.sent for content in source.opened) < 0.4 * video.path.stat().st_size


def test_its_identity_follows_from_its_content(match):
    names = [probe(Sent(match.path, modified_ns=stamp)).identity for stamp in (7, 7, 8)]
    assert names[0] == names[1] != names[2]
    assert probe(Sent(match.path), identity="oshash:1").identity == "oshash:1"


def test_it_must_still_be_the_same_when_it_is_opened_again(match):
    source = Sent(match.path)
    info = probe(source)
    source.modified_ns += 1
    with pytest.raises(MediaUnreadableError, match=f"{NAME}: the file was replaced or changed"):
        VideoReader(info)


def test_its_sender_may_fail_at_any_place(match):
    failed = 0
    for share in range(10):

        def fail(place: int, limit: int = share * match.size_bytes // 10) -> None:
            if place >= limit:
                raise MediaOutOfReachError(f"{NAME}: Stash does not send it")

        try:
            frames = frames_of(probe(Sent(match.path, fail)), TIMES_S)
        except MediaOutOfReachError:
            failed += 1
        else:
            assert frames == frames_of(match, TIMES_S)
    assert failed > 5


def test_its_errors_while_frames_are_read_cost_these_frames(match):
    is_down = [False]

    def fail(place: int) -> None:
        if is_down[0]:
            raise MediaOutOfReachError(f"{NAME}: Stash does not send it")

    frames = []
    with VideoReader(probe(Sent(match.path, fail))) as reader:
        for time_s, is_down[0] in ((3.5, False), (0.5, True), (0.5, False)):
            frames += [frame for _, frame in reader.frames([time_s], SHAPE)]
    assert [isinstance(frame, Frame) for frame in frames] == [True, False, True]
    assert "Stash does not send it" in str(frames[1])


HLS = (
    b"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:4\n#EXTINF:2.0,\n{secret}\n#EXT-X-ENDLIST\n"
)
CONCAT = b"ffconcat version 1.0\nfile '{secret}'\n"


@pytest.mark.parametrize(
    ("content", "suffix"),
    [(HLS, ".m3u8"), (CONCAT, ".ffconcat"), (b"no video", ""), (b"\0" * 4096, ".mp4")],
)
def test_what_is_no_video_is_refused_and_opens_no_file_here(content, suffix, match, tmp_path):
    sent = tmp_path / "sent"
    sent.write_bytes(content.replace(b"{secret}", match.path.encode()))
    with pytest.raises(MediaUnreadableError, match=f"{NAME}{suffix}: "):
        probe(Sent(sent, name=NAME + suffix))
