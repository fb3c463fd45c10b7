"""A small model scans, and a large one judges what is in doubt."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from sandbox.videos import LabelledVideo, VideoSpec, generate
from tests.engine.engines import bounds, config, model
from vlm_engine import VLMEngine
from vlm_engine.config.models import EngineConfig
from vlm_engine.spans import f1
from vlm_engine.testing import Behaviour, SandboxVLM
from vlm_engine.types import VideoResult

TAGS = ("Foul", "Turnover", "Goal", "Timeout")
SMALL, LARGE = "small-vlm", "large-vlm"


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> LabelledVideo:
    return made(tmp_path_factory.mktemp("video"), 60)


def made(folder: Path, duration_s: float) -> LabelledVideo:
    spec = VideoSpec(duration_s, 320, 180, tags=TAGS, seed=6, shot_median_s=8, gop_s=4)
    return generate(spec, folder / "game.mp4")


def both_models(
    small: SandboxVLM, large: SandboxVLM, store: Path | None = None, **more: Any
) -> EngineConfig:
    more = {"frames_compared": 0, **more}
    models = {
        "small": {"api_base_url": small.url, "scan_max_side": 256, "frames_compared": 0},
        "large": {"api_base_url": large.url, "tag_list": TAGS, "scan_model": "small", **more},
    }
    return config(models, store)


def alone(large: SandboxVLM, store: Path | None = None) -> EngineConfig:
    model = {"api_base_url": large.url, "tag_list": TAGS, "scan_max_side": 256}
    return config({"large": model}, store)


def score(video: LabelledVideo, result: VideoResult) -> float:
    return mean(f1(bounds(result, tag), truth) for tag, truth in video.truth.items())


@asynccontextmanager
async def play(**errors: float) -> AsyncIterator[tuple[SandboxVLM, SandboxVLM]]:
    """A small model, which makes mistakes without knowing it, and a large one, which makes none."""
    small = Behaviour(models=(SMALL,), seed=3, offers_logprobs=False, **errors)
    async with SandboxVLM(small) as one, SandboxVLM(Behaviour(models=(LARGE,))) as other:
        yield one, other


async def test_the_large_model_is_asked_little_and_finds_as_much(tmp_path):
    video = made(tmp_path, 120)
    async with play(miss_rate=0.15, false_alarm_rate=0.05) as (small, large):
        async with VLMEngine(alone(large)) as engine:
            judged = await engine.tag_video(video.path)
        before = small.counters.answered, large.counters.answered
        async with VLMEngine(both_models(small, large)) as engine:
            both = await engine.tag_video(video.path)
            stats = engine.get_performance_stats().values()
            served = {one["model"]: one["served"] for one in stats}
        assert both.calls == {
            "small": small.counters.answered - before[0],
            "large": large.counters.answered - before[1],
        }
        assert served == both.calls
        assert both.calls["large"] < 0.6 * judged.calls["large"]
        assert score(video, both) == score(video, judged)


async def test_the_large_model_corrects_the_small_one(
    video,
):
    async with play(miss_rate=0.3, false_alarm_rate=0.2) as (small, large):
        scores = []
        for settings in (alone(small), both_models(small, large), alone(large)):
            async with VLMEngine(settings) as engine:
                scores.append(score(video, await engine.tag_video(video.path)))
        scanned, both, judged = scores
        assert scanned < both == judged


async def test_scans_go_to_the_small_model_the_rest_to_the_large(video, store):
    async with play(miss_rate=0.1, false_alarm_rate=0.04) as (small, large):
        async with VLMEngine(both_models(small, large, store)) as engine:
            result = await engine.tag_video(video.path)
        with closing(sqlite3.connect(store)) as db:
            join = "JOIN answer_subject ON answer_subject.id = answer.subject"
            kept = set(db.execute(f"SELECT model, form, max_side FROM answer {join}"))
        assert kept == {(SMALL, "list", 256), (LARGE, "list", 512)}
        (found,) = result.findings
        scanned = [seen.scanned for _, seen in found.observations]
        assert (sum(scanned), len(scanned) - sum(scanned)) == (
            result.calls["small"],
            result.calls["large"],
        )


async def test_stored_answers_of_both_models_are_used(video, store):
    async with play(miss_rate=0.1, false_alarm_rate=0.04) as (small, large):
        async with VLMEngine(both_models(small, large, store)) as engine:
            first = await engine.process_video(video.path)
        calls = small.counters.answered, large.counters.answered
        async with VLMEngine(both_models(small, large, store)) as engine:
            assert (await engine.process_video(video.path))["video_tag_info"] == first[
                "video_tag_info"
            ]
        earlier = json.loads(json.dumps(first["json_result"]))
        async with VLMEngine(both_models(small, large)) as engine:
            again = await engine.process_video(video.path, existing_json_data=earlier)
            assert again["video_tag_info"] == first["video_tag_info"]
        assert (small.counters.answered, large.counters.answered) == calls


async def test_scans_by_the_large_model_are_not_repeated(video, store):
    async with play(miss_rate=0.1) as (small, large):
        async with VLMEngine(alone(large, store)) as engine:
            first = await engine.tag_video(video.path)
        async with VLMEngine(both_models(small, large, store, scan_max_side=256)) as engine:
            result = await engine.tag_video(video.path)
        known = {
            (time_s, tag)
            for time_s, seen in first.findings[0].observations
            for tag in seen.verdicts
        }
        scanned = {
            (time_s, tag)
            for time_s, seen in result.findings[0].observations
            if seen.scanned
            for tag in seen.verdicts
        }
        assert known.isdisjoint(scanned)
        assert result.calls["large"] < first.calls["large"] / 4


async def test_without_the_small_model_its_answers_do_not_count(
    video,
):
    async with play(miss_rate=0.3, false_alarm_rate=0.1) as (small, large):
        async with VLMEngine(both_models(small, large)) as engine:
            first = await engine.process_video(video.path)
        calls = large.counters.answered
        async with VLMEngine(alone(large)) as engine:
            again = await engine.process_video(video.path, existing_json_data=first["json_result"])
            fresh = await engine.process_video(video.path)
        assert large.counters.answered > calls
        seen = again["json_result"]["metadata"]["seen"]["tags"]["observations"]
        assert not any(entry.get("scanned") for entry in seen)
        assert again["video_tag_info"]["video_tags"] == fresh["video_tag_info"]["video_tags"]


async def test_a_small_model_that_is_served_beside_the_large_one(video):
    """Both on one server, which then takes turns."""

    async with SandboxVLM(Behaviour(models=(LARGE, SMALL), slots=2, latency_s=0.005)) as vlm:
        models = {
            "small": model(vlm, (), model_id=SMALL),
            "large": model(vlm, TAGS, model_id=LARGE, scan_model="small"),
        }
        async with VLMEngine(config(models)) as engine:
            result = await engine.tag_video(video.path)
        assert min(result.calls.values()) > 5
        assert vlm.counters.in_flight_max == 2
