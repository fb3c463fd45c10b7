"""Several models in one pipeline: side by side over the same frames, each with its own endpoints."""

from __future__ import annotations

import asyncio
import io
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sandbox.videos import LabelledVideo, VideoSpec, generate
from vlm_engine import VLMEngine
from vlm_engine.config.models import EngineConfig, parse
from vlm_engine.errors import ConfigError, NoEndpointError
from vlm_engine.testing import Behaviour, SandboxVLM, glyphs
from vlm_engine.video.reader import _Session

PLAYS, BREAKS = ("Foul", "Turnover", "Goal"), ("Timeout", "Free throw")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> LabelledVideo:
    spec = VideoSpec(
        duration_s=60,
        width=320,
        height=180,
        tags=(*PLAYS, *BREAKS),
        seed=4,
        shot_median_s=8,
        gop_s=4,
    )
    return generate(spec, tmp_path_factory.mktemp("video") / "game.mp4")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often each picture of a video was decoded, by its time stamp."""
    counted: Counter[int] = Counter()
    decode = _Session.read

    def counting(session: _Session, ticks: int, *args: Any, **how: Any) -> Any:
        counted[ticks] += 1
        return decode(session, ticks, *args, **how)

    monkeypatch.setattr(_Session, "read", counting)
    return counted


def model(vlm: SandboxVLM, tags: tuple[str, ...], category: str, **more: Any) -> dict[str, Any]:
    endpoint = {"base_url": vlm.url, "max_concurrent": 3}
    return {
        "multiplexer_endpoints": [endpoint],
        "tag_list": tags,
        "model_category": category,
        **more,
    }


def config(models: Mapping[str, Mapping[str, Any]], **more: Any) -> EngineConfig:
    return parse(EngineConfig, {"models": models, **more}, "")


@asynccontextmanager
async def play(**behaviour: Any) -> AsyncIterator[tuple[SandboxVLM, SandboxVLM]]:
    """Two endpoints."""
    async with (
        SandboxVLM(Behaviour(**behaviour)) as one,
        SandboxVLM(Behaviour(**behaviour)) as other,
    ):
        yield one, other


async def test_each_model_finds_the_same_as_alone(
    video: LabelledVideo, decoded: Counter[int]
) -> None:
    async with play() as (one, other):
        models = {"plays": model(one, PLAYS, "plays"), "breaks": model(other, BREAKS, "breaks")}
        async with VLMEngine(config(models)) as engine:
            both = await engine.tag_video(video.path)
            times = dict(decoded)
            served = {
                stats["model"]: stats["served"] for stats in engine.get_performance_stats().values()
            }
        assert served == both.calls
        assert both.calls == {"plays": one.counters.answered, "breaks": other.counters.answered}
        assert both.coverage.calls == both.coverage.asked == sum(both.calls.values())
        looks = [{time_s for time_s, _ in found.observations} for found in both.findings]
        assert len(looks[0] & looks[1]) > 10
        assert set(times.values()) == {1}
        assert len(times) == len(looks[0] | looks[1])
        for name, found in zip(models, both.findings, strict=True):
            async with VLMEngine(config({name: models[name]})) as alone:
                result = await alone.tag_video(video.path)
            assert result.findings == (found,)
            assert result.info.tags == {name: both.info.tags[name]}


async def test_each_category_has_its_own_rules_and_can_be_skipped(video: LabelledVideo) -> None:
    async with play() as (one, other):
        models = {"plays": model(one, PLAYS, "plays"), "breaks": model(other, BREAKS, "breaks")}
        rules = {
            "breaks": {"Free throw": {"RenamedTag": "Break"}},
            "plays": {"Free throw": {"RenamedTag": "Never"}},
        }
        async with VLMEngine(config(models, category_config=rules)) as engine:
            tags = (await engine.process_video(video.path))["video_tag_info"]["video_tags"]
            assert list(tags) == ["plays", "breaks"]
            assert tags["breaks"] == ["Break"]
            calls = one.counters.answered
            skipped = await engine.process_video(video.path, skipped_categories=["plays"])
            assert skipped["video_tag_info"]["video_tags"] == {
                "plays": [],
                "breaks": tags["breaks"],
            }
            assert skipped["coverage"]["calls_by_model"] == {}
        assert one.counters.answered == calls


async def test_an_earlier_result_serves_every_category(video: LabelledVideo) -> None:
    async with play() as (one, other):
        models = {"plays": model(one, PLAYS, "plays"), "breaks": model(other, BREAKS, "breaks")}
        async with VLMEngine(config(models)) as engine:
            first = await engine.process_video(video.path)
        calls = one.counters.answered, other.counters.answered
        async with VLMEngine(config(models)) as engine:
            again = await engine.process_video(video.path, existing_json_data=first["json_result"])
        assert again["video_tag_info"] == first["video_tag_info"]
        assert (one.counters.answered, other.counters.answered) == calls


async def test_a_server_shared_by_models_is_not_overloaded(
    video: LabelledVideo,
) -> None:
    async with play(slots=3, latency_s=0.02) as (one, _other):
        models = {"plays": model(one, PLAYS, "plays"), "breaks": model(one, BREAKS, "breaks")}
        async with VLMEngine(config(models)) as engine:
            result = await engine.tag_video(video.path)
            assert set(engine.endpoint_stats()) == {
                f"{one.url[7:-3]} (plays)",
                f"{one.url[7:-3]} (breaks)",
            }
        assert min(result.calls.values()) > 10
        assert one.counters.in_flight_max == 3


async def test_a_picture_is_shown_to_every_model(video: LabelledVideo) -> None:
    picture = io.BytesIO()
    glyphs.picture(["Foul", "Timeout"], width=640, height=360).save(picture, "PNG")

    async with play() as (one, other):
        models = {
            "plays": model(one, PLAYS, "plays"),
            "breaks": model(other, BREAKS, "breaks", image_max_side=512),
        }
        async with VLMEngine(config(models)) as engine:
            result = await engine.process_image(picture.getvalue())
            assert result["image_tag_info"]["image_tags"] == {
                "plays": ["Foul"],
                "breaks": ["Timeout"],
            }
            assert result["coverage"]["calls_by_model"] == {"plays": 1, "breaks": 1}
            only = await engine.process_image(picture.getvalue(), skipped_categories=["plays"])
            assert only["image_tag_info"]["image_tags"] == {"plays": [], "breaks": ["Timeout"]}
        assert (one.counters.answered, other.counters.answered) == (1, 1)


async def test_videos_and_pictures_do_not_deadlock(
    video: LabelledVideo,
) -> None:
    picture = io.BytesIO()
    glyphs.picture(["Foul", "Timeout"], width=640, height=360).save(picture, "PNG")

    async with play() as (one, other):
        scarce = {"instance_count": 1, "max_batch_size": 1}
        models = {
            "plays": model(one, PLAYS, "plays", max_batch_size=1),
            "breaks": model(other, BREAKS, "breaks", **scarce),
        }
        async with VLMEngine(config(models)) as engine, asyncio.timeout(60):
            pictures = (
                engine.tag_image(picture.getvalue(), identity=f"picture {number}")
                for number in range(30)
            )
            videos = (
                engine.tag_video(video.path, identity=f"game {number}") for number in range(3)
            )
            results = await asyncio.gather(*videos, *pictures)
        assert all(result.coverage.answered == result.coverage.asked > 0 for result in results)


async def test_a_model_that_nobody_serves_ends_the_video_for_all(video: LabelledVideo) -> None:
    async with play() as (one, other):
        known = {"model_id": "sandbox-vlm"}
        models = {
            "plays": model(one, PLAYS, "plays", **known),
            "breaks": model(other, BREAKS, "breaks", **known),
        }
        other.stop()
        async with VLMEngine(config(models)) as engine:
            with pytest.raises(NoEndpointError):
                await engine.process_video(video.path)
            assert all(stats.in_flight == 0 for stats in engine.endpoint_stats().values())


@pytest.mark.parametrize(
    ("models", "more", "message"),
    [
        (
            {"one": {"model_category": "plays"}, "other": {"model_category": ["plays"]}},
            {},
            "models 'one' and 'other' have the same category 'plays': set another model_category",
        ),
        (
            {"one": {}, "other": {}},
            {"active_ai_models": ["one", "other"]},
            "models 'one' and 'other' have the same category 'tags'",
        ),
        (
            {"one": {}, "stage": {"type": "python"}},
            {"active_ai_models": ["stage"]},
            "active_ai_models: 'stage' is of type python; only a vlm_model can be asked",
        ),
        (
            {"one": {"scan_model": "two"}},
            {},
            "models.one.scan_model: 'two' is not another vlm_model among models",
        ),
        (
            {"one": {"scan_model": "one"}},
            {},
            "models.one.scan_model: 'one' is not another vlm_model among models",
        ),
    ],
)
def test_models_that_do_not_go_together_are_named(
    models: dict[str, Any], more: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        config(models, **more)
    assert message in str(caught.value)


def test_all_models_are_active_except_scanners_by_default() -> None:
    models = {
        "small": {},
        "large": {"scan_model": "small"},
        "other": {"model_category": "breaks"},
        "stage": {"type": "python"},
    }
    assert list(config(models).active_models()) == ["large", "other"]
    assert list(config(models, active_ai_models=["other"]).active_models()) == ["other"]


def test_a_scanner_uses_the_tags_and_meanings_of_its_judge() -> None:
    large = {
        "tag_list": ["Foul", "Goal"],
        "tag_descriptions": {"Foul": "a player is fouled"},
        "synonyms": {"Goal": ["score"]},
    }
    own = {"tag_list": ["Foul"], "tag_descriptions": {"Foul": "fouled"}}
    for small, meaning in (({}, "a player is fouled"), (own, "fouled")):
        engine = config({"small": small, "large": {**large, "scan_model": "small"}})
        scanner = engine.scanner_for(engine.models["large"])
        assert scanner.tag_list == ("Foul", "Goal")
        assert scanner.tag_descriptions["Foul"] == meaning
        assert scanner.synonyms == {"Goal": ("score",)}


async def test_a_model_without_an_endpoint_is_named() -> None:
    with pytest.raises(ConfigError, match="models.one: no endpoint is set"):
        await VLMEngine(config({"one": {"tag_list": PLAYS}})).initialize()
