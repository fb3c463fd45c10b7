"""Reading scenes, images and galleries, and counting what carries a tag."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache, partial
from math import floor
from pathlib import PurePath
from typing import Any, Generic, TypeAlias, TypeVar

from haven.items import ItemKind, ItemRef
from haven.stash.errors import ItemGoneError, StashLockedError, StashQueryError, StashReplyError
from haven.stash.filters import ItemFilter
from haven.stash.transport import StashClient
from haven.stash.values import (
    Gallery,
    Image,
    ItemSnapshot,
    ItemT,
    Marker,
    QueuedVideo,
    Scene,
    SceneFile,
    Tag,
    tag_key,
)

PAGE = 1000
RUN_FIELD = "haven_vlm"
"""The custom field of a scene or image that names the last run which changed it."""
_COUNTS_AT_ONCE = 25
# Stash has some of these down as videos: those that ffmpeg reads with a video's decoder.
_PICTURES = frozenset(
    ".gif .apng .png .jpg .jpeg .jfif .webp .bmp .tif .tiff .heic .heif .avif .jxl .jp2".split()
)

_T = TypeVar("_T")
Criteria: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reading(Generic[_T]):
    """The queries for one kind of item: their names, the fields, and the value made of these.

    ``at_once``: the number of items in one request; each costs Stash look-ups of its own.
    """

    kind: ItemKind
    noun: str
    nouns: str
    fields: str
    value: Callable[[Mapping[str, Any]], _T]
    at_once: int

    @property
    def one(self) -> str:
        """The query for one item."""
        return f"query {self.noun}($id: ID!) {{ find{self.noun}(id: $id) {{ {self.fields} }} }}"

    @property
    def many(self) -> str:
        """The query for many items, by id."""
        return f"""query {self.nouns}($ids: [ID!]) {{
  find{self.nouns}(ids: $ids) {{ {self.nouns.lower()} {{ {self.fields} }} }}
}}"""

    @property
    def found(self) -> str:
        """The query for the ids of the items that meet criteria."""
        return f"""query {self.noun}Ids($page: FindFilterType, $criteria: {self.noun}FilterType) {{
  find{self.nouns}(filter: $page, {self.kind}_filter: $criteria) {{ {self.nouns.lower()} {{ id }} }}
}}"""


def ids_with_tags(client: StashClient, kind: ItemKind, *tag_ids: str) -> tuple[str, ...]:
    """Return the ids of all items that carry exactly these tags (not their children), in order."""
    return _ids(client, kind, {"tags": _tagged(*tag_ids)})


def image_ids_in_galleries_with_tag(client: StashClient, tag_id: str) -> tuple[str, ...]:
    """Return the ids of the images in all galleries that carry exactly this tag, in order."""
    return _ids(client, ItemKind.IMAGE, {"galleries_filter": {"tags": _tagged(tag_id)}})


def image_ids_in(client: StashClient, gallery_ids: Sequence[str]) -> tuple[str, ...]:
    """Return the ids of the images in these galleries, each once, in order."""
    ids: set[str] = set()
    for start in range(0, len(gallery_ids), PAGE):
        ids.update(_ids(client, ItemKind.IMAGE, in_galleries(gallery_ids[start : start + PAGE])))
    return tuple(sorted(ids, key=int))


def in_galleries(gallery_ids: Sequence[str]) -> Criteria:
    """Return the criteria for images in one of these galleries."""
    return {"galleries": {"value": list(gallery_ids), "modifier": "INCLUDES"}}


def ids_matching(client: StashClient, kind: ItemKind, items: ItemFilter) -> tuple[str, ...]:
    """Return the ids of all items of one kind that a filter shows, in order.

    Raises ``StashQueryError`` for a filter that Stash does not know.
    """
    # An OR of the person's own would take in what the criteria beside it leave out.
    return _ids(client, kind, {"AND": items.criteria}, items.search)


def ids_without_tags(client: StashClient, kind: ItemKind, *tag_ids: str) -> tuple[str, ...]:
    """Return the ids of all items that carry none of these tags themselves, in order."""
    return _ids(client, kind, {"tags": _untagged(*tag_ids)})


def queued_videos(client: StashClient, tag_id: str) -> tuple[QueuedVideo, ...]:
    """Return the first file of every scene that carries exactly this tag, in order of the ids."""
    return _videos(client, {"tags": _tagged(tag_id)})


def videos_without_tags(client: StashClient, *tag_ids: str) -> tuple[QueuedVideo, ...]:
    """Return the first file of every scene that carries none of these tags, in order of the
    ids.
    """
    return _videos(client, {"tags": _untagged(*tag_ids)})


def lengths_s(client: StashClient, scene_ids: Iterable[str]) -> dict[str, float]:
    """Return the length of each scene that has a file, by id, in this order."""
    return {scene: length_s for scene, length_s in _read(client, _LENGTHS, scene_ids) if length_s}


def _videos(client: StashClient, criteria: Criteria) -> tuple[QueuedVideo, ...]:
    videos: list[QueuedVideo] = []
    while True:
        page = {"per_page": PAGE, "page": len(videos) // PAGE + 1, "sort": "id"}
        data = client.ask(_QUEUED, {"page": page, "criteria": criteria})["findScenes"]["scenes"]
        videos += map(_queued_video, data)
        if len(data) < PAGE:
            return tuple(videos)


def _queued_video(data: Mapping[str, Any]) -> QueuedVideo:
    scene_id = str(data["id"])
    for file in data["files"]:
        return QueuedVideo(scene_id, str(file["path"]), int(file["size"]), float(file["duration"]))
    return QueuedVideo(scene_id)


def count_scenes(client: StashClient, *tag_ids: str) -> int:
    """Return the number of scenes that carry all of these tags."""
    variables = {"page": {"per_page": 0}, "criteria": {"tags": _tagged(*tag_ids)}}
    return int(client.ask(_COUNT_SCENES, variables)["findScenes"]["count"])


def tag_counts(client: StashClient, gallery_id: str, tags: Iterable[Tag]) -> dict[str, int]:
    """Return the number of images of a gallery that carry each of the tags (not a child of it), by
    tag id.
    """
    ids = list(dict.fromkeys(tag.id for tag in tags))
    return {
        tag_id: count
        for start in range(0, len(ids), _COUNTS_AT_ONCE)
        for tag_id, count in _counted(client, gallery_id, ids[start : start + _COUNTS_AT_ONCE])
    }


def read_all(client: StashClient, item_type: type[ItemT], ids: Iterable[str]) -> tuple[ItemT, ...]:
    """Return the items with these ids, in this order, without those that have vanished."""
    reading: Reading[ItemT] = _READINGS[item_type.kind]
    return tuple(_read(client, reading, ids))


def read_items(client: StashClient, items: Iterable[ItemRef]) -> dict[ItemRef, ItemSnapshot]:
    """Return what these items, of any kind, carry now, without those that have vanished."""
    by_kind: dict[ItemKind, list[str]] = {}
    for item in items:
        by_kind.setdefault(item.kind, []).append(item.id)
    readings = _MARKED_SNAPSHOTS if client.has_custom_fields else _SNAPSHOTS
    return {
        item.ref: item
        for kind, ids in by_kind.items()
        for item in _read(client, readings[kind], ids)
    }


def read_item(client: StashClient, item: ItemRef) -> ItemSnapshot:
    """Return what one item carries now. Raises ``ItemGoneError``."""
    found = read_items(client, [item]).get(item)
    if found is None:
        raise ItemGoneError(item)
    return found


def _tagged(*tag_ids: str) -> Criteria:
    return {"value": list(tag_ids), "modifier": "INCLUDES_ALL", "depth": 0}


def _untagged(*tag_ids: str) -> Criteria:
    return {"value": list(tag_ids), "modifier": "EXCLUDES", "depth": 0}


def _ids(
    client: StashClient, kind: ItemKind, criteria: Criteria, search: str = ""
) -> tuple[str, ...]:
    """Return all ids, page by page. A page begins above the last id, so that none is skipped if a
    tag is removed meanwhile.
    """
    reading, ids = _READINGS[kind], list[str]()
    page = {"per_page": PAGE, "sort": "id", "direction": "ASC", **({"q": search} if search else {})}
    while True:
        after = {"id": {"value": int(ids[-1]), "modifier": "GREATER_THAN"}} if ids else {}
        data = client.ask(reading.found, {"page": page, "criteria": {**criteria, **after}})
        more = [str(one["id"]) for one in data[f"find{reading.nouns}"][reading.nouns.lower()]]
        if ids and more and int(more[0]) <= int(ids[-1]):
            message = f"{more[0]} follows {ids[-1]}, though only greater ids were asked for"
            raise StashReplyError(message, path=f"find{reading.nouns}")
        ids += more
        if len(more) < PAGE:
            return tuple(ids)


def _counted(
    client: StashClient, gallery_id: str, tag_ids: Sequence[str]
) -> Iterator[tuple[str, int]]:
    criteria = {
        f"c{number}": {
            "galleries": {"value": [gallery_id], "modifier": "INCLUDES"},
            "tags": _tagged(tag_id),
        }
        for number, tag_id in enumerate(tag_ids)
    }
    declared = ", ".join(f"${alias}: ImageFilterType" for alias in criteria)
    fields = " ".join(
        f"{alias}: findImages(filter: {{per_page: 0}}, image_filter: ${alias}) {{ count }}"
        for alias in criteria
    )
    data = client.ask(f"query TagCounts({declared}) {{ {fields} }}", criteria)
    return (
        (tag_id, int(data[alias]["count"])) for alias, tag_id in zip(criteria, tag_ids, strict=True)
    )


def _read(client: StashClient, reading: Reading[_T], ids: Iterable[str]) -> Iterator[_T]:
    wanted = tuple(dict.fromkeys(ids))
    for start in range(0, len(wanted), reading.at_once):
        yield from map(
            reading.value, _existing(client, reading, wanted[start : start + reading.at_once])
        )


def _existing(
    client: StashClient, reading: Reading[_T], ids: Sequence[str]
) -> Iterator[Mapping[str, Any]]:
    """Yield the items that exist. Stash refuses a whole list if one id is gone, so halve it until
    that one stands alone.
    """
    if len(ids) == 1:
        alone = client.ask(reading.one, {"id": ids[0]}).get(f"find{reading.noun}")
        yield from [alone] if alone else []
        return
    try:
        data = client.ask(reading.many, {"ids": list(ids)})[f"find{reading.nouns}"][
            reading.nouns.lower()
        ]
    except StashLockedError:
        raise
    except StashQueryError:
        middle = len(ids) // 2
        yield from _existing(client, reading, ids[:middle])
        yield from _existing(client, reading, ids[middle:])
        return
    found = {str(one["id"]): one for one in data}
    yield from (found[item_id] for item_id in ids if item_id in found)


def _scene(data: Mapping[str, Any]) -> Scene:
    return Scene(
        id=str(data["id"]),
        title=str(data.get("title") or ""),
        files=tuple(_scene_file(file) for file in data["files"]),
        tags=_tags(data),
        markers=tuple(_marker(marker) for marker in data["scene_markers"]),
    )


def _length(data: Mapping[str, Any]) -> tuple[str, float]:
    return str(data["id"]), sum(float(file["duration"]) for file in data["files"][:1])


def _scene_file(data: Mapping[str, Any]) -> SceneFile:
    return SceneFile(
        path=str(data["path"]),
        size_bytes=int(data["size"]),
        duration_s=float(data["duration"]),
        width=int(data["width"]),
        height=int(data["height"]),
        oshash=_fingerprints(data).get("oshash", ""),
    )


def _marker(data: Mapping[str, Any]) -> Marker:
    end = data.get("end_seconds")
    primary = tag_of(data["primary_tag"])
    return Marker(
        id=str(data["id"]),
        title=str(data.get("title") or ""),
        start_s=float(data["seconds"]),
        end_s=None if end is None else float(end),
        primary=primary,
        tag_ids=frozenset(str(tag["id"]) for tag in data["tags"]) - {primary.id},
        created_s=seconds_of(data.get("created_at")),
        tags_created_s={str(tag["id"]): seconds_of(tag.get("created_at")) for tag in data["tags"]},
    )


def _image(data: Mapping[str, Any]) -> Image:
    file: Mapping[str, Any] = next(iter(data["visual_files"]), {})
    path, zip_path = str(file.get("path") or ""), (file.get("zip_file") or {}).get("path")
    is_clip = (
        file.get("__typename") == "VideoFile" and PurePath(path).suffix.lower() not in _PICTURES
    )
    return Image(
        id=str(data["id"]),
        title=str(data.get("title") or ""),
        path=path,
        zip_path=zip_path,
        entry=path[len(zip_path) + 1 :] if zip_path else None,
        is_clip=is_clip,
        width=int(file.get("width") or 0),
        height=int(file.get("height") or 0),
        duration_s=float(file.get("duration") or 0) if is_clip else 0.0,
        size_bytes=int(file.get("size") or 0),
        fingerprint=f"md5:{md5}" if (md5 := _fingerprints(file).get("md5")) else "",
        tags=_tags(data),
        gallery_ids=tuple(str(gallery["id"]) for gallery in data["galleries"]),
    )


def _gallery(data: Mapping[str, Any]) -> Gallery:
    made_of = next(iter(data["files"]), None) or data["folder"] or {}
    return Gallery(
        id=str(data["id"]),
        title=str(data.get("title") or ""),
        path=str(made_of.get("path") or ""),
        tags=_tags(data),
        image_count=int(data["image_count"]),
    )


def _fingerprints(data: Mapping[str, Any]) -> dict[str, str]:
    return {print_["type"]: str(print_["value"]) for print_ in data.get("fingerprints", ())}


def _tags(data: Mapping[str, Any]) -> tuple[Tag, ...]:
    return tuple(map(tag_of, data["tags"]))


def tag_of(data: Mapping[str, Any]) -> Tag:
    """Return a tag from Stash's data."""
    return Tag(str(data["id"]), str(data["name"]), seconds_of(data.get("created_at")))


