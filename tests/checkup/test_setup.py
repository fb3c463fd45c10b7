"""The check of all endpoints of a configuration, over real HTTP."""

from __future__ import annotations

from vlm_engine.checkup.diagnosis import Sight as Diagnosis
from vlm_engine.checkup.setup import check_setup
from vlm_engine.config.models import EngineConfig, ModelConfig
from vlm_engine.testing import Behaviour, SandboxVLM, Sight


def settings(*endpoints, tags=(("Foul", "Goal"),)):
    """Return a configuration with a model for each list of tags, on these endpoints."""
    models = {
        f"plays {number}": ModelConfig(
            tag_list=each, model_category=f"plays {number}", multiplexer_endpoints=endpoints
        )
        for number, each in enumerate(tags)
    }
    return EngineConfig(models=models)


async def test_models_of_one_server_are_checked_in_turn():
    async with (
        SandboxVLM(Behaviour(sight=Sight.STALE, models=("a", "b", "c"))) as stale,
        SandboxVLM(Behaviour(models=("sound",))) as sound,
    ):
        places = [(stale, "a"), (sound, "sound"), (stale, "b"), (stale, "c")]
        endpoints = [{"base_url": vlm.url, "model_id": model} for vlm, model in places]
        found = await check_setup(settings(*endpoints), None)
    sights = [check.found.sight for check in found.endpoints]
    expected = [Diagnosis.SOUND if vlm is sound else Diagnosis.STALE for vlm, _ in places]
    assert sights == expected
    assert [check.endpoint.model_id for check in found.endpoints] == [name for _, name in places]


async def test_settings_that_cannot_be_used_are_a_finding():
    async with SandboxVLM() as vlm:
        endpoints = [
            {"base_url": vlm.url, "api_key_env": "NO_SUCH_KEY_OF_THE_LEAGUE"},
            {"base_url": vlm.url, "model_id": "sandbox-vlm"},
        ]
        found = await check_setup(settings(*endpoints), None)
    unusable, usable = found.endpoints
    (finding,) = unusable.section.findings
    assert (finding.what, unusable.section.works) == ("settings", False)
    assert "NO_SUCH_KEY_OF_THE_LEAGUE" in finding.text
    assert usable.section.works


def test_the_longest_list_of_tags_is_checked():
    lists = [("Foul",), ("Goal", "Turnover", "Break-away"), ("Corner", "Penalty")]
    endpoint = {"base_url": "http://127.0.0.1:1/v1"}
    ((_, model),) = settings(endpoint, tags=lists).used_endpoints()
    assert model.tag_list == lists[1]
