"""Whole searches of VR videos, with a model that can only read what is ahead of the first eye."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.videos import LabelledVideo, VideoSpec, generate
from vlm_engine import VLMEngine
from vlm_engine.config.models import EngineConfig, ModelConfig, VideoConfig
from vlm_engine.spans import f1
from vlm_engine.testing import Behaviour, SandboxVLM
from vlm_engine.types import VideoResult

TAGS = ("Foul", "Turnover", "Goal", "Timeout")


def made(path: Path, layout: str, width: int, height: int) -> LabelledVideo:
    spec = VideoSpec(40, width, height, 8, TAGS, seed=4, shot_median_s=6, gop_s=4, vr=layout)
    return generate(spec, path)


@pytest.fixture(scope="module")
def match(tmp_path_factory: pytest.TempPathFactory) -> LabelledVideo:
    return made(tmp_path_factory.mktemp("vr") / "Final_LR_180.mp4", "sbs-180", 600, 300)


def engine(vlm: SandboxVLM, layout: str = "auto", store: Path | None = None) -> VLMEngine:
    endpoint = {"base_url": vlm.url, "max_concurrent": 4}
    model = ModelConfig(multiplexer_endpoints=[endpoint], tag_list=TAGS)
    video = VideoConfig(vr_layout=layout)
    path = str(store) if store else None
    return VLMEngine(EngineConfig(models={"vlm": model}, video=video, store_path=path))


async def searched(
    path: Path, layout: str = "auto", store: Path | None = None, *, vr: bool = True
) -> VideoResult:
    async with SandboxVLM(Behaviour(slots=4)) as vlm, engine(vlm, layout, store) as open_engine:
        return await open_engine.tag_video(path, vr_video=vr)


def likeness(result: VideoResult, video: LabelledVideo) -> float:
    spans = [span for found in result.findings for span in found.spans]
    found = {tag: [(span.start_s, span.end_s) for span in spans if span.tag == tag] for tag in TAGS}
    present = [tag for tag in TAGS if video.truth[tag]]
    return sum(f1(found[tag], video.truth[tag]) for tag in present) / len(present)


@pytest.mark.parametrize(
    ("name", "layout", "size"),
    [
        ("Final_LR_180.mp4", "sbs-180", (600, 300)),
        ("Final.mp4", "sbs-180", (600, 300)),
        ("Final.mp4", "tb-360", (720, 720)),
        ("Final_MONO_360.mp4", "mono-360", (720, 360)),
        ("Final_SBS_MKX200.mp4", "sbs-fisheye200", (800, 400)),
    ],
)
async def test_what_is_ahead_is_found(
    name: str, layout: str, size: tuple[int, int], tmp_path: Path
) -> None:
    video = made(tmp_path / name, layout, *size)
    assert likeness(await searched(video.path), video) > 0.8


@pytest.mark.parametrize(("layout", "vr"), [("auto", False), ("mono-360", True)])
async def test_without_the_layout_nothing_right_is_found(
    layout: str, vr: bool, match: LabelledVideo
) -> None:
    assert likeness(await searched(match.path, layout, vr=vr), match) < 0.5


async def test_scripts_in_the_field_get_the_layout_by_themselves(match: LabelledVideo) -> None:
    async with SandboxVLM(Behaviour(slots=4)) as vlm, engine(vlm) as open_engine:
        result = await open_engine.process_video(match.path, vr_video=True)
    tags = {tag for found in result["video_tag_info"]["video_tags"].values() for tag in found}
    assert tags == {tag for tag, spans in match.truth.items() if spans}


async def test_answers_about_one_crop_are_not_taken_for_another(
    match: LabelledVideo, tmp_path: Path
) -> None:
    store = tmp_path / "store.sqlite3"
    calls = [
        (await searched(match.path, layout, store, vr=vr)).coverage.calls > 0
        for layout, vr in (
            ("auto", True),
            ("sbs-180", True),  # the same, as the name says
            ("mono-180", True),
            ("off", True),
            ("auto", False),  # also the whole frame
            ("auto", True),
        )
    ]
    assert calls == [True, False, True, True, False, False]
