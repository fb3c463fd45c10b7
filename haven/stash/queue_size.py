"""The number of scenes and images that wait, in two requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from haven.stash.transport import StashClient
from haven.stash.values import tag_key

_TAGS = """query QueueTags($filter: TagFilterType) {
  findTags(filter: {per_page: 100}, tag_filter: $filter) { tags { id name aliases } }
}"""
_SIZES = """query QueueSize($scene: SceneFilterType, $image: ImageFilterType) {
  scene: findScenes(filter: {per_page: 0}, scene_filter: $scene) { count }
  image: findImages(filter: {per_page: 0}, image_filter: $image) { count }
}"""


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """Scenes and images that wait; those in queued galleries are among the images."""

    scenes: int = 0
    images: int = 0


def queue_tag_ids(client: StashClient, tag_names: Sequence[str]) -> tuple[str, ...]:
    """Return the ids of the tags with these names, or aliases. Raises ``StashError``."""
    found = client.ask(_TAGS, {"filter": _named(tag_names)})["findTags"]["tags"]
    wanted = set(map(tag_key, tag_names))
    return tuple(
        str(tag["id"])
        for tag in found
        if not wanted.isdisjoint(map(tag_key, (str(tag["name"]), *tag["aliases"])))
    )


def queue_size(client: StashClient, tag_names: Sequence[str]) -> QueueCounts:
    """Return how many items carry one of these tags. Raises ``StashError``."""
    ids = queue_tag_ids(client, tag_names)
    if not ids:
        return QueueCounts()
    tagged = {"tags": {"value": list(ids), "modifier": "INCLUDES", "depth": 0}}
    images = {**tagged, "OR": {"galleries_filter": tagged}}
    data = client.ask(_SIZES, {"scene": tagged, "image": images})
    return QueueCounts(*(int(data[kind]["count"]) for kind in ("scene", "image")))


def _named(names: Sequence[str]) -> Mapping[str, Any]:
    """Return the filter for tags with one of these names or aliases. Stash compares patterns, so
    there may be others among them.
    """
    terms = [
        {field: {"value": name, "modifier": "EQUALS"}}
        for name in names
        for field in ("name", "aliases")
    ]
    joined: dict[str, Any] = {}
    for term in terms:
        joined = {**term, "OR": joined} if joined else term
    return joined
