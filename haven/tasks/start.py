"""What a run says at its start: what it looks for, where, and whom it asks. No default is used in silence."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from haven.report import counted
from haven.settings.layers import on_the_page
from haven.settings.settings import Settings
from vlm_engine import EndpointConfig, ModelConfig

_log = logging.getLogger(__name__)
_MOST_TAGS, _MOST_ENDPOINTS = 50, 8


def announce(settings: Settings, where: str) -> None:
    """Logs it. ``where``: what is looked at, as ``12 scenes with the tag VLM_TagMe``."""
    if settings.tags_are_an_example:
        _log.warning(
            "No tags are set, so this run looks for those of the built-in example, %s. Name your own in %s.",
            _listed(settings.tag_list, _MOST_TAGS),
            on_the_page("TAG_LIST"),
        )
    models = settings.engine.active_models()
    tags = [_described(tag, model) for model in models.values() for tag in model.tag_list]
    _log.info(
        "Looking for %s (%s) in %s: %s.",
        counted(len(tags), "tag"),
        settings.origins["TAG_LIST"],
        where,
        _listed(tags, _MOST_TAGS),
    )
    for model in models.values():
        name = (
            f"Asking the model {model.model_id}"
            if model.model_id
            else "Asking the model that is loaded there (none is set)"
        )
        asked = [_endpoint(endpoint, model) for endpoint in model.endpoints()]
        _log.info(
            "%s: %s (%s).", name, _listed(asked, _MOST_ENDPOINTS), settings.origins["ENDPOINTS"]
        )


def _described(tag: str, model: ModelConfig) -> str:
    return f"{tag} ({model.tag_descriptions[tag]})" if tag in model.tag_descriptions else tag


def _endpoint(endpoint: EndpointConfig, model: ModelConfig) -> str:
    """Its name and address; its model where that is another. Addresses hold no user names and passwords."""
    named = f"{endpoint.name} at {endpoint.base_url}" if endpoint.name else endpoint.base_url
    other = (
        f" with {endpoint.model_id}"
        if endpoint.model_id and endpoint.model_id != model.model_id
        else ""
    )
    return f"{named}{other}{', a fallback' if endpoint.is_fallback else ''}"


def _listed(entries: Sequence[str], most: int) -> str:
    more = f" and {len(entries) - most} more" if len(entries) > most else ""
    return ", ".join(entries[:most]) + more
