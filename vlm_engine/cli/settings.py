"""A command line and a configuration file as the engine's settings."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from vlm_engine.config.base import placed
from vlm_engine.config.models import EndpointConfig, EngineConfig, ModelConfig, parse
from vlm_engine.errors import ConfigError

DEFAULT_ENDPOINT = "http://localhost:1234/v1"
DATA_DIR_VARIABLE = "VLM_ENGINE_DATA_DIR"


def engine_config(given: Namespace) -> EngineConfig:
    """What ``--config`` holds, and before it what the other options say. Raises ``ConfigError``."""
    config = (
        EngineConfig.from_yaml(given.config)
        if given.config
        else EngineConfig(models={"vlm": ModelConfig()})
    )
    try:
        asked = asked_models(config)
    except ConfigError as error:
        raise ConfigError(placed(given.config, error)) from None
    models = {
        name: _with_options(model, given, bare=given.config is None)
        for name, model in asked.items()
    }
    return config.model_copy(update={"models": {**config.models, **models}})


def asked_models(config: EngineConfig) -> dict[str, ModelConfig]:
    """The models that are asked, by their names. Raises ``ConfigError`` where there is none."""
    if not config.active_models():
        raise ConfigError(
            'models: there is none of type "vlm_model", so nothing can be asked; write one'
        )
    return dict(config.active_models())


def asked_endpoints(config: EngineConfig) -> list[tuple[EndpointConfig, ModelConfig]]:
    """Every endpoint, each with the model that is asked there. Raises ``ConfigError`` where there is none."""
    asked = [
        (endpoint, model)
        for model in asked_models(config).values()
        for endpoint in model.endpoints()
    ]
    if not asked:
        raise ConfigError(
            "no endpoint is set: name a server with --endpoint, or as api_base_url of the model"
        )
    return asked


def with_tags(config: EngineConfig) -> EngineConfig:
    """``config``. Raises ``ConfigError`` where one of its models has nothing to look for."""
    for name, model in asked_models(config).items():
        if not model.tag_list:
            raise ConfigError(
                f'model {name!r} has no tags: say what to look for with --tags "Foul,Goal", or in its tag_list'
            )
    return config


def default_store() -> Path:
    """The file that keeps the answers; its folder is made. ``VLM_ENGINE_DATA_DIR`` names another. Raises ``ConfigError``."""
    named = os.environ.get(DATA_DIR_VARIABLE, "").strip()
    folder = Path(named).expanduser() if named else _user_data() / "vlm_engine"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        told = error.strerror or error
        raise ConfigError(
            f"{folder}: cannot be made ({told}); name another with --store or {DATA_DIR_VARIABLE}"
        ) from error
    return folder / "answers.sqlite"


def _user_data() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":  # noqa: RET505  (mypy knows platforms by their branches)
        return Path.home() / "Library" / "Application Support"
    else:
        return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")


def _with_options(model: ModelConfig, given: Namespace, *, bare: bool) -> ModelConfig:
    changed: dict[str, Any] = {}
    addresses = given.endpoint or ([DEFAULT_ENDPOINT] if bare else [])
    if addresses:
        changed["multiplexer_endpoints"] = [
            parse(
                EndpointConfig,
                {"base_url": address, "api_key_env": given.api_key_env},
                "--endpoint",
            )
            for address in addresses
        ]
        changed["use_multiplexer"] = True
    elif given.api_key_env:
        raise ConfigError(
            "--api-key-env: it is for the servers that --endpoint names; there are none"
        )
    if given.model:
        changed["model_id"] = given.model
    if tags := [tag for tag in getattr(given, "tags", "").split(",") if tag.strip()]:
        changed |= model.about(tags)
    return parse(
        ModelConfig,
        {**{name: getattr(model, name) for name in model.model_fields_set}, **changed},
        "",
    )
