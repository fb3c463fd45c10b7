"""Making, changing and removing scene markers under the server's rules."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandbox.stash_server.database import Database, RefusedError
from sandbox.stash_server.filters import MARKER, fetch, fetch_all
from sandbox.stash_server.writes import convert, convert_one, edit_links, links_from

_HASH_OF = (
    "SELECT value FROM fingerprints JOIN scenes_files USING (file_id) JOIN scene_markers m USING"
    " (scene_id) WHERE m.id = ? AND type = 'oshash' LIMIT 1"
)
_TAGS = ("scene_markers_tags", "scene_marker_id", "tag_id")


def create_marker(database: Database, fields: Mapping[str, Any]) -> int:
    """Make a marker and return its id.

    Its primary tag is left out of its other tags; its times are not held against the length of the
    video. ``RefusedError``: it ends before it begins, its scene or a tag does not exist, a tag is
    named twice.
    """
    scene_id = convert_one("scene id", fields["scene_id"])
    primary = convert_one("primary tag id", fields["primary_tag_id"])
    _check_times(fields["seconds"], fields.get("end_seconds"))
    tags = convert("tag ids", fields.get("tag_ids"))
    with database.transaction():
        marker_id = database.insert(
            "scene_markers",
            title=fields["title"].strip(),
            seconds=fields["seconds"],
            end_seconds=fields.get("end_seconds"),
            primary_tag_id=primary,
            scene_id=scene_id,
            created_at=database.now(),
            updated_at=database.now(),
        )
        _set_tags(database, marker_id, primary, tags)
    return marker_id


def update_marker(database: Database, fields: Mapping[str, Any]) -> int:
    """Change those fields of a marker that are given; ``end_seconds: null`` takes its end away.

    Returns its id.
    """
    marker_id = convert_one("id", fields["id"])
    columns = _columns(fields)
    tags = convert("tag ids", fields.get("tag_ids"))
    with database.transaction():
        marker = fetch(database, MARKER, marker_id)
        if marker is None:
            raise RefusedError(f"scene marker with id {marker_id} not found")
        if {"seconds", "end_seconds"} & columns.keys():
            _check_times(*({**marker, **columns}[name] for name in ("seconds", "end_seconds")))
        database.update("scene_markers", marker_id, **columns)
        if "tag_ids" in fields:
            _set_tags(database, marker_id, {**marker, **columns}["primary_tag_id"], tags)
    return marker_id


def update_markers(database: Database, fields: Mapping[str, Any]) -> list[int]:
    """Change many markers: all of them, or none. Returns their ids.

    As on the server, a change of tags that leaves their number as it was is lost.
    """
    ids, columns = convert("ids", fields.get("ids")), _columns({**fields, "id": 0})
    change = links_from(fields, {"tag_ids": _TAGS}).get("tag_ids")
    with database.transaction():
        for marker_id in ids:
            marker = fetch(database, MARKER, marker_id)
            if marker is None:
                raise RefusedError("sql: no rows in result set")
            database.update("scene_markers", marker_id, **columns)
            if change or "primary_tag_id" in columns:
                primary = {**marker, **columns}["primary_tag_id"]
                _apply_to_tags(database, marker_id, primary, *(change or ([], "ADD")))
    return ids


def destroy_markers(database: Database, marker_ids: list[Any]) -> None:
    """Remove markers: all of them, or none if one does not exist."""
    ids = convert("ids", marker_ids)
    with database.transaction():
        for marker_id in ids:
            fetch_all(database, MARKER, [marker_id])
            database.write("DELETE FROM scene_markers WHERE id = ?", marker_id)


def _columns(fields: Mapping[str, Any]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    if fields.get("title") is not None:
        columns["title"] = fields["title"].strip()
    if fields.get("seconds") is not None:
        columns["seconds"] = fields["seconds"]
    if "end_seconds" in fields:
        columns["end_seconds"] = fields["end_seconds"]
    for name in ("scene_id", "primary_tag_id"):
        if fields.get(name) is not None:
            columns[name] = convert_one(name.replace("_", " "), fields[name])
    return columns


def _check_times(seconds: float, end_seconds: float | None) -> None:
    if end_seconds is not None and end_seconds < seconds:
        raise RefusedError(
            f"end_seconds ({end_seconds:f}) must be greater than or equal to seconds ({seconds:f})"
        )


def _set_tags(database: Database, marker_id: int, primary: int, tags: list[int]) -> None:
    """Unlike the tags of a scene, a tag named twice breaks the table's constraint."""
    table, owner_id, tag_id = _TAGS
    database.write(f"DELETE FROM {table} WHERE {owner_id} = ?", marker_id)
    for tag in tags:
        if tag != primary:
            database.write(
                f"INSERT INTO {table} ({owner_id}, {tag_id}) VALUES (?, ?)", marker_id, tag
            )


def _apply_to_tags(
    database: Database, marker_id: int, primary: int, ids: list[int], mode: str
) -> None:
    held = database.values(
        "SELECT tag_id FROM scene_markers_tags WHERE scene_marker_id = ?", marker_id
    )
    wanted = {"SET": ids, "ADD": [*held, *ids], "REMOVE": [tag for tag in held if tag not in ids]}[
        mode
    ]
    wanted = [tag for tag in dict.fromkeys(wanted) if tag != primary]
    if len(wanted) != len(held):
        edit_links(database, _TAGS, marker_id, wanted, "SET")


def make_previews(database: Database, fields: Mapping[str, Any], folder: Path) -> None:
    """Note which markers get previews: those named, or every one of the library if none is named.

    If one of them does not exist, no marker gets any. Nor does a named one whose scene has no
    folder in ``folder``: the server makes that for whole scenes only.
    """
    wanted = convert("markerIDs", fields.get("markerIDs"))
    if fields.get("sceneIDs"):
        raise RefusedError("the sandbox makes previews of named markers only")
    with database.transaction():
        known = database.values("SELECT id FROM scene_markers")
        if not set(wanted) <= set(known):
            return
        for marker in wanted or known:
            (value,) = database.values(_HASH_OF, marker) or [""]
            if not wanted or (value and (folder / value).is_dir()):
                database.write("INSERT OR IGNORE INTO marker_previews VALUES (?)", marker)
