"""Settings as a user writes them into the local file, onto Stash's page, and into a task's arguments."""

from pathlib import Path
from typing import Any

import pytest

from haven.settings.settings import Settings
from vlm_engine.config.models import ModelConfig
from vlm_engine.errors import ConfigError

LOCAL = "haven_vlm_config.local.yaml"


def load(
    folder: Path,
    text: str = "",
    page: dict[str, Any] | None = None,
    args: dict[str, str] | None = None,
) -> Settings:
    """Write ``text`` into the local file in ``folder``, and load the settings of all layers."""
    (folder / LOCAL).write_text(text, encoding="utf-8")
    return Settings.load(page, args, folder)


def faults(
    folder: Path,
    text: str = "",
    page: dict[str, Any] | None = None,
    args: dict[str, str] | None = None,
) -> list[str]:
    """Return the lines of the error that loading ends in."""
    with pytest.raises(ConfigError) as caught:
        load(folder, text, page, args)
    return str(caught.value).splitlines()


def model_of(settings: Settings) -> ModelConfig:
    """Return the one model that is asked."""
    (found,) = settings.engine.active_models().values()
    return found
