"""The size of what a task would work on, in a few requests however many items there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from haven.items import ItemKind
from haven.stash import reading
from haven.stash.filters import ItemFilter
from haven.stash.transport import StashClient

SAMPLE = 400
_GALLERIES_AT_ONCE = 1000
# As good as random, and always the same: a forecast does not change by itself.
_ORDER = "random_12345678"
_SCENES = """query SceneLoad(
  $shown: SceneFilterType, $all: FindFilterType, $some: FindFilterType
) {
  all: findScenes(filter: $all, scene_filter: $shown) { count duration }
  some: findScenes(filter: $some, scene_filter: $shown) { scenes { id files { duration } } }
}"""
_IMAGES = """query ImageCount($filter: ImageFilterType, $page: FindFilterType) {
  findImages(filter: $page, image_filter: $filter) { count }
}"""


@dataclass(frozen=True, slots=True)
class SceneLoad:
    """Scenes by their number. ``lengths_s``: the length of each, or of a sample of them that has
    the same mean.
    """

    count: int = 0
    lengths_s: tuple[float, ...] = ()


def filtered_scenes(client: StashClient, scenes: ItemFilter) -> SceneLoad:
    """Return the load of the scenes that a filter shows. Raises ``StashError``."""
    search = {"q": scenes.search} if scenes.search else {}
    data = client.ask(
        _SCENES,
        {
            "shown": scenes.criteria,
            "all": {"per_page": 0, **search},
            "some": {"per_page": SAMPLE, "sort": _ORDER, **search},
        },
    )
    count, total_s = int(data["all"]["count"]), float(data["all"]["duration"])
    files_s = [[float(file["duration"]) for file in one["files"]] for one in data["some"]["scenes"]]
    lengths_s = [lengths[0] for lengths in files_s if lengths]
    if count <= SAMPLE or not any(lengths_s):
        return SceneLoad(count, tuple(lengths_s))
    # The total is that of all files of a scene, of which the first one is looked at.
    scale = total_s / count / fmean(map(sum, files_s))
    return SceneLoad(count, tuple(scale * length_s for length_s in lengths_s))


def named_scenes(client: StashClient, ids: Sequence[str]) -> SceneLoad:
    """Return the load of the scenes with these ids. Raises ``StashError``."""
    step = max(1, -(-len(ids) // SAMPLE))
    return SceneLoad(len(ids), tuple(reading.lengths_s(client, ids[::step]).values()))


def count_images(client: StashClient, images: ItemFilter) -> int:
    """Return the number of images that a filter shows. Raises ``StashError``."""
    page = {"per_page": 0, **({"q": images.search} if images.search else {})}
    data = client.ask(_IMAGES, {"filter": images.criteria, "page": page})
    return int(data["findImages"]["count"])


def count_images_in(client: StashClient, gallery_ids: Sequence[str]) -> int:
    """Return the number of images in these galleries. Raises ``StashError``."""
    return sum(
        count_images(client, ItemFilter(reading.in_galleries(ids)))
        for start in range(0, len(gallery_ids), _GALLERIES_AT_ONCE)
        if (ids := gallery_ids[start : start + _GALLERIES_AT_ONCE])
    )


def count_images_in_filtered(client: StashClient, galleries: ItemFilter) -> int:
    """Return the number of images in the galleries that a filter shows. Raises ``StashError``."""
    if galleries.search:
        ids = reading.ids_matching(client, ItemKind.GALLERY, galleries)
        return count_images_in(client, ids)
    return count_images(client, ItemFilter({"galleries_filter": galleries.criteria}))
