"""A configuration of the upstream plugin's shape loads and works, and says once what of it has
no meaning here.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from sandbox.videos import VideoSpec, generate
from vlm_engine import VLMEngine
from vlm_engine.config import base as config_base
from vlm_engine.config.models import EngineConfig, ModelConfig
from vlm_engine.testing import Behaviour, SandboxVLM, glyphs

WRITTEN = Path(__file__).resolve().parents[1] / "data" / "older_engine.yaml"
MEANT = ("http://localhost:7045", "http://localhost:7046")


@pytest.fixture(autouse=True)
def nothing_named_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_base, "_already_named", set())


def legacy_keys(written: Any) -> set[str]:
    """The keys of a configuration that have no meaning here."""
    if isinstance(written, dict):
        every = EngineConfig.LEGACY | ModelConfig.LEGACY
        return {key for key in written if key in every}.union(*map(legacy_keys, written.values()))
    return set().union(*map(legacy_keys, written)) if isinstance(written, list) else set()


def test_it_loads_and_each_key_without_a_meaning_is_named_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "vlm_engine"):
        config = EngineConfig.from_yaml(WRITTEN)
        EngineConfig.from_yaml(WRITTEN)
    assert [endpoint.label for endpoint in config.models["vlm_multiplexer_model"].endpoints()] == [
        "first",
        "spare",
    ]
    assert config.rule_of("plays")("Foul").renamed == "Personal foul"
    named = Counter(
        key
        for record in caplog.records
        for key in record.getMessage().partition("are ignored: ")[2].split(", ")
    )
    expected = legacy_keys(yaml.safe_load(WRITTEN.read_text(encoding="utf-8")))
    assert len(expected) > 15
    assert named == dict.fromkeys(expected, 1)


def test_its_pipelines_tag_videos_and_pictures(tmp_path: Path) -> None:
    video = generate(
        VideoSpec(duration_s=20, width=320, height=180, tags=("Foul", "Goal"), seed=2),
        tmp_path / "game.mp4",
    )
    glyphs.picture(["Foul"], width=320, height=180).save(tmp_path / "still.png")

    async def run() -> None:
        async with SandboxVLM(Behaviour(models=("org/vision-flash",), slots=4)) as vlm:
            text = WRITTEN.read_text(encoding="utf-8")
            for address in MEANT:
                text = text.replace(address, vlm.url.removesuffix("/v1"))
            (tmp_path / "older.yaml").write_text(text, encoding="utf-8")
            async with VLMEngine(EngineConfig.from_yaml(tmp_path / "older.yaml")) as engine:
                found = await engine.process_video(
                    video.path, pipeline_name="video_pipeline_dynamic"
                )
                shown = await engine.process_image(
                    tmp_path / "still.png", pipeline_name="image_pipeline_dynamic"
                )
        names = {
            "Personal foul" if tag == "Foul" else tag for tag, spans in video.truth.items() if spans
        }
        assert set(found["video_tag_info"]["tag_timespans"]["plays"]) == names
        assert shown["image_tag_info"]["image_tags"] == {"plays": ["Personal foul"]}

    asyncio.run(run())
