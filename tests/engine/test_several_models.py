"""Several models in one pipeline: side by side over the same frames, each with its own endpoints."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sandbox.stills import saved
from tests.engine.engines import config, model
from vlm_engine import VLMEngine
from vlm_engine.errors import ConfigError, NoEndpointError
from vlm_engine.testing import Behaviour, SandboxVLM, glyphs
from vlm_engine.video.reader import _Session

Models = dict[str, dict[str, Any]]


@asynccontextmanager
async def two_models(
    *, shared: bool = False, behaviour: Behaviour | None = None, **more: Any
) -> AsyncIterator[tuple[SandboxVLM, SandboxVLM, Models]]:
    """Two endpoints, or one that is shared, and a model at each."""
    behaviour = behaviour or Behaviour(slots=3)
    async with SandboxVLM(behaviour) as one, SandboxVLM(behaviour) as other:
        models = {
            "plays": model(one, ("Foul", "Turnover"), model_category="plays", **more),
            "scores": model(one if shared else other, ("Goal",), model_category="scores", **more),
        }
        yield one, other, models


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """Number of times that each picture of a video was decoded, by its time stamp."""
    counted: Counter[int] = Counter()
    decode = _Session.read

    def counting(session: _Session, ticks: int, *args: Any, **options: Any) -> Any:
        counted[ticks] += 1
        return decode(session, ticks, *args, **options)

    monkeypatch.setattr(_Session, "read", counting)
    return counted


async def test_each_model_finds_the_same_as_alone(game, decoded):
    async with two_models(frames_compared=0) as (one, other, models):
        async with VLMEngine(config(models)) as engine:
            both = await engine.tag_video(game.path)
            times = dict(decoded)
            served = {
                stats["model"]: stats["served"] for stats in engine.get_performance_stats().values()
            }
        assert served == both.calls
        assert both.calls == {"plays": one.counters.answered, "scores": other.counters.answered}
        assert both.coverage.calls == both.coverage.asked == sum(both.calls.values())
        times_s = [{time_s for time_s, _ in found.observations} for found in both.findings]
        assert len(times_s[0] & times_s[1]) > 5
        assert set(times.values()) == {1}
        assert len(times) == len(times_s[0] | times_s[1])
        for name, found in zip(models, both.findings, strict=True):
            async with VLMEngine(config({name: models[name]})) as alone:
                result = await alone.tag_video(game.path)
            assert result.findings == (found,)
            assert result.info.tags == {name: both.info.tags[name]}


async def test_each_category_has_its_own_rules_and_can_be_skipped(game):
    async with two_models() as (one, _other, models):
        rules = {
            "scores": {"Goal": {"RenamedTag": "Score"}},
            "plays": {"Goal": {"RenamedTag": "Never"}},
        }
        async with VLMEngine(config(models, category_config=rules)) as engine:
            tags = (await engine.process_video(game.path))["video_tag_info"]["video_tags"]
            assert list(tags) == ["plays", "scores"]
            assert tags["scores"] == ["Score"]
            calls = one.counters.answered
            skipped = await engine.process_video(game.path, skipped_categories=["plays"])
            assert skipped["video_tag_info"]["video_tags"] == {
                "plays": [],
                "scores": tags["scores"],
            }
            assert skipped["coverage"]["calls_by_model"] == {}
        assert one.counters.answered == calls


async def test_an_earlier_result_serves_every_category(game):
    async with two_models() as (one, other, models):
        async with VLMEngine(config(models)) as engine:
            first = await engine.process_video(game.path)
        calls = one.counters.answered, other.counters.answered
        async with VLMEngine(config(models)) as engine:
            again = await engine.process_video(game.path, existing_json_data=first["json_result"])
        assert again["video_tag_info"] == first["video_tag_info"]
        assert (one.counters.answered, other.counters.answered) == calls


async def test_a_server_shared_by_models_is_not_overloaded(
    game,
):
    behaviour = Behaviour(slots=3, latency_s=0.02)
    async with two_models(shared=True, behaviour=behaviour) as (one, _, models):
        async with VLMEngine(config(models)) as engine:
            result = await engine.tag_video(game.path)
            assert set(engine.endpoint_stats()) == {
                f"{one.url[7:-3]} (plays)",
                f"{one.url[7:-3]} (scores)",
            }
        assert min(result.calls.values()) > 5
        assert one.counters.in_flight_max == 3


async def test_a_picture_is_shown_to_every_model():
    picture = saved(glyphs.picture(["Foul", "Goal"], 640, 360), "PNG")

    async with two_models() as (one, other, models):
        models["scores"]["image_max_side"] = 512
        async with VLMEngine(config(models)) as engine:
            result = await engine.process_image(picture)
            assert result["image_tag_info"]["image_tags"] == {
                "plays": ["Foul"],
                "scores": ["Goal"],
            }
            assert result["coverage"]["calls_by_model"] == {"plays": 1, "scores": 1}
            only = await engine.process_image(picture, skipped_categories=["plays"])
            assert only["image_tag_info"]["image_tags"] == {"plays": [], "scores": ["Goal"]}
        assert (one.counters.answered, other.counters.answered) == (1, 1)


async def test_videos_and_pictures_do_not_deadlock(
    game,
):
    picture = saved(glyphs.picture(["Foul", "Goal"], 640, 360), "PNG")

    async with two_models(max_batch_size=1) as (_one, _other, models):
        models["scores"]["instance_count"] = 1
        async with VLMEngine(config(models)) as engine, asyncio.timeout(60):
            pictures = (
                engine.tag_image(picture, identity=f"picture {number}") for number in range(15)
            )
            videos = (engine.tag_video(game.path, identity=f"game {number}") for number in range(3))
            results = await asyncio.gather(*videos, *pictures)
        assert all(result.coverage.answered == result.coverage.asked > 0 for result in results)


async def test_a_model_that_nobody_serves_ends_the_video_for_all(game):
    async with two_models(model_id="sandbox-vlm") as (_, other, models):
        other.stop()
        async with VLMEngine(config(models)) as engine:
            with pytest.raises(NoEndpointError):
                await engine.process_video(game.path)
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
def test_models_that_do_not_go_together_are_named(models, more, message):
    with pytest.raises(ConfigError) as caught:
        config(models, **more)
    assert message in str(caught.value)


def test_all_models_are_active_except_scanners_by_default():
    models = {
        "small": {},
        "large": {"scan_model": "small"},
        "other": {"model_category": "scores"},
        "stage": {"type": "python"},
    }
    assert list(config(models).active_models()) == ["large", "other"]
    assert list(config(models, active_ai_models=["other"]).active_models()) == ["other"]


def test_a_scanner_uses_the_tags_and_meanings_of_its_judge():
    large = {
        "tag_list": ["Foul", "Goal"],
        "tag_descriptions": {"Foul": "a player is fouled"},
        "synonyms": {"Goal": ["score"]},
    }
    described = {"tag_list": ["Foul"], "tag_descriptions": {"Foul": "fouled"}}
    for small, meaning in (({}, "a player is fouled"), (described, "fouled")):
        engine = config({"small": small, "large": {**large, "scan_model": "small"}})
        scanner = engine.scanner_for(engine.models["large"])
        assert scanner.tag_list == ("Foul", "Goal")
        assert scanner.tag_descriptions["Foul"] == meaning
        assert scanner.synonyms == {"Goal": ("score",)}


async def test_a_model_without_an_endpoint_is_named():
    with pytest.raises(ConfigError, match="models.one: no endpoint is set"):
        await VLMEngine(config({"one": {"tag_list": ["Foul"]}})).initialize()
