"""Files as they come, tagged from end to end: each is searched as far as it decodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sandbox import odd_files
from sandbox.videos import LabelledVideo, VideoSpec, generate
from tests.video.numbered import HEIGHT, WIDTH, remux, write
from vlm_engine import VLMEngine
from vlm_engine.config.models import EngineConfig, ModelConfig
from vlm_engine.errors import MediaUnreadableError
from vlm_engine.spans import match
from vlm_engine.testing import Behaviour, SandboxVLM, glyphs
from vlm_engine.types import VideoResult

TAGS = ("Foul", "Turnover", "Goal")
SPEC = VideoSpec(40, WIDTH, HEIGHT, frame_rate=10, tags=TAGS, seed=4, shot_median_s=6, gop_s=4)
CONTAINERS: dict[str, dict[str, Any]] = {
    "mp4": {},
    "mkv": {"container": "mkv"},
    "ts": {"container": "mpegts"},
    "webm": {"container": "webm", "codec": "vp9"},
    "avi": {"container": "avi", "codec": "mpeg4"},
}


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], LabelledVideo]:
    folder, made = tmp_path_factory.mktemp("odd files"), dict[str, LabelledVideo]()

    def one(kind: str) -> LabelledVideo:
        if kind not in made:
            made[kind] = generate(replace(SPEC, **CONTAINERS[kind]), folder / f"match.{kind}")
        return made[kind]

    return one


async def searched(path: Path) -> VideoResult:
    async with SandboxVLM(Behaviour(slots=4)) as vlm:
        model = ModelConfig(
            api_base_url=vlm.url, tag_list=TAGS, model_category="plays", max_concurrent_requests=4
        )
        async with VLMEngine(EngineConfig(models={"vlm": model})) as engine:
            return await engine.tag_video(path, frame_interval=1.5)


def missed(result: VideoResult, video: LabelledVideo) -> list[tuple[str, float, float]]:
    """Spans of three seconds or more, clear of all gaps, that were not found."""
    clear = [
        (tag, start_s, end_s)
        for tag, spans in video.truth.items()
        for start_s, end_s in spans
        if end_s - start_s >= 3
        and all(end_s < gap[0] - 1 or start_s > gap[1] + 1 for gap in result.gaps_s)
    ]
    assert clear
    found = {
        tag: [(span.start_s, span.end_s) for span in spans]
        for tag, spans in result.info.spans["plays"].items()
    }
    return [
        (tag, start_s, end_s)
        for tag, start_s, end_s in clear
        if not any(match([span], [(start_s, end_s)], 0.5) for span in found.get(tag, ()))
    ]


@pytest.mark.parametrize("kind", CONTAINERS)
async def test_a_hole_in_the_middle_is_a_gap_with_video_behind_it(kind, complete, tmp_path):
    video = complete(kind)
    content = bytearray(video.path.read_bytes())
    start, end = len(content) * 4 // 10, len(content) * 6 // 10
    content[start:end] = bytes(end - start)
    path = tmp_path / f"scratched.{kind}"
    path.write_bytes(content)
    result = await searched(path)
    assert result.video.duration_s == pytest.approx(40, abs=0.2)
    (gap,) = result.gaps_s
    assert 11 < gap[0] < 18
    assert 22 < gap[1] < 29  # the group of pictures that the damage ends in is lost
    assert result.coverage.unreadable == result.coverage.failed > 0
    assert missed(result, video) == []


@pytest.mark.parametrize("kind", ["mkv", "webm", "avi", "mp4 for streaming", "ts"])
async def test_a_missing_end_is_a_gap_where_the_file_tells_its_length(
    kind,
    complete,
    tmp_path,
    caplog,
):
    video = complete(kind.split(maxsplit=1)[0])
    source = video.path
    if "streaming" in kind:
        source = remux(video.path, tmp_path / "whole.mp4", movflags="faststart")
    result = await searched(odd_files.truncated(source, tmp_path / f"half{source.suffix}"))
    assert 20 < result.video.duration_s < 27
    assert missed(replace(result, gaps_s=((result.video.duration_s, 99.0),)), video) == []
    if kind == "ts":  # which does not
        assert result.gaps_s == ()
        return
    (gap,) = result.gaps_s
    assert gap == (pytest.approx(result.video.duration_s, abs=0.2), pytest.approx(40, abs=0.2))
    assert "cut short" in caplog.text


async def test_a_single_frame_is_searched(tmp_path):
    foul = glyphs.picture(["Foul"], WIDTH, HEIGHT, 3)
    result = await searched(write(tmp_path / "free throw.mp4", pictures=[foul]))
    assert result.coverage.answered == 1
    assert [span.tag for findings in result.findings for span in findings.spans] == ["Foul"]


async def test_a_recording_that_was_never_finished_is_refused(complete, tmp_path):
    path = odd_files.truncated(complete("mp4").path, tmp_path / "half.mp4")
    reason = r"half\.mp4: cannot be opened as a video: its index is missing"
    with pytest.raises(MediaUnreadableError, match=reason):
        await searched(path)
