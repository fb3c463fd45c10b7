"""Stages of the user: given as objects or classes, or named by a dotted path in the settings."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from vlm_engine.config.models import EngineConfig
from vlm_engine.errors import ConfigError
from vlm_engine.models.base import Model


def custom_models(
    config: EngineConfig, given: Mapping[str, Model | type[Model]]
) -> dict[str, Model]:
    """Return the user's stages by name: those ``given``, and those that the settings name by class.

    A class that is given gets the ``options`` of the model of that name. Raises ``ConfigError``
    that names the setting.
    """
    models = {name: _given(name, model, config) for name, model in given.items()}
    defined: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for where, name, path, options in _named(config):
        if name in given:
            raise ConfigError(f"{where}: a model {name!r} is given to the engine, too")
        if defined.setdefault(name, (path, options)) != (path, options):
            raise ConfigError(
                f"{where}: there is another stage {name!r} with another class or other options"
            )
        if name not in models:
            models[name] = _made(_class(path, where), options, where)
    return models


def _named(config: EngineConfig) -> list[tuple[str, str, str, Mapping[str, Any]]]:
    """Return (setting, name, dotted path, options) of every stage with a class."""
    models = [
        (f"models.{name}", name, model.class_path, model.options)
        for name, model in config.models.items()
        if model.class_path
    ]
    stages = [
        (f"pipelines.{pipeline}, stage {stage.name!r}", stage.name, stage.class_path, stage.options)
        for pipeline, stages in config.pipelines.items()
        for stage in stages.models
        if stage.class_path
    ]
    return [*models, *stages]


def _given(name: str, model: Model | type[Model], config: EngineConfig) -> Model:
    if isinstance(model, Model):
        return model
    options = config.models[name].options if name in config.models else {}
    return _made(model, options, f"models.{name}")


def _class(path: str, where: str) -> type[Model]:
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name) if module else None
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{where}: class {path!r} cannot be imported: {error}") from error
    if not isinstance(found, type) or not issubclass(found, Model):
        raise ConfigError(
            f"{where}: class {path!r} is not the dotted path of a subclass of "
            "vlm_engine.models.Model"
        )
    return found


def _made(kind: type[Model], options: Mapping[str, Any], where: str) -> Model:
    try:
        inspect.signature(kind).bind(**options)
    except TypeError as error:
        raise ConfigError(
            f"{where}: {kind.__name__} does not take these options: {error}"
        ) from None
    try:
        return kind(**options)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