@lru_cache(4096)
def seconds_of(time: str | None) -> float:
    """Return a time of Stash in whole seconds since 1970, all that its database keeps; 0 for
    none.
    """
    return float(floor(datetime.fromisoformat(time).timestamp())) if time else 0.0


def _snapshot(kind: ItemKind, data: Mapping[str, Any]) -> ItemSnapshot:
    custom = data.get("custom_fields")
    return ItemSnapshot(
        ItemRef(kind, str(data["id"])),
        _tags(data),
        tuple(_marker(marker) for marker in data.get("scene_markers", ())),
        seconds_of(data["created_at"]),
        tuple(_named_fingerprints(data, _FINGERPRINTS.get(kind, ""))),
        None if custom is None else str(custom.get(RUN_FIELD, "")),
    )


def _named_fingerprints(data: Mapping[str, Any], name: str) -> Iterator[str]:
    for file in (*data.get("files", ()), *data.get("visual_files", ())):
        if value := _fingerprints(file).get(name):
            yield f"{name}:{value}"


_FINGERPRINTS = {ItemKind.SCENE: "oshash", ItemKind.IMAGE: "md5"}


_FILE = "path size width height fingerprints { type value }"
_VISUAL = f"__typename {_FILE} zip_file {{ path }}"
_MARKERS = "scene_markers { id title seconds end_seconds primary_tag { id name } tags { id } }"
_DATED_MARKERS = """scene_markers {
  id created_at title seconds end_seconds primary_tag { id name created_at } tags { id created_at }
}"""
_SCENES = Reading(
    ItemKind.SCENE,
    "Scene",
    "Scenes",
    f"id title tags {{ id name }} files {{ {_FILE} duration }} {_MARKERS}",
    _scene,
    at_once=50,
)
_IMAGES = Reading(
    ItemKind.IMAGE,
    "Image",
    "Images",
    f"""id title tags {{ id name }} galleries {{ id }}
  visual_files {{ ... on ImageFile {{ {_VISUAL} }} ... on VideoFile {{ {_VISUAL} duration }} }}""",
    _image,
    at_once=250,
)
_GALLERIES = Reading(
    ItemKind.GALLERY,
    "Gallery",
    "Galleries",
    "id title image_count tags { id name } files { path } folder { path }",
    _gallery,
    at_once=50,
)
_LENGTHS = Reading(
    ItemKind.SCENE,
    "Scene",
    "Scenes",
    "id files { duration }",
    _length,
    at_once=PAGE,
)
_READINGS: Mapping[ItemKind, Reading[Any]] = {
    reading.kind: reading for reading in (_SCENES, _IMAGES, _GALLERIES)
}
_PRINTS = "fingerprints { type value }"
_OF_SNAPSHOT: Mapping[ItemKind, str] = {
    ItemKind.SCENE: f"{_DATED_MARKERS} files {{ {_PRINTS} }}",
    ItemKind.IMAGE: f"""visual_files {{
  ... on ImageFile {{ {_PRINTS} }} ... on VideoFile {{ {_PRINTS} }}
}}""",
    ItemKind.GALLERY: "",
}
_SNAPSHOTS: Mapping[ItemKind, Reading[ItemSnapshot]] = {
    kind: replace(
        reading,
        fields=f"id created_at tags {{ id name created_at }} {_OF_SNAPSHOT[kind]}",
        value=partial(_snapshot, kind),
    )
    for kind, reading in _READINGS.items()
}
# Galleries are left out: their tags follow from their images.
_MARKED_SNAPSHOTS = {
    kind: reading
    if kind is ItemKind.GALLERY
    else replace(reading, fields=f"{reading.fields} custom_fields")
    for kind, reading in _SNAPSHOTS.items()
}


