"""Previews of a run's markers, which Stash makes in jobs of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from haven.items import ItemRef
from haven.stash.changes import OwnedMarker
from haven.stash.errors import StashVersionError
from haven.stash.reading import read_items
from haven.stash.transport import StashClient

_AT_ONCE = 1000
_KINDS = ("markers", "markerScreenshots", "markerImagePreviews")
_SUPPORT = """query GenerateSupport {
  generate: __type(name: "GenerateMetadataInput") { inputFields { name } } version { version }
}"""
_PLACE = """query PreviewPlace {
  systemStatus { status workingDir }
  configuration { general { generatedPath videoFileNamingAlgorithm } }
}"""
_HASHES = """query SceneHashes($ids: [ID!]) {
  findScenes(ids: $ids) { scenes { files { fingerprints { type value } } } }
}"""
_SCENES_AT_ONCE = 100
_GENERATE = """mutation MarkerPreviews($input: GenerateMetadataInput!) {
  metadataGenerate(input: $input)
}"""


def queue_previews(client: StashClient, made: Mapping[ItemRef, Sequence[OwnedMarker]]) -> int:
    """Queue jobs in Stash that make previews of those of these markers that still exist, and of no
    others. Return their number.

    ``made``: the markers by their scene. Raises ``StashVersionError`` for a Stash that cannot make
    previews of chosen markers, and the errors of the connection.
    """
    kinds = _kinds(client)
    existing = _existing(client, made)
    ids = [marker for markers in existing.values() for marker in markers]
    if ids:
        _make_folders(client, [scene.id for scene, markers in existing.items() if markers])
    for first in range(0, len(ids), _AT_ONCE):
        some = ids[first : first + _AT_ONCE]
        # An empty list would mean the whole library to Stash.
        wanted = {"markerIDs": some, "overwrite": False, **dict.fromkeys(kinds, True)}
        for error in client.ask_once(_GENERATE, {"input": wanted}).errors:
            raise error
    return len(ids)


def _kinds(client: StashClient) -> list[str]:
    data = client.ask(_SUPPORT)
    known = {field["name"] for field in (data.get("generate") or {}).get("inputFields") or ()}
    if not {"markers", "markerIDs", "overwrite"} <= known:
        version = data["version"].get("version") or "of unknown version"
        raise StashVersionError(f"this Stash ({version}) cannot make previews of chosen markers")
    return [kind for kind in _KINDS if kind in known]


def _existing(
    client: StashClient, made: Mapping[ItemRef, Sequence[OwnedMarker]]
) -> dict[ItemRef, list[str]]:
    """Return the ids of the markers that exist, by scene. Stash gives a whole job up if one is
    gone.
    """
    return {
        scene: [
            marker.id
            for marker in made[scene]
            if any(marker.is_marker(one) for one in item.markers)
        ]
        for scene, item in read_items(client, made).items()
    }


def _make_folders(client: StashClient, scene_ids: Sequence[str]) -> None:
    """Make the folders for the previews of these scenes, where this machine has Stash's files.

    Stash makes them for the previews of a whole scene, and not for those of single markers.
    """
    data = client.ask(_PLACE)
    general = data["configuration"]["general"]
    named = Path(str(data["systemStatus"].get("workingDir") or ""), str(general["generatedPath"]))
    if not general["generatedPath"] or not named.is_dir():
        return
    kind = str(general["videoFileNamingAlgorithm"]).lower()
    for first in range(0, len(scene_ids), _SCENES_AT_ONCE):
        some = list(scene_ids[first : first + _SCENES_AT_ONCE])
        for scene in client.ask(_HASHES, {"ids": some})["findScenes"]["scenes"]:
            for value in _hashes(scene, kind):
                with suppress(OSError):  # then Stash's log says that it cannot write there
                    (named / "markers" / value).mkdir(parents=True, exist_ok=True)


def _hashes(scene: Mapping[str, Any], kind: str) -> Iterator[str]:
    """Yield the hash by which Stash names the files of a scene, if it is one."""
    for file in scene["files"][:1]:
        for print_ in file["fingerprints"]:
            if print_["type"] == kind and re.fullmatch(r"[0-9a-f]{16,32}", str(print_["value"])):
                yield str(print_["value"])
