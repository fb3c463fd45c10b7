"""Whole searches of VR videos, with a model that can only read what is ahead of the first eye."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
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
    spec = VideoSpec(
        duration_s=40,
        width=width,
        height=height,
        tags=TAGS,
        seed=4,
        shot_median_s=6,
        gop_s=4,
        frame_rate=8,
        vr=layout,
    )
    return generate(spec, path)


@pytest.fixture(scope="module")
def match(tmp_path_factory: pytest.TempPathFactory) -> LabelledVideo:
    return made(tmp_path_factory.mktemp("vr") / "Final_LR_180.mp4", "sbs-180", 600, 300)


def play(use: Callable[[SandboxVLM], Awaitable[None]]) -> None:
    async def run() -> None:
        async with SandboxVLM(Behaviour(slots=4)) as vlm:
            await use(vlm)

    asyncio.run(run())


def engine(vlm: SandboxVLM, layout: str = "auto", store: Path | None = None) -> VLMEngine:
    endpoint = {"base_url": vlm.url, "max_concurrent": 4}
    model = ModelConfig(multiplexer_endpoints=[endpoint], tag_list=TAGS)
    video = VideoConfig(vr_layout=layout)
    return VLMEngine(
        EngineConfig(models={"vlm": model}, video=video, store_path=str(store) if store else None)
    )


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
def test_what_is_ahead_is_found(
    name: str, layout: str, size: tuple[int, int], tmp_path: Path
) -> None:
    video = made(tmp_path / name, layout, *size)

    async def use(vlm: SandboxVLM) -> None:
        async with engine(vlm) as open_engine:
            assert likeness(await open_engine.tag_video(video.path, vr_video=True), video) > 0.8

    play(use)


def test_without_the_layout_nothing_right_is_found(match: LabelledVideo) -> None:
    async def use(vlm: SandboxVLM) -> None:
        async with engine(vlm) as open_engine:
            assert likeness(await open_engine.tag_video(match.path), match) < 0.5
        async with engine(vlm, "mono-360") as open_engine:
            assert likeness(await open_engine.tag_video(match.path, vr_video=True), match) < 0.5

    play(use)


def test_scripts_in_the_field_get_the_layout_by_themselves(match: LabelledVideo) -> None:
    async def use(vlm: SandboxVLM) -> None:
        async with engine(vlm) as open_engine:
            told = await open_engine.process_video(match.path, vr_video=True)
        tags = {tag for own in told["video_tag_info"]["video_tags"].values() for tag in own}
        assert tags == {tag for tag, spans in match.truth.items() if spans}

    play(use)


def test_answers_about_one_crop_are_not_taken_for_another(
    match: LabelledVideo, tmp_path: Path
) -> None:
    async def use(vlm: SandboxVLM) -> None:
        asked: list[int] = []
        for layout, vr in (
            ("auto", True),
            ("sbs-180", True),
            ("mono-180", True),
            ("off", True),
            ("auto", False),
            ("auto", True),
        ):
            async with engine(vlm, layout, tmp_path / "store.sqlite3") as open_engine:
                result = await open_engine.tag_video(match.path, vr_video=vr)
            asked.append(result.coverage.calls)
        by_name, as_set, other, off, not_vr, again = asked
        assert min(by_name, other, off) > 0
        assert (as_set, not_vr, again) == (0, 0, 0)

    play(use)
