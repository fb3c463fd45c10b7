"""What in Stash carries the plugin's tags, whether or not the journal knows who put them there."""

from __future__ import annotations

from collections.abc import Collection

from haven.stash.transport import StashClient
from haven.stash.values import Tag, tag_key

_BELOW = "query TagsBelow($id: ID!) { findTag(id: $id) { children { id name } } }"
_COUNTS = """query Carriers($marker: SceneMarkerFilterType, $scene: SceneFilterType, $image: ImageFilterType,
  $gallery: GalleryFilterType) {
  marker: findSceneMarkers(filter: {per_page: 0}, scene_marker_filter: $marker) { count }
  scene: findScenes(filter: {per_page: 0}, scene_filter: $scene) { count }
  image: findImages(filter: {per_page: 0}, image_filter: $image) { count }
  gallery: findGalleries(filter: {per_page: 0}, gallery_filter: $gallery) { count }
}"""


def carriers(client: StashClient, parent: Tag, queues: Collection[str]) -> dict[str, int]:
    """How many markers carry the tag ``parent``, and how many scenes, images and galleries carry one right below it, by noun.

    Without those that people put something in line with, whose names are ``queues``. Nouns of which there are none are left out.
    """
    told = client.ask(_BELOW, {"id": parent.id})["findTag"] or {"children": []}
    in_line = {tag_key(name) for name in queues}
    below = [str(tag["id"]) for tag in told["children"] if tag_key(str(tag["name"])) not in in_line]
    of_items = {"tags": {"value": below or [parent.id], "modifier": "INCLUDES", "depth": 0}}
    of_markers = {"tags": {"value": [parent.id], "modifier": "INCLUDES", "depth": 0}}
    criteria = {"marker": of_markers, "scene": of_items, "image": of_items, "gallery": of_items}
    counts = client.ask(_COUNTS, criteria)
    return {noun: int(counts[noun]["count"]) for noun in criteria if counts[noun]["count"]}
