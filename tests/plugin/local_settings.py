"""Settings of the local file, of Stash's page, and of a task's arguments."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from haven.settings.settings import Settings
from vlm_engine.config.models import ModelConfig
from vlm_engine.errors import ConfigError

LOCAL = "haven_vlm_config.local.yaml"


def load(
    text: str = "", page: dict[str, Any] | None = None, args: dict[str, str] | None = None
) -> Settings:
    """Load the settings of all layers, with ``text`` in the local file."""
    with TemporaryDirectory() as folder:
        (Path(folder) / LOCAL).write_text(text, encoding="utf-8")
        return Settings.load(page, args, Path(folder))


def faults(
    text: str = "", page: dict[str, Any] | None = None, args: dict[str, str] | None = None
) -> list[str]:
    """Return the lines of the error that loading ends in."""
    with pytest.raises(ConfigError) as caught:
        load(text, page, args)
    return str(caught.value).splitlines()


def model_of(settings: Settings) -> ModelConfig:
    """Return the one model that is asked."""
    (found,) = settings.engine.active_models().values()
    return found
