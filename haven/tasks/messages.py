"""Lines of the log that several tasks share: what a run looks for, and what changed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from haven.items import ItemChange
from haven.report import counted
from haven.settings.layers import TASK, on_the_page
from haven.settings.settings import Settings
from haven.stash.values import Gallery, Image, Scene
from vlm_engine import EndpointConfig, ModelConfig

_log = logging.getLogger(__name__)
_MOST_TAGS, _MOST_ENDPOINTS = 50, 8


def title_of(item: Scene | Image | Gallery) -> str:
    """Return the item's title, or its file name."""
    return item.title or item.path.replace("\\", "/").rpartition("/")[2] or "no file"


def describe_markers(change: ItemChange) -> str:
    """Return ``2 new, 1 removed``, or ``none``."""
    counts = {
        "new": len(change.markers_added),
        "kept": change.markers_kept,
        "removed": len(change.markers_removed),
    }
    return ", ".join(f"{number} {what}" for what, number in counts.items() if number) or "none"


def describe_change(
    change: ItemChange,
    *,
    is_planned: bool = False,
    listed: Callable[[Sequence[str]], str] = ", ".join,
) -> str:
    """Return what changes on an item, or ``nothing``. ``listed`` writes a list of tags."""
    would = "would be " if is_planned else ""
    parts = {
        f"tags {would}added: ": listed(change.tags_added),
        f"tags {would}removed: ": listed(change.tags_removed),
    }
    found = [f"{head}{tags}" for head, tags in parts.items() if tags]
    for markers, what in ((change.markers_added, "added"), (change.markers_removed, "removed")):
        if markers:
            found.append(f"{counted(len(markers), 'marker')} {would}{what}")
    return "; ".join(found) or ("nothing would change" if is_planned else "nothing")


def describe_left(change: ItemChange, listed: Callable[[Sequence[str]], str] = ", ".join) -> str:
    """Return what was found or known and yet stays as it is, as "; …", or ""."""
    off, alone = listed(change.stays_off), listed(change.left_alone)
    return (f"; stays off because a person took it off: {off}" if off else "") + (
        f"; left alone because it is not in this tag list: {alone}" if alone else ""
    )


def nothing_queued(noun: str, queues: Sequence[str]) -> str:
    """Return the end line of a task that found nothing to do."""
    one_of = "it" if len(queues) == 1 else "one of them"
    return (
        f"No {noun} carries the tag {' or '.join(queues)}. Add {one_of} to those that you mean, and"
        " start the task again."
    )


def announce(settings: Settings, where: str) -> None:
    """Log what a run looks for, where, and which endpoints it asks: no default is used silently.

    ``where``: the items, such as ``12 scenes with the tag VLM_TagMe``.
    """
    if settings.tags_are_an_example:
        _log.warning(
            "No tags are set, so this run looks for those of the built-in example, %s."
            " Name your own in %s.",
            _listed(settings.tag_list, _MOST_TAGS),
            on_the_page("TAG_LIST"),
        )
    if given := [name for name, place in settings.origins.items() if place.startswith(TASK)]:
        _log.info("Set for this task alone: %s.", ", ".join(given))
    models = settings.engine.active_models()
    tags = [_described(tag, model) for model in models.values() for tag in model.tag_list]
    _log.info(
        "Looking for %s (%s) in %s: %s.",
        counted(len(tags), "tag"),
        settings.place_of_tags,
        where,
        _listed(tags, _MOST_TAGS),
    )
    for model in models.values():
        name = model.model_id or "that is loaded there (none is set)"
        endpoints = [_endpoint(endpoint, model) for endpoint in model.every_endpoint()]
        _log.info(
            "Asking the model %s: %s (%s).",
            name,
            _listed(endpoints, _MOST_ENDPOINTS),
            settings.origins["ENDPOINTS"],
        )


def _described(tag: str, model: ModelConfig) -> str:
    return f"{tag} ({model.tag_descriptions[tag]})" if tag in model.tag_descriptions else tag


def _endpoint(endpoint: EndpointConfig, model: ModelConfig) -> str:
    """Return its name, address and own model. Addresses hold no user names and passwords."""
    named = f"{endpoint.name} at {endpoint.base_url}" if endpoint.name else endpoint.base_url
    if endpoint.model_id and endpoint.model_id != model.model_id:
        named += f" with {endpoint.model_id}"
    if endpoint.worker:
        named += f", by the worker {endpoint.worker} alone"
    return f"{named}, a fallback" if endpoint.is_fallback else named


def _listed(entries: Sequence[str], most: int) -> str:
    more = f" and {len(entries) - most} more" if len(entries) > most else ""
    return ", ".join(entries[:most]) + more
