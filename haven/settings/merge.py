"""How layers become one: setting by setting, and in and out of a whole configuration of the engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, SecretStr

from haven.settings import words
from vlm_engine import EndpointConfig, EngineConfig, ModelConfig, described_apart, tag_key

# Settings that a model of an engine's configuration has too, and their names there.
_OF_MODEL = {
    "model": "model_id",
    **words.NAMES,
    "request_timeout": "request_timeout",
    "endpoint_patience": "endpoint_patience",
    "fallback_wait": "fallback_wait",
    "image_max_side": "image_max_side",
    "scan_image_max_side": "scan_max_side",
    "scan_frames_per_question": "frames_per_question",
}
# The same for how videos are searched and read, for what is shown of pictures, and for how much is kept.
_OF_SEARCH = {
    "video_shortest_event": "shortest_event_s",
    "video_search_effort": "effort",
    "video_questions_per_hour": "questions_per_hour",
    "video_edge_tolerance": "edge_tolerance_s",
}
_OF_ENGINE = {"store_max_mb": "store_max_mb"}
_OF_VIDEO = {
    "video_decoding_device": "hwaccel",
    "video_stall_timeout": "stall_s",
    "vr_layout": "vr_layout",
}
_OF_IMAGE = {"image_frames": "frames", "image_parts": "parts"}


def merged(layers: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The values of all layers, later ones before earlier ones.

    A layer's ``vlm_engine_config`` goes before its other values. What the layers above it set is put into
    it, so that both tell the same. ``every_tag`` holds the tags of all layers, also where a later one looks for others; a tag
    is described by the last layer that describes it. ``origins`` has the place of each value.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    every_tag: dict[str, None] = {}
    above: set[str] = set()
    for layer in layers:
        places = layer.pop("origins")
        engine = layer.get("vlm_engine_config")
        of_engine = _of_engine(engine) if engine else {}
        set_here = layer | of_engine
        origins |= places | dict.fromkeys(of_engine, places.get("vlm_engine_config", ""))
        above = set() if engine else above | layer.keys()
        if "endpoints" in set_here and "api_key" not in layer:
            values.pop("api_key", None)  # it was meant for other servers than these
        if "tag_descriptions" in set_here:
            set_here["tag_descriptions"] = described_apart(
                values.get("tag_descriptions", {}), set_here["tag_descriptions"]
            )
        values |= set_here
        every_tag |= dict.fromkeys(set_here.get("tag_list", ()))
    values["every_tag"], values["origins"] = tuple(every_tag), origins
    if "endpoints" in values:
        values["endpoints"] = tuple(
            _with_key(endpoint, values.get("api_key")) for endpoint in values["endpoints"]
        )
    if "vlm_engine_config" in values:
        values["vlm_engine_config"] = _raised(values["vlm_engine_config"], values, above)
    return values


def _with_key(endpoint: EndpointConfig, key: SecretStr | None) -> EndpointConfig:
    has_own = endpoint.api_key.get_secret_value() or endpoint.api_key_env
    return endpoint.model_copy(update={"api_key": key}) if key and not has_own else endpoint


def _asked_models(engine: EngineConfig) -> dict[str, ModelConfig]:
    """Without those that only scan for others: what a user sets elsewhere is about the models that judge."""
    return dict(engine.active_models())


def _of_engine(engine: EngineConfig) -> dict[str, Any]:
    """What ``engine`` says of the settings: the first of the models that it asks, with the tags and rules of all."""
    values = _set_fields(engine.video, _OF_VIDEO) | _set_fields(engine.search, _OF_SEARCH)
    values |= _set_fields(engine.image, _OF_IMAGE) | _set_fields(engine, _OF_ENGINE)
    asked = _asked_models(engine).values()
    for model in reversed(asked):
        values |= _set_fields(model, _OF_MODEL)
        values |= {"endpoints": model.endpoints()} if model.endpoints() else {}
    tags = {tag_key(tag): tag for model in asked for tag in model.tag_list}
    rules = {
        tag: rule
        for model in asked
        for tag, rule in engine.category_config.get(model.category, {}).items()
    }
    if tags:
        values["tag_list"] = tuple(tags.values())
    if rules:
        values["tag_rules"] = rules
    if "default_rule" in engine.model_fields_set:
        values["default_tag_rule"] = engine.default_rule
    if "threshold" in engine.default_rule.model_fields_set:
        values["video_threshold"] = engine.default_rule.threshold
    return values


def _raised(engine: EngineConfig, values: Mapping[str, Any], above: set[str]) -> EngineConfig:
    """``engine`` with what the layers above it set, and what its models leave open."""
    models = dict(engine.models)
    categories = dict(engine.category_config)
    for name, model in _asked_models(engine).items():
        taken = _taken(model, _OF_MODEL, values, above)
        endpoints = model.endpoints()
        if "endpoints" in above or not endpoints:
            endpoints = values["endpoints"]
        elif "api_key" in values:
            endpoints = tuple(_with_key(endpoint, values["api_key"]) for endpoint in endpoints)
        models[name] = model.model_copy(
            update=taken | {"multiplexer_endpoints": endpoints, "use_multiplexer": True}
        )
        if "tag_rules" in above:
            categories[model.category] = values["tag_rules"]
    default = engine.default_rule
    if "default_tag_rule" in values and (
        "default_tag_rule" in above or "default_rule" not in engine.model_fields_set
    ):
        default = values["default_tag_rule"]
    changed = {
        "models": models,
        "category_config": categories,
        "default_rule": default,
        "search": engine.search.model_copy(update=_taken(engine.search, _OF_SEARCH, values, above)),
        "video": engine.video.model_copy(update=_taken(engine.video, _OF_VIDEO, values, above)),
        "image": engine.image.model_copy(update=_taken(engine.image, _OF_IMAGE, values, above)),
    }
    return engine.model_copy(update=changed | _taken(engine, _OF_ENGINE, values, above))


def _set_fields(part: BaseModel, fields: Mapping[str, str]) -> dict[str, Any]:
    """What ``part`` of an engine's configuration sets, under the settings' names."""
    return {
        name: getattr(part, field)
        for name, field in fields.items()
        if field in part.model_fields_set
    }


def _taken(
    part: BaseModel, fields: Mapping[str, str], values: Mapping[str, Any], above: set[str]
) -> dict[str, Any]:
    """What is put into ``part``: what the layers above it set, and what it leaves open."""
    return {
        field: values[name]
        for name, field in fields.items()
        if name in values and (name in above or field not in part.model_fields_set)
    }
