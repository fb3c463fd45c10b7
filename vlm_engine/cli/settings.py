"""The engine's configuration from a configuration and the options of a command line."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from pathlib import Path

from vlm_engine.cli.arguments import Program
from vlm_engine.config.base import placed
from vlm_engine.config.by_name import with_settings
from vlm_engine.config.models import EndpointConfig, EngineConfig, ModelConfig, parse
from vlm_engine.config.wording import WordingConfig, described_apart, split_tags
from vlm_engine.errors import ConfigError

DEFAULT_ENDPOINT = "http://localhost:1234/v1"
DATA_DIR_VARIABLE = "VLM_ENGINE_DATA_DIR"


def engine_config(given: Namespace, program: Program) -> EngineConfig:
    """Return the program's configuration, changed as the options say. Raise ``ConfigError``."""
    config = program.config(given) if program.config else _from_file(given.config)
    if given.api_key_env and not given.endpoint:
        raise ConfigError(
            "--api-key-env: it is for the servers that --endpoint names; there are none"
        )
    values = {name: value for name, value in vars(given).items() if "." in name}
    if getattr(given, "vr", None):
        values["video.vr_layout"] = given.vr
    if given.model:
        values["model.model_id"] = given.model
    if given.endpoint:
        key = {"api_key_env": given.api_key_env}
        values["model.use_multiplexer"] = True
        values["model.multiplexer_endpoints"] = tuple(
            endpoint.model_copy(update=key) for endpoint in given.endpoint
        )
    if getattr(given, "cluster", None):
        address = {"address": given.cluster.address}
        values["engine.cluster"] = (config.cluster or given.cluster).model_copy(update=address)
    config = with_settings(config, values)
    models = {name: _with_tags(model, given) for name, model in config.active_models().items()}
    return config.model_copy(update={"models": {**config.models, **models}})


def _from_file(file: Path | None) -> EngineConfig:
    if file is None:
        return EngineConfig(models={"vlm": ModelConfig(api_base_url=DEFAULT_ENDPOINT)})
    config = EngineConfig.from_yaml(file)
    try:
        asked_models(config)
    except ConfigError as error:
        raise ConfigError(placed(file, error)) from None
    return config


def _with_tags(model: ModelConfig, given: Namespace) -> ModelConfig:
    """Return ``model``, set to look for ``--tags`` if there are any. What it knows about these
    tags stays.
    """
    if not getattr(given, "tags", None):
        return model
    names, described = split_tags(given.tags)
    words = {name: getattr(model, name) for name in WordingConfig.model_fields} | model.about(names)
    words["tag_descriptions"] = described_apart(words["tag_descriptions"], described)
    wording = parse(WordingConfig, words, "")
    return model.model_copy(update={name: getattr(wording, name) for name in words})


def asked_models(config: EngineConfig) -> dict[str, ModelConfig]:
    """Return the models that are asked, by name. Raise ``ConfigError`` if there is none."""
    if not config.active_models():
        raise ConfigError(
            'models: there is none of type "vlm_model", so nothing can be asked; write one'
        )
    return dict(config.active_models())


def asked_endpoints(config: EngineConfig) -> list[tuple[EndpointConfig, ModelConfig]]:
    """Return every endpoint with the model that is asked there. Raise ``ConfigError`` if there is
    none.
    """
    endpoints = [
        (endpoint, model)
        for model in asked_models(config).values()
        for endpoint in model.every_endpoint()
    ]
    if not endpoints:
        raise ConfigError(
            "no endpoint is set: name a server with --endpoint, or as api_base_url of the model"
        )
    return endpoints


def checked_tags(config: EngineConfig) -> EngineConfig:
    """Return ``config``. Raise ``ConfigError`` if one of its models has nothing to look for."""
    for name, model in asked_models(config).items():
        if not model.tag_list:
            raise ConfigError(
                f'model {name!r} has no tags: say what to look for with --tags "Foul,Goal", or in '
                "its tag_list"
            )
    return config


def default_store() -> Path:
    """Return the file that keeps the answers, and make its folder. Raise ``ConfigError``.

    ``VLM_ENGINE_DATA_DIR`` names another folder than the user's data folder.
    """
    named = os.environ.get(DATA_DIR_VARIABLE, "").strip()
    folder = Path(named).expanduser() if named else _user_data() / "vlm_engine"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(
            f"{folder}: cannot be made ({reason}); name another with --store or {DATA_DIR_VARIABLE}"
        ) from error
    return folder / "answers.sqlite"


def _user_data() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":  # noqa: RET505  (mypy knows platforms by their branches)
        return Path.home() / "Library" / "Application Support"
    else:
        return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