_QUEUED = """query QueuedVideos($page: FindFilterType, $criteria: SceneFilterType) {
  findScenes(filter: $page, scene_filter: $criteria) {
    scenes { id files { path size duration } }
  }
}"""
_COUNT_SCENES = """query CountScenes($page: FindFilterType, $criteria: SceneFilterType) {
  findScenes(filter: $page, scene_filter: $criteria) { count }
}"""
_BELOW = "query TagsBelow($id: ID!) { findTag(id: $id) { children { id name } } }"
_COUNTS = """query Carriers(
  $marker: SceneMarkerFilterType, $scene: SceneFilterType, $image: ImageFilterType,
  $gallery: GalleryFilterType
) {
  marker: findSceneMarkers(filter: {per_page: 0}, scene_marker_filter: $marker) { count }
  scene: findScenes(filter: {per_page: 0}, scene_filter: $scene) { count }
  image: findImages(filter: {per_page: 0}, image_filter: $image) { count }
  gallery: findGalleries(filter: {per_page: 0}, gallery_filter: $gallery) { count }
}"""


def carriers(client: StashClient, parent: Tag, queues: Collection[str]) -> dict[str, int]:
    """Return the number of markers with the tag ``parent``, and of scenes, images and galleries
    with a tag right below it.

    By noun, without nouns that have none. ``queues``: names of tags that people queue items with,
    which do not count.
    """
    tag = client.ask(_BELOW, {"id": parent.id})["findTag"] or {"children": []}
    ignored = {tag_key(name) for name in queues}
    below = [str(tag["id"]) for tag in tag["children"] if tag_key(str(tag["name"])) not in ignored]
    of_items = {"tags": {"value": below or [parent.id], "modifier": "INCLUDES", "depth": 0}}
    of_markers = {"tags": {"value": [parent.id], "modifier": "INCLUDES", "depth": 0}}
    criteria = {"marker": of_markers, "scene": of_items, "image": of_items, "gallery": of_items}
    counts = client.ask(_COUNTS, criteria)
    return {noun: int(counts[noun]["count"]) for noun in criteria if counts[noun]["count"]}
