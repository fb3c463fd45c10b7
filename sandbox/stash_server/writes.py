"""Changing links and many rows at once, under the server's rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox.stash_server.database import Database, RefusedError, integer, integers
from sandbox.stash_server.filters import IMAGE, Kind, fetch, fetch_all

# What a table's rows are linked to: the field of the input, the linking table, its columns.
Links = Mapping[str, tuple[str, str, str]]


def add_links(
    database: Database, table: str, owner: tuple[str, int], held: tuple[str, list[int]]
) -> None:
    """Links a row to others, each at most once. ``RefusedError``: one of them does not exist."""
    (owner_id, row_id), (held_id, others) = owner, held
    sql = (
        f"INSERT INTO {table} ({owner_id}, {held_id}) VALUES (?, ?) ON CONFLICT ({owner_id}, "
        f"{held_id}) DO NOTHING"
    )
    for other in others:
        database.write(sql, row_id, other)


def edit_links(
    database: Database, link: tuple[str, str, str], row_id: int, ids: list[int], mode: str
) -> None:
    """Links a row to others as ``mode`` says: SET to exactly these, ADD these, REMOVE these."""
    table, owner_id, held_id = link
    if mode == "REMOVE":
        for other in ids:
            database.write(
                f"DELETE FROM {table} WHERE {owner_id} = ? AND {held_id} = ?", row_id, other
            )
        return
    if mode == "SET":
        database.write(f"DELETE FROM {table} WHERE {owner_id} = ?", row_id)
    add_links(database, table, (owner_id, row_id), (held_id, ids))


def links_from(fields: Mapping[str, Any], links: Links) -> dict[str, tuple[list[int], str]]:
    """Return the link changes of an input: {field: (ids, mode)}.

    A plain list sets; a ``BulkUpdateIds`` says its mode.
    """
    changes = {}
    for name in links:
        value = fields.get(name)
        if value is None:
            continue
        ids, mode = (
            (value.get("ids"), value["mode"]) if isinstance(value, Mapping) else (value, "SET")
        )
        try:
            changes[name] = (integers(ids), mode)
        except RefusedError as error:
            raise RefusedError(f"converting {name.replace('_', ' ')}: {error}") from error
    return changes


def bulk_update(database: Database, kind: Kind, fields: Mapping[str, Any]) -> list[int]:
    """Change title, organized and tags of many scenes, images or galleries: all or none."""
    links: Links = {"tag_ids": (f"{kind.table}_tags", f"{kind.noun}_id", "tag_id")}
    ids, changes = convert("ids", fields.get("ids")), links_from(fields, links)
    columns = {
        name: fields[name] for name in ("title", "organized") if fields.get(name) is not None
    }
    with database.transaction():
        for row_id in ids:
            if kind is IMAGE:
                fetch_all(database, kind, [row_id])
            database.update(kind.table, row_id, **columns)
            for name, (others, mode) in changes.items():
                edit_links(database, links[name], row_id, others, mode)
            if fetch(database, kind, row_id) is None:
                raise RefusedError("sql: no rows in result set")
            if fields.get("custom_fields"):
                set_custom_fields(database, kind, row_id, fields["custom_fields"])
    return ids


def custom_fields(database: Database, kind: Kind, row_id: int) -> dict[str, Any]:
    """Return the custom fields of an item."""
    sql = "SELECT field, value FROM custom_fields WHERE kind = ? AND item_id = ?"
    return {row["field"]: row["value"] for row in database.rows(sql, kind.noun, row_id)}


def set_custom_fields(
    database: Database, kind: Kind, row_id: int, change: Mapping[str, Any]
) -> None:
    """Replace all custom fields of an item, change some, or remove some."""
    if change.get("full") is not None:
        database.write(
            "DELETE FROM custom_fields WHERE kind = ? AND item_id = ?", kind.noun, row_id
        )
    for field in change.get("remove") or ():
        sql = "DELETE FROM custom_fields WHERE kind = ? AND item_id = ? AND field = ?"
        database.write(sql, kind.noun, row_id, field)
    for field, value in {**(change.get("full") or {}), **(change.get("partial") or {})}.items():
        if not 0 < len(field) <= 64 or field != field.strip():
            raise RefusedError(f"invalid custom field name {field!r}")
        if isinstance(value, list | dict):
            raise RefusedError(f"unsupported custom field value of {field}")
        sql = "INSERT OR REPLACE INTO custom_fields VALUES (?, ?, ?, ?)"
        database.write(sql, kind.noun, row_id, field, value)


def convert(name: str, texts: list[Any] | None) -> list[int]:
    """Ids of an input, with the input's name in the error."""
    try:
        return integers(texts)
    except RefusedError as error:
        raise RefusedError(f"converting {name}: {error}") from error


def convert_one(name: str, text: object) -> int:
    """One id of an input, with the input's name in the error."""
    try:
        return integer(text)
    except RefusedError as error:
        raise RefusedError(f"converting {name}: {error}") from error
