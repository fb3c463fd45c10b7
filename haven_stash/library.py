"""Reading scenes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from haven_stash.errors import SceneGoneError, StashLockedError, StashQueryError
from haven_stash.transport import StashClient
from haven_stash.values import Marker, Scene, SceneFile, Tag

CHUNK = 50

_FIELDS = """
  id title
  tags { id name }
  files { path size duration width height fingerprints { type value } }
  scene_markers { id title seconds end_seconds primary_tag { id name } tags { id } }
"""
_SCENE_IDS = """query SceneIds($filter: FindFilterType, $scenes: SceneFilterType) {
  findScenes(filter: $filter, scene_filter: $scenes) { scenes { id } }
}"""
_SCENES = f"query Scenes($ids: [ID!]) {{ findScenes(ids: $ids) {{ scenes {{ {_FIELDS} }} }} }}"
_SCENE = f"query Scene($id: ID!) {{ findScene(id: $id) {{ {_FIELDS} }} }}"


def scene_ids_with_tag(client: StashClient, tag_id: str) -> tuple[str, ...]:
    """The ids of all scenes that carry exactly this tag (not a child of it), in the order of their ids.

    All at once: paging over a filter whose tag is being removed would skip scenes.
    """
    data = client.ask(
        _SCENE_IDS,
        {
            "filter": {"per_page": -1, "sort": "id", "direction": "ASC"},
            "scenes": {"tags": {"value": [tag_id], "modifier": "INCLUDES", "depth": 0}},
        },
    )
    return tuple(str(scene["id"]) for scene in data["findScenes"]["scenes"])


def read_scenes(client: StashClient, ids: Iterable[str]) -> tuple[Scene, ...]:
    """The scenes with these ids, in this order; those that have vanished are left out."""
    wanted = tuple(dict.fromkeys(ids))
    return tuple(
        _scene(data) for start in range(0, len(wanted), CHUNK) for data in _existing(client, wanted[start : start + CHUNK])
    )


def read_scene(client: StashClient, scene_id: str) -> Scene:
    """One scene as it is now. Raises ``SceneGoneError``."""
    data = client.ask(_SCENE, {"id": scene_id}).get("findScene")
    if data is None:
        raise SceneGoneError(scene_id)
    return _scene(data)


def _existing(client: StashClient, ids: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """Stash refuses a list of ids wholly when one of them is gone: halve until that one stands alone."""
    if len(ids) == 1:
        alone = client.ask(_SCENE, {"id": ids[0]}).get("findScene")
        yield from [alone] if alone else []
        return
    try:
        found = {str(data["id"]): data for data in client.ask(_SCENES, {"ids": list(ids)})["findScenes"]["scenes"]}
    except StashLockedError:
        raise
    except StashQueryError:
        middle = len(ids) // 2
        yield from _existing(client, ids[:middle])
        yield from _existing(client, ids[middle:])
        return
    yield from (found[scene_id] for scene_id in ids if scene_id in found)


def _scene(data: Mapping[str, Any]) -> Scene:
    return Scene(
        id=str(data["id"]),
        title=str(data.get("title") or ""),
        files=tuple(_file(file) for file in data["files"]),
        tags=tuple(_tag(tag) for tag in data["tags"]),
        markers=tuple(_marker(marker) for marker in data["scene_markers"]),
    )


def _file(data: Mapping[str, Any]) -> SceneFile:
    prints = {print_["type"]: str(print_["value"]) for print_ in data["fingerprints"]}
    return SceneFile(
        path=str(data["path"]),
        size_bytes=int(data["size"]),
        duration_s=float(data["duration"]),
        width=int(data["width"]),
        height=int(data["height"]),
        oshash=prints.get("oshash", ""),
    )


def _marker(data: Mapping[str, Any]) -> Marker:
    end = data.get("end_seconds")
    primary = _tag(data["primary_tag"])
    return Marker(
        id=str(data["id"]),
        title=str(data.get("title") or ""),
        start_s=float(data["seconds"]),
        end_s=None if end is None else float(end),
        primary=primary,
        tag_ids=frozenset(str(tag["id"]) for tag in data["tags"]) - {primary.id},
    )


def _tag(data: Mapping[str, Any]) -> Tag:
    return Tag(str(data["id"]), str(data["name"]))
