"""A configuration written for the engine that came before, as its users have it, and the calls
that their scripts make.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from sandbox.videos import LabelledVideo, VideoSpec, generate
from vlm_engine import VLMEngine
from vlm_engine.config import base as config_base
from vlm_engine.config.models import EngineConfig, ModelConfig, PipelineConfig, PipelineModelConfig
from vlm_engine.testing import SandboxVLM

TAGS = ("Foul", "Turnover", "Goal")
INPUTS = [
    "video_path",
    "return_timestamps",
    "time_interval",
    "threshold",
    "return_confidence",
    "vr_video",
    "existing_video_data",
    "skipped_categories",
]
RULE = {"MinMarkerDuration": "1s", "MaxGap": "30s", "RequiredDuration": "1s", "TagThreshold": 0.5}


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> LabelledVideo:
    spec = VideoSpec(
        duration_s=30, width=320, height=180, tags=TAGS, seed=4, shot_median_s=6, gop_s=4
    )
    return generate(spec, tmp_path_factory.mktemp("video") / "game.mp4")


def older(url: str) -> dict[str, Any]:
    """The shape of the dictionary that the older plugin's users edit."""
    python = {
        name: {"type": "python", "model_file_name": name}
        for name in ("result_coalescer", "batch_awaiter")
    }
    return {
        "active_ai_models": ["vlm_multiplexer_model"],
        "trace_logging": False,
        "pipelines": {
            "video_pipeline_dynamic": {
                "inputs": INPUTS,
                "output": "results",
                "short_name": "dynamic_video",
                "version": 1.0,
                "models": [{"name": "dynamic_video_ai", "inputs": INPUTS, "outputs": "results"}],
            }
        },
        "models": {
            "binary_search_processor_dynamic": {
                "type": "binary_search_processor",
                "model_file_name": "binary_search",
            },
            "vlm_multiplexer_model": {
                "type": "vlm_model",
                "model_file_name": "vlm_multiplexer_model",
                "model_category": "plays",
                "model_id": "sandbox-vlm",
                "model_identifier": 93848,
                "model_version": "1.0",
                "use_multiplexer": True,
                "max_concurrent_requests": 13,
                "instance_count": 10,
                "max_batch_size": 4,
                "multiplexer_endpoints": [
                    {
                        "base_url": url,
                        "api_key": "",
                        "name": "lm-studio-primary",
                        "weight": 9,
                        "is_fallback": False,
                        "max_concurrent": 4,
                    }
                ],
                "tag_list": list(TAGS),
            },
            **python,
        },
        "category_config": {
            "plays": {
                tag: {"RenamedTag": f"{tag} (seen)", **RULE} for tag in (*TAGS, "Corner kick")
            }
        },
    }


def as_objects(data: dict[str, Any]) -> EngineConfig:
    """What the older plugin made of it."""
    pipelines = {
        name: PipelineConfig(
            inputs=own["inputs"],
            output=own["output"],
            short_name=own["short_name"],
            version=own["version"],
            models=[
                PipelineModelConfig(name=m["name"], inputs=m["inputs"], outputs=m["outputs"])
                for m in own["models"]
            ],
        )
        for name, own in data["pipelines"].items()
    }
    models = {name: ModelConfig(**own) for name, own in data["models"].items()}
    return EngineConfig(
        active_ai_models=data["active_ai_models"],
        pipelines=pipelines,
        models=models,
        category_config=data["category_config"],
        loglevel="WARNING",
    )


@pytest.mark.parametrize(
    "read", [EngineConfig.model_validate, as_objects], ids=["as it is", "as objects"]
)
def test_it_loads_and_runs(video: LabelledVideo, read: Any) -> None:
    async def run() -> None:
        async with SandboxVLM() as vlm:
            engine = VLMEngine(config=read(older(vlm.url)))
            await engine.initialize()
            told: list[int] = []
            result = await engine.process_video(
                str(video.path),
                frame_interval=2.0,
                progress_callback=told.append,
                pipeline_name="video_pipeline_dynamic",
                return_timestamps=True,
                threshold=0.5,
                return_confidence=True,
            )
            info = result["video_tag_info"]
            assert set(info["video_tags"]["plays"]) == {
                f"{tag} (seen)" for tag, truth in video.truth.items() if truth
            }
            assert set(info) == {"video_duration", "video_tags", "tag_totals", "tag_timespans"}
            assert told[-1] == 100
            found = {
                tag: spans[0] for tag, spans in result["json_result"]["timespans"]["plays"].items()
            }
            fitted = await engine.optimize_timeframe_settings(
                existing_json_data=result, desired_timespan_data=found
            )
            assert set(fitted) == set(found)
            await engine.aclose()

    asyncio.run(run())


def test_keys_without_a_meaning_are_named_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config_base, "_already_named", set())
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            EngineConfig.model_validate(older("http://localhost:9"))
    said = [record.getMessage() for record in caplog.records]
    for key in ("model_file_name", "model_identifier", "model_version", "trace_logging"):
        assert sum(key in message for message in said) == 1, said
