"""Files as they come, tagged from end to end: each is searched as far as it decodes, with its gaps named, or refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import pytest

from sandbox import odd_files
from sandbox.videos import LabelledVideo, VideoSpec, generate
from vlm_engine import VLMEngine
from vlm_engine.config.models import EngineConfig, ModelConfig
from vlm_engine.errors import MediaUnreadableError
from vlm_engine.spans import match
from vlm_engine.testing import Behaviour, SandboxVLM, glyphs
from vlm_engine.types import VideoResult

TAGS = ("Foul", "Turnover", "Goal")
SPEC = VideoSpec(duration_s=40, width=320, height=180, tags=TAGS, seed=4, shot_median_s=6, gop_s=4)
CONTAINERS: dict[str, dict[str, Any]] = {
    "mp4": {},
    "mkv": {"container": "mkv"},
    "ts": {"container": "mpegts"},
    "webm": {"container": "webm", "codec": "vp9"},
    "avi": {"container": "avi", "codec": "mpeg4"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("odd files")


@pytest.fixture(scope="module")
def whole(folder: Path) -> Callable[[str], LabelledVideo]:
    made: dict[str, LabelledVideo] = {}

    def one(kind: str) -> LabelledVideo:
        if kind not in made:
            made[kind] = generate(replace(SPEC, **CONTAINERS[kind]), folder / f"match.{kind}")
        return made[kind]

    return one


def searched(path: Path) -> VideoResult:
    async def run() -> VideoResult:
        async with SandboxVLM(Behaviour(slots=4)) as vlm:
            model = ModelConfig(
                api_base_url=vlm.url,
                tag_list=TAGS,
                model_category="plays",
                max_concurrent_requests=4,
            )
            async with VLMEngine(EngineConfig(models={"vlm": model})) as engine:
                return await engine.tag_video(path, frame_interval=1.5)

    return asyncio.run(run())


def missed(result: VideoResult, truth: LabelledVideo) -> list[tuple[str, float, float]]:
    """What lasts at least three seconds, lies clear of all gaps, and was not found."""
    clear = [
        (tag, start_s, end_s)
        for tag, own in truth.truth.items()
        for start_s, end_s in own
        if end_s - start_s >= 3
        and all(end_s < gap[0] - 1 or start_s > gap[1] + 1 for gap in result.gaps_s)
    ]
    assert clear
    return [
        (tag, start_s, end_s)
        for tag, start_s, end_s in clear
        if not any(
            match([(s.start_s, s.end_s)], [(start_s, end_s)], 0.5)
            for s in result.info.spans["plays"].get(tag, ())
        )
    ]


@pytest.mark.parametrize("kind", CONTAINERS)
def test_a_hole_in_the_middle_is_named_and_what_lies_behind_it_is_found(
    kind: str, whole: Callable[[str], LabelledVideo], tmp_path: Path
) -> None:
    video = whole(kind)
    content = bytearray(video.path.read_bytes())
    start, end = len(content) * 4 // 10, len(content) * 6 // 10
    content[start:end] = bytes(end - start)
    path = tmp_path / f"scratched.{kind}"
    path.write_bytes(content)
    result = searched(path)
    assert result.video.duration_s == pytest.approx(40, abs=0.2)
    (gap,) = result.gaps_s
    assert 12 < gap[0] < 18
    assert 22 < gap[1] < 28.5  # the group of pictures that the damage ends in is lost
    assert result.coverage.unreadable == result.coverage.failed > 0
    assert missed(result, video) == []


@pytest.mark.parametrize("kind", ["mkv", "webm", "avi", "mp4 for streaming", "ts"])
def test_a_missing_end_is_named_where_the_file_says_how_long_it_was(
    kind: str,
    whole: Callable[[str], LabelledVideo],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    video = whole(kind.split(maxsplit=1)[0])
    source = (
        for_streaming(video.path, tmp_path / "whole.mp4") if "streaming" in kind else video.path
    )
    path = odd_files.truncated(source, tmp_path / f"half a match{source.suffix}")
    result = searched(path)
    assert 20 < result.video.duration_s < 26
    assert missed(replace(result, gaps_s=((result.video.duration_s, 99.0),)), video) == []
    if kind == "ts":  # which does not
        assert result.gaps_s == ()
        return
    (gap,) = result.gaps_s
    assert gap == (pytest.approx(result.video.duration_s, abs=0.2), pytest.approx(40, abs=0.2))
    assert "cut short" in caplog.text


def for_streaming(source: Path, target: Path) -> Path:
    """The same as an MP4 that has its index in front."""
    with av.open(source) as given, av.open(target, "w", options={"movflags": "faststart"}) as made:
        old = given.streams.video[0]
        new = made.add_stream_from_template(old)
        for packet in given.demux(old):
            if packet.dts is not None:
                packet.stream = new
                made.mux(packet)
    return target


@pytest.mark.parametrize(
    "change",
    [
        {"variable_rate": True},
        {"variable_rate": True, "container": "mkv"},
        {"rotation": 90},
        {"start_offset_s": 7.5},
        {"start_offset_s": 1234.5, "container": "mpegts"},
        {"start_offset_s": 12.0, "container": "mkv"},
        {"audio": True, "container": "mkv"},
    ],
    ids=lambda change: " ".join(f"{name}={value}" for name, value in change.items()),
)
def test_what_is_only_unusual_is_searched_whole(change: dict[str, Any], tmp_path: Path) -> None:
    video = generate(replace(SPEC, **change), tmp_path / "match")
    result = searched(video.path)
    assert result.gaps_s == ()
    assert result.coverage.failed == 0
    assert result.video.duration_s == pytest.approx(40, abs=0.5)
    assert missed(result, video) == []


def test_cover_art_is_passed_over(whole: Callable[[str], LabelledVideo], tmp_path: Path) -> None:
    video = whole("mp4")
    result = searched(odd_files.with_cover_art(video.path, tmp_path / "cover.mp4"))
    assert (result.video.width, result.gaps_s) == (320, ())
    assert missed(result, video) == []


@pytest.mark.parametrize("kind", ["gif", "apng"])
def test_an_animation_is_searched(kind: str, tmp_path: Path) -> None:
    shown = [
        glyphs.picture(["Foul"] if 25 <= number < 75 else [], 320, 180, number)
        for number in range(150)
    ]
    path = tmp_path / f"goal.{kind}"
    shown[0].save(
        path,
        "PNG" if kind == "apng" else kind,
        save_all=True,
        append_images=shown[1:],
        duration=100,
    )
    result = searched(path)
    ((start_s, end_s),) = [
        (span.start_s, span.end_s) for span in result.info.spans["plays"]["Foul"]
    ]
    assert match([(start_s, end_s)], [(2.5, 7.5)], 0.75)
    assert result.gaps_s == ()


def test_a_picture_that_stands_still_is_no_gap(tmp_path: Path) -> None:
    path = tmp_path / "slides.gif"
    shown = [
        glyphs.picture(["Foul"] if number % 2 else [], 320, 180, number) for number in range(5)
    ]
    shown[0].save(path, save_all=True, append_images=shown[1:], duration=6000)
    result = searched(path)
    assert result.gaps_s == ()
    assert result.coverage.failed == 0


def test_a_single_frame_is_searched(tmp_path: Path) -> None:
    path = tmp_path / "free throw.mp4"
    with av.open(path, "w") as container:
        stream: Any = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        frame = av.VideoFrame.from_image(glyphs.picture(["Foul"], 320, 180, 3))
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    result = searched(path)
    assert result.coverage.answered == 1
    assert [span.tag for findings in result.findings for span in findings.spans] == ["Foul"]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (odd_files.empty, "the file is empty"),
        (odd_files.audio_only, "holds no video, only audio"),
    ],
)
def test_what_holds_no_picture_is_refused_with_the_reason(
    make: Callable[[Path], Path], says: str, tmp_path: Path
) -> None:
    with pytest.raises(MediaUnreadableError, match=rf"odd\.mp4: {says}"):
        searched(make(tmp_path / "odd.mp4"))


def test_a_recording_that_was_never_finished_is_refused_with_the_reason(
    whole: Callable[[str], LabelledVideo], tmp_path: Path
) -> None:
    path = odd_files.truncated(whole("mp4").path, tmp_path / "half.mp4")
    with pytest.raises(
        MediaUnreadableError, match=r"half\.mp4: cannot be opened as a video: its index is missing"
    ):
        searched(path)
