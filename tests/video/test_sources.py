"""A video that somebody else sends is read as a file is: the same index, the same pictures, and no more than is needed."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from sandbox import odd_files
from sandbox.videos import VideoSpec, generate
from vlm_engine.errors import MediaOutOfReachError, MediaUnreadableError
from vlm_engine.types import Frame, ImageShape
from vlm_engine.video import VideoReader, probe

TIMES_S = [0.0, 0.4, 1.9, 3.3]


@dataclass
class Sent:
    """A source that reads a file, and counts. ``before``: called with the place before each read."""

    path: Path
    before: Callable[[int], None] = lambda place: None
    modified_ns: int = 7
    name: str = "/data/sport/match"
    opened: list[SentContent] = field(default_factory=list)

    def open(self) -> SentContent:
        self.opened.append(SentContent(self.path.read_bytes(), self))
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


def pictures(path: Path | Sent) -> list[tuple[float, Frame]]:
    with VideoReader(probe(path)) as reader:
        found = list(reader.frames(TIMES_S, ImageShape()))
    assert all(isinstance(frame, Frame) for _, frame in found)
    return [(time_s, frame) for time_s, frame in found if isinstance(frame, Frame)]


@pytest.mark.parametrize("container", ["mp4", "mkv", "webm", "avi", "mpegts"])
def test_it_is_read_as_a_file_is(container: str, tmp_path: Path) -> None:
    codec = "vp9" if container == "webm" else "h264"
    spec = VideoSpec(
        duration_s=4,
        width=160,
        height=96,
        container=container,
        codec=codec,
        gop_s=1,
        audio=container != "webm",
    )
    path = generate(spec, tmp_path / "match").path
    source = Sent(path)
    of_file, of_source = probe(path), probe(source)
    assert of_source.path == source.name
    assert replace(of_source, path="", identity="", modified_ns=0) == replace(
        of_file, path="", identity="", modified_ns=0
    )
    assert pictures(source) == pictures(path)
    assert all(content.closed for content in source.opened)


def test_of_a_long_video_only_what_is_looked_at_is_read(tmp_path: Path) -> None:
    video = generate(
        VideoSpec(duration_s=60, width=480, height=270, gop_s=3), tmp_path / "match.mp4"
    )
    source = Sent(video.path)
    info = probe(source)
    with VideoReader(info) as reader:
        for _ in reader.frames(info.key_frames_s[5:8], ImageShape()):
            pass
    assert sum(content.sent for content in source.opened) < 0.4 * video.path.stat().st_size


def test_what_names_it_follows_from_its_content(tmp_path: Path) -> None:
    path = generate(VideoSpec(duration_s=1, width=160, height=96), tmp_path / "match.mp4").path
    assert (
        probe(Sent(path)).identity
        == probe(Sent(path)).identity
        != probe(Sent(path, modified_ns=8)).identity
    )
    assert probe(Sent(path), identity="oshash:1").identity == "oshash:1"


def test_it_must_still_be_the_same_when_it_is_opened_again(tmp_path: Path) -> None:
    source = Sent(
        generate(VideoSpec(duration_s=1, width=160, height=96), tmp_path / "match.mp4").path
    )
    info = probe(source)
    source.modified_ns += 1
    with pytest.raises(
        MediaUnreadableError, match="/data/sport/match: the file was replaced or changed"
    ):
        VideoReader(info)


def test_who_sends_it_may_fail_at_any_place(tmp_path: Path) -> None:
    path = generate(
        VideoSpec(duration_s=4, width=160, height=96, gop_s=1), tmp_path / "match.mp4"
    ).path
    size = path.stat().st_size
    failed = 0
    for share in range(10):

        def fail(place: int, limit: int = share * size // 10) -> None:
            if place >= limit:
                raise MediaOutOfReachError("/data/sport/match: Stash does not send it")

        try:
            found = pictures(Sent(path, fail))
        except (MediaOutOfReachError, AssertionError):
            failed += 1
        else:
            assert found == pictures(path)
    assert failed > 5


def test_what_it_raises_while_frames_are_read_costs_these_frames(tmp_path: Path) -> None:
    path = generate(
        VideoSpec(duration_s=4, width=160, height=96, gop_s=1), tmp_path / "match.mp4"
    ).path
    is_down = [False]

    def fail(place: int) -> None:
        if is_down[0]:
            raise MediaOutOfReachError("/data/sport/match: Stash does not send it")

    with VideoReader(probe(Sent(path, fail))) as reader:
        ((_, first),) = reader.frames([3.5], ImageShape())
        is_down[0] = True
        ((_, lost),) = reader.frames([0.5], ImageShape())
        is_down[0] = False
        ((_, again),) = reader.frames([0.5], ImageShape())
    assert isinstance(first, Frame)
    assert "Stash does not send it" in str(lost)
    assert isinstance(again, Frame)


HLS = (
    b"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:4\n#EXTINF:2.0,\n{secret}\n#EXT-X-ENDLIST\n"
)
CONCAT = b"ffconcat version 1.0\nfile '{secret}'\n"


@pytest.mark.parametrize(
    ("content", "suffix"),
    [(HLS, ".m3u8"), (CONCAT, ".ffconcat"), (b"no video", ""), (b"\0" * 4096, ".mp4")],
)
def test_what_is_no_video_is_refused_and_opens_no_file_here(
    content: bytes, suffix: str, tmp_path: Path
) -> None:
    secret = generate(
        VideoSpec(duration_s=2, width=160, height=96, container="mpegts"), tmp_path / "secret.ts"
    ).path
    sent = tmp_path / "sent"
    sent.write_bytes(content.replace(b"{secret}", str(secret).encode()))
    with pytest.raises(MediaUnreadableError, match=f"/data/sport/match{suffix}: "):
        probe(Sent(sent, name=f"/data/sport/match{suffix}"))


def test_a_file_without_video_or_an_index_is_told_apart(tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    cut.write_bytes(
        generate(
            VideoSpec(duration_s=4, width=160, height=96), tmp_path / "match.mp4"
        ).path.read_bytes()[:20_000]
    )
    with pytest.raises(
        MediaUnreadableError, match="its index is missing, so it was never finished"
    ):
        probe(Sent(cut))
    song = odd_files.audio_only(tmp_path / "song.m4a")
    with pytest.raises(MediaUnreadableError, match="holds no video, only audio"):
        probe(Sent(song))
