"""What docs/prompts.md shows is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from haven.settings.settings import Settings
from vlm_engine.config import templates

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "prompts.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("written", blocks("yaml"))
def test_every_example_of_settings_is_taken(written: str, tmp_path: Path) -> None:
    (tmp_path / "haven_vlm_config.local.yaml").write_text(written, encoding="utf-8")
    settings = Settings.load(folder=tmp_path)
    wording = settings.engine.models["vlm"]
    assert (
        wording.tag_descriptions
        or wording.synonyms
        or wording.prompt
        or wording.frames_per_question == 4
    )


def test_the_texts_that_are_built_in_are_these() -> None:
    (system,) = blocks("text")
    assert system.strip() == templates.SYSTEM
    assert f"`{templates.USER}`" in PAGE
