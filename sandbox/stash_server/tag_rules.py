"""Making and changing tags under the server's rules: unique names, no loops among parents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox.stash_server.database import Database, RefusedError, integer
from sandbox.stash_server.filters import TAG, fetch, find
from sandbox.stash_server.writes import Links, convert, convert_one, edit_links, links_from

_LINKS: Links = {
    "parent_ids": ("tags_relations", "child_id", "parent_id"),
    "child_ids": ("tags_relations", "parent_id", "child_id"),
}
_TAGGED = {
    "scenes_tags": "scene_id",
    "images_tags": "image_id",
    "galleries_tags": "gallery_id",
    "scene_markers_tags": "scene_marker_id",
}
_RELATIVES = {"parent_ids": ("parent", "a descendant"), "child_ids": ("child", "an ancestor")}


def create_tag(database: Database, fields: Mapping[str, Any]) -> int:
    """Make a tag and return its id.

    ``RefusedError``: its name or an alias is another tag's, by LIKE.
    """
    name, aliases = fields["name"].strip(), [alias.strip() for alias in fields.get("aliases") or ()]
    changes = links_from(fields, _LINKS)
    with database.transaction():
        if not name:
            raise RefusedError("tag name must not be blank")
        for text in (name, *aliases):
            _check_unique(database, 0, text)
        tag_id = database.insert(
            "tags",
            name=name,
            description=fields.get("description") or "",
            ignore_auto_tag=bool(fields.get("ignore_auto_tag")),
            created_at=database.now(),
            updated_at=database.now(),
        )
        _set_aliases(database, tag_id, aliases)
        _relate(database, tag_id, changes)
    return tag_id


def update_tag(database: Database, fields: Mapping[str, Any]) -> int:
    """Change those fields of a tag that are given, and return its id."""
    tag_id = convert_one("id", fields["id"])
    with database.transaction():
        _change_tag(database, tag_id, fields)
    return tag_id


def update_tags(database: Database, fields: Mapping[str, Any]) -> list[int]:
    """Change many tags: all of them, or none. Returns their ids."""
    ids = convert("ids", fields.get("ids"))
    with database.transaction():
        for tag_id in ids:
            _change_tag(database, tag_id, fields)
    return ids


def destroy_tag(database: Database, tag_id: object) -> None:
    """Remove a tag from everything. ``RefusedError``: it is the primary tag of a marker."""
    number = convert_one("id", tag_id)
    with database.transaction():
        if database.row("SELECT id FROM scene_markers WHERE primary_tag_id = ?", number):
            raise RefusedError("cannot delete tag used as a primary tag in scene markers")
        if fetch(database, TAG, number) is None:
            raise RefusedError(f"id {number} does not exist in tags")
        database.write("DELETE FROM tags WHERE id = ?", number)


def merge_tag(database: Database, source: object, into: object) -> None:
    """Everything of the tag ``source`` becomes the other's, its name an alias of that; it is gone
    then.
    """
    gone, stays = convert_one("id", source), convert_one("id", into)
    with database.transaction():
        for table, item in _TAGGED.items():
            there = (
                f"SELECT 1 FROM {table} AS other WHERE other.{item} = {table}.{item} AND "
                "other.tag_id = ?"
            )
            database.write(
                f"UPDATE {table} SET tag_id = ? WHERE tag_id = ? AND NOT EXISTS ({there})",
                stays,
                gone,
                stays,
            )
            database.write(f"DELETE FROM {table} WHERE tag_id = ?", gone)
        database.write(
            "UPDATE scene_markers SET primary_tag_id = ? WHERE primary_tag_id = ?", stays, gone
        )
        database.write("INSERT INTO tag_aliases SELECT ?, name FROM tags WHERE id = ?", stays, gone)
        database.write("UPDATE tag_aliases SET tag_id = ? WHERE tag_id = ?", stays, gone)
        destroy_tag(database, gone)


def _change_tag(database: Database, tag_id: int, fields: Mapping[str, Any]) -> None:
    if fetch(database, TAG, tag_id) is None:
        raise RefusedError(f"tag with id {tag_id} not found")
    columns = {
        name: fields[name]
        for name in ("description", "ignore_auto_tag")
        if fields.get(name) is not None
    }
    if fields.get("name") is not None:
        columns["name"] = fields["name"].strip()
        if not columns["name"]:
            raise RefusedError("tag name must not be blank")
        _check_unique(database, tag_id, columns["name"])
    database.update("tags", tag_id, **columns)
    if fields.get("aliases") is not None:
        aliases = [alias.strip() for alias in fields["aliases"]]
        for alias in aliases:
            _check_unique(database, tag_id, alias)
        _set_aliases(database, tag_id, aliases)
    _relate(database, tag_id, links_from(fields, _LINKS))


def _check_unique(database: Database, tag_id: int, text: str) -> None:
    """The server's own rule: the first tag whose name, or else an alias, is LIKE ``text`` must be
    this one.
    """
    for field in ("name", "aliases"):
        _, found = find(
            database, TAG, {"per_page": 1}, {field: {"value": text, "modifier": "EQUALS"}}
        )
        if found and found[0]["id"] != tag_id:
            if field == "name":
                raise RefusedError(f"tag with name '{text}' already exists")
            raise RefusedError(f"name '{text}' is used as alias for '{found[0]['name']}'")


def _set_aliases(database: Database, tag_id: int, aliases: list[str]) -> None:
    database.write("DELETE FROM tag_aliases WHERE tag_id = ?", tag_id)
    for alias in dict.fromkeys(aliases):
        database.write("INSERT INTO tag_aliases (tag_id, alias) VALUES (?, ?)", tag_id, alias)


def _relate(database: Database, tag_id: int, changes: Mapping[str, tuple[list[int], str]]) -> None:
    for name, (others, mode) in changes.items():
        kin, related = _RELATIVES[name]
        for other in others if mode != "REMOVE" else ():
            if other in _reachable(database, tag_id, downwards=name == "parent_ids"):
                names = [
                    (fetch(database, TAG, integer(one)) or {}).get("name")
                    for one in (other, tag_id)
                ]
                raise RefusedError(
                    f'cannot apply tag "{names[0]}" as a {kin} of "{names[1]}" '
                    f"as it is already {related}"
                )
        edit_links(database, _LINKS[name], tag_id, others, mode)


def _reachable(database: Database, tag_id: int, *, downwards: bool) -> set[int]:
    """Return the tag, and all its descendants or all its ancestors."""
    step, back = ("child_id", "parent_id") if downwards else ("parent_id", "child_id")
    kin = f"SELECT ? UNION SELECT {step} FROM tags_relations JOIN kin ON {back} = kin.id"
    return set(database.values(f"WITH RECURSIVE kin(id) AS ({kin}) SELECT id FROM kin", tag_id))
