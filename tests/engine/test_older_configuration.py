"""A configuration of the older engine loads and works, as do the calls of its scripts."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.engine.engines import true_tags
from vlm_engine import VLMEngine
from vlm_engine.config import base as config_base
from vlm_engine.config.models import EngineConfig, ModelConfig, PipelineConfig, PipelineModelConfig
from vlm_engine.testing import Behaviour, SandboxVLM, glyphs

WRITTEN = Path(__file__).resolve().parents[1] / "data" / "older_engine.yaml"
ADDRESSES = ("http://localhost:7045", "http://localhost:7046")


@pytest.fixture(autouse=True)
def nothing_named_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_base, "_already_named", set())


def legacy_keys(written: Any) -> set[str]:
    """Return the keys of a configuration that have no meaning here."""
    if isinstance(written, dict):
        every = EngineConfig.LEGACY | ModelConfig.LEGACY
        return {key for key in written if key in every}.union(*map(legacy_keys, written.values()))
    return set().union(*map(legacy_keys, written)) if isinstance(written, list) else set()


def test_each_key_without_a_meaning_is_named_once(caplog):
    with caplog.at_level(logging.WARNING, "vlm_engine"):
        config = EngineConfig.from_yaml(WRITTEN)
        EngineConfig.from_yaml(WRITTEN)
    endpoints = config.models["vlm_multiplexer_model"].endpoints()
    assert [endpoint.label for endpoint in endpoints] == ["first", "spare"]
    assert config.rule_of("plays")("Foul").renamed == "Personal foul"
    named = Counter(
        key
        for record in caplog.records
        for key in record.getMessage().partition("are ignored: ")[2].split(", ")
    )
    expected = legacy_keys(yaml.safe_load(WRITTEN.read_text(encoding="utf-8")))
    assert len(expected) > 15
    assert named == dict.fromkeys(expected, 1)


def as_objects(path: Path) -> EngineConfig:
    """Return the objects that the older plugin made of its dictionary."""
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    pipelines = {
        name: PipelineConfig(
            **{**pipeline, "models": [PipelineModelConfig(**stage) for stage in pipeline["models"]]}
        )
        for name, pipeline in data["pipelines"].items()
    }
    models = {name: ModelConfig(**model) for name, model in data["models"].items()}
    return EngineConfig(**{**data, "pipelines": pipelines, "models": models})


@pytest.mark.parametrize("read", [EngineConfig.from_yaml, as_objects])
async def test_its_pipelines_tag_videos_and_pictures(tmp_path, clip, read):
    glyphs.picture(["Foul"], width=320, height=180).save(tmp_path / "still.png")
    progress: list[int] = []
    async with SandboxVLM(Behaviour(models=("org/vision-flash",), slots=4)) as vlm:
        text = WRITTEN.read_text(encoding="utf-8")
        for address in ADDRESSES:
            text = text.replace(address, vlm.url.removesuffix("/v1"))
        (tmp_path / "older.yaml").write_text(text, encoding="utf-8")
        async with VLMEngine(config=read(tmp_path / "older.yaml")) as engine:
            found = await engine.process_video(
                str(clip.path),
                frame_interval=2.0,
                progress_callback=progress.append,
                pipeline_name="video_pipeline_dynamic",
                return_timestamps=True,
                threshold=0.5,
                return_confidence=True,
            )
            picture = await engine.process_image(
                tmp_path / "still.png", pipeline_name="image_pipeline_dynamic"
            )
            spans = found["json_result"]["timespans"]["plays"]
            desired = {tag: of_tag[0] for tag, of_tag in spans.items()}
            fitted = await engine.optimize_timeframe_settings(
                existing_json_data=found, desired_timespan_data=desired
            )
    names = {"Personal foul" if tag == "Foul" else tag for tag in true_tags(clip)}
    info = found["video_tag_info"]
    assert set(info) == {"video_duration", "video_tags", "tag_totals", "tag_timespans"}
    assert set(info["tag_timespans"]["plays"]) == names
    assert picture["image_tag_info"]["image_tags"] == {"plays": ["Personal foul"]}
    assert progress[-1] == 100
    assert set(fitted) == set(desired)
