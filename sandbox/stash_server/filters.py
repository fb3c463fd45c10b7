"""Reading the library by ids and by the server's filters: criteria become SQL conditions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.stash_server.database import Database, RefusedError, Row, integer, integers

Criterion = Mapping[str, Any]

# A tag and its descendants down to a depth; parameters: the tag, the depth.
_FAMILY = (
    "WITH RECURSIVE family(id, depth) AS (SELECT ?, 0 UNION SELECT child_id, depth + 1 FROM "
    "tags_relations "
    "JOIN family ON parent_id = family.id WHERE depth < ?) SELECT id FROM family"
)
_ANY_DEPTH = 1000
_DEFAULT_PAGE = 25


@dataclass(frozen=True)
class Where:
    """An SQL condition and its parameters."""

    sql: str = "TRUE"
    params: tuple[object, ...] = ()

    def joined(self, operator: str, other: Where) -> Where:
        """Both conditions with AND or OR between them."""
        return Where(f"(({self.sql}) {operator} ({other.sql}))", self.params + other.params)

    def negated(self) -> Where:
        """Return the opposite condition."""
        return Where(f"NOT ({self.sql})", self.params)


@dataclass(frozen=True)
class Link:
    """Relation between a table's rows and others: ``holders`` selects the rows that hold one of
    ``{family}``. ``holders`` selects the rows that hold one of ``{family}``.

    ``anyone`` selects the rows that hold anything at all. In a ``tree`` a held tag's descendants
    count as it does.
    """

    holders: str
    anyone: str
    tree: bool = True


@dataclass(frozen=True)
class Kind:
    """One sort of thing in the library: its table, its name in messages, its filters and orders."""

    table: str
    noun: str
    filters: Mapping[str, Callable[[str, Any], Where]]
    orders: Mapping[str, str]
    default_order: str = "id"
    searched: tuple[str, ...] = ()


def fetch(database: Database, kind: Kind, row_id: object) -> Row | None:
    """One row by its id, or None."""
    return database.row(f"SELECT * FROM {kind.table} WHERE id = ?", integer(row_id))


def fetch_all(database: Database, kind: Kind, ids: list[Any]) -> list[Row]:
    """Rows by id, in that order.

    ``RefusedError`` when one of them is not there, or asked for twice.
    """
    for place, one in enumerate(ids):
        if one in ids[:place]:
            raise RefusedError(f"validating ids: duplicate id found: {one}")
    try:
        wanted = integers(ids)
    except RefusedError as error:
        raise RefusedError(f"converting ids: {error}") from error
    found = [fetch(database, kind, one) for one in wanted]
    for one, row in zip(wanted, found, strict=True):
        if row is None:
            raise RefusedError(f"{kind.noun} with id {one} not found")
    return [row for row in found if row is not None]


def find(
    database: Database, kind: Kind, find_filter: Criterion | None, criteria: Criterion | None
) -> tuple[int, list[Row]]:
    """Return the number of matching rows, and those of the requested page (25 by default)."""
    paging = find_filter or {}
    where = matching(kind, find_filter, criteria)
    count = database.values(f"SELECT COUNT(*) FROM {kind.table} WHERE {where.sql}", *where.params)[
        0
    ]
    sql = (
        f"SELECT * FROM {kind.table} WHERE {where.sql} ORDER BY {_order(kind, paging)} "
        f"{_page(paging)}"
    )
    return count, database.rows(sql, *where.params)


def matching(kind: Kind, find_filter: Criterion | None, criteria: Criterion | None) -> Where:
    """Return the condition for rows that meet the criteria and the search."""
    where = conditions(kind, criteria or {})
    for word in str((find_filter or {}).get("q") or "").split():
        where = where.joined("AND", _searched(kind, word))
    return where


def _searched(kind: Kind, word: str) -> Where:
    """Return the condition for rows with a word in their title or path."""
    if not kind.searched or word.startswith(("-", '"')) or word in {"or", "OR", "|"}:
        raise RefusedError(f"the sandbox does not search for {word} here")
    criterion = {"value": f'"{word}"', "modifier": "INCLUDES"}
    where, *more = (kind.filters[field](kind.table, criterion) for field in kind.searched)
    for one in more:
        where = where.joined("OR", one)
    return where


def conditions(kind: Kind, criteria: Criterion) -> Where:
    """Return a filter object as one condition; its fields are joined by AND, its one AND, OR or NOT
    comes last.
    """
    where = Where()
    given = {name: value for name, value in criteria.items() if value is not None}
    operators = [name for name in ("AND", "OR", "NOT") if name in given]
    if len(operators) > 1:
        raise RefusedError(f"cannot have {operators[0]} and {operators[1]} in the same filter")
    fields = [name for name in given if name not in operators]
    for name in fields:
        where = where.joined("AND", kind.filters[name](kind.table, given[name]))
    if not operators:
        return where
    operator = operators[0]
    inner = conditions(kind, given[operator])
    if operator == "NOT":
        return where.joined("AND", inner.negated())
    return where.joined(operator, inner) if fields else inner


def _order(kind: Kind, paging: Criterion) -> str:
    sort = paging.get("sort") or kind.default_order
    if re.fullmatch(r"random_\d+", sort):
        return f"({kind.table}.id * {sort[7:]}) % 99991, {kind.table}.id"
    if sort not in kind.orders:
        raise RefusedError(f"invalid sort: {sort}")
    return f"{kind.orders[sort]} {paging.get('direction') or 'ASC'}, {kind.table}.id"


def _page(paging: Criterion) -> str:
    size = paging.get("per_page")
    size = _DEFAULT_PAGE if size is None else size
    if size < 0:
        return ""
    return f"LIMIT {size} OFFSET {(max(paging.get('page') or 1, 1) - 1) * size}"


def text_where(column: str, criterion: Criterion) -> Where:
    """Return a text criterion.

    EQUALS is LIKE: ASCII letters match regardless of case, ``_`` and ``%`` are wildcards.
    """
    value, modifier = str(criterion["value"]), criterion["modifier"]
    simple = {
        "EQUALS": Where(f"{column} LIKE ?", (value,)),
        "NOT_EQUALS": Where(f"{column} NOT LIKE ?", (value,)),
        "MATCHES_REGEX": Where(f"{column} REGEXP ?", (value,)),
        "NOT_MATCHES_REGEX": Where(f"{column} NOT REGEXP ?", (value,)),
        "IS_NULL": Where(f"({column} IS NULL OR TRIM({column}) = '')"),
        "NOT_NULL": Where(f"({column} IS NOT NULL AND TRIM({column}) != '')"),
    }
    if modifier in simple:
        return simple[modifier]
    if modifier not in ("INCLUDES", "EXCLUDES"):
        raise RefusedError("Internal system error. Error <unsupported string filter modifier>")
    words = [value.strip()[1:-1]] if value.strip().startswith('"') else value.split() or [""]
    negation, glue = ("NOT ", " AND ") if modifier == "EXCLUDES" else ("", " OR ")
    sql = glue.join([f"{column} {negation}LIKE ?"] * len(words))
    return Where(f"({sql})", tuple(f"%{word}%" for word in words))


def integer_where(column: str, criterion: Criterion) -> Where:
    """Return a numeric criterion."""
    value, upper = criterion["value"], criterion.get("value2") or 0
    return {
        "EQUALS": Where(f"{column} = ?", (value,)),
        "NOT_EQUALS": Where(f"{column} != ?", (value,)),
        "GREATER_THAN": Where(f"{column} > ?", (value,)),
        "LESS_THAN": Where(f"{column} < ?", (value,)),
        "BETWEEN": Where(f"{column} BETWEEN ? AND ?", (value, upper)),
        "NOT_BETWEEN": Where(f"{column} NOT BETWEEN ? AND ?", (value, upper)),
    }[criterion["modifier"]]


def link_where(table: str, link: Link, criterion: Criterion) -> Where:
    """Return a criterion over linked things: tags with depth, scenes of a marker, galleries of an
    image.
    """
    modifier, depth = criterion["modifier"], criterion.get("depth") or 0
    if modifier in ("IS_NULL", "NOT_NULL"):
        return Where(f"{table}.id {'NOT ' if modifier == 'IS_NULL' else ''}IN ({link.anyone})")
    wanted, unwanted = integers(criterion.get("value")), integers(criterion.get("excludes"))
    if modifier == "EXCLUDES":
        wanted, unwanted = [], unwanted + wanted
    elif modifier == "NOT_EQUALS":
        raise RefusedError(
            "not equals modifier is not supported for hierarchical multi criterion input"
        )
    elif modifier not in ("INCLUDES", "INCLUDES_ALL"):
        raise RefusedError(f"the sandbox does not know the modifier {modifier} for linked things")
    where, glue = Where(), "OR" if modifier == "INCLUDES" else "AND"
    held = [_holds(table, link, one, depth) for one in wanted]
    for place, one in enumerate(held):
        where = one if place == 0 else where.joined(glue, one)
    for root in unwanted:
        where = where.joined("AND", _holds(table, link, root, depth).negated())
    return where


def _holds(table: str, link: Link, root: int, depth: int) -> Where:
    family = _FAMILY if link.tree else "SELECT ?"
    params: tuple[object, ...] = (
        (root, _ANY_DEPTH if depth < 0 else depth) if link.tree else (root,)
    )
    sql = link.holders.replace("{family}", family)
    return Where(f"{table}.id IN ({sql})", params * link.holders.count("{family}"))


def _text(column: str) -> Callable[[str, Any], Where]:
    return lambda table, criterion: text_where(f"{table}.{column}", criterion)


def _number(column: str) -> Callable[[str, Any], Where]:
    return lambda table, criterion: integer_where(f"{table}.{column}", criterion)


def _flag(column: str) -> Callable[[str, Any], Where]:
    return lambda table, value: Where(f"{table}.{column} = ?", (int(value),))


def _linked(link: Link) -> Callable[[str, Any], Where]:
    return lambda table, criterion: link_where(table, link, criterion)


def _joined_text(join: str, owner: str, column: str) -> Callable[[str, Any], Where]:
    """Return a text criterion over a list of texts: the row matches when one of its texts does."""

    def where(table: str, criterion: Criterion) -> Where:
        if criterion["modifier"] == "EXCLUDES":
            return where(table, {**criterion, "modifier": "INCLUDES"}).negated()
        inner = text_where(column, criterion)
        return Where(
            f"{table}.id IN (SELECT {owner} FROM {table} AS o LEFT JOIN {join} WHERE {inner.sql})",
            inner.params,
        )

    return where


def _has_markers(table: str, value: str) -> Where:
    negation = "" if value == "true" else "NOT "
    return Where(f"{table}.id {negation}IN (SELECT scene_id FROM scene_markers)")


def _marker_tags(table: str, criterion: Criterion) -> Where:
    """Return the server forgets about EXCLUDES on its own here; ``excludes`` beside another
    modifier it heeds.
    """
    forgotten = criterion["modifier"] == "EXCLUDES" and not criterion.get("excludes")
    return Where() if forgotten else link_where(table, _TAGS_OF_MARKERS, criterion)


def _tags_of(table: str, owner: str) -> Link:
    join = f"{table}_tags"
    return Link(
        f"SELECT {owner} FROM {join} WHERE tag_id IN ({{family}})", f"SELECT {owner} FROM {join}"
    )


def _path_of(table: str, owner: str) -> Callable[[str, Any], Where]:
    join = f"{table}_files AS l ON l.{owner} = o.id LEFT JOIN files AS f ON f.id = l.file_id"
    return _joined_text(join, "o.id", "f.path")


def _item(table: str, noun: str, **extra: Callable[[str, Any], Where]) -> Kind:
    """Scenes, images and galleries: what their filters and orders have in common, and what one has
    more.
    """
    filters = {"id": _number("id"), "title": _text("title"), "organized": _flag("organized")}
    filters["tags"] = _linked(_tags_of(table, f"{noun}_id"))
    orders = {name: f"{table}.{name}" for name in ("id", "organized", "created_at", "updated_at")}
    orders["title"] = f"{table}.title COLLATE NATURAL_CI"
    searched = ("title", *(["path"] if "path" in extra else []))
    return Kind(table, noun, {**filters, **extra}, orders, searched=searched)


def _in_galleries(table: str, criteria: Criterion) -> Where:
    """Images in any gallery that a filter for galleries matches."""
    inner = conditions(GALLERY, criteria)
    held = (
        "SELECT image_id FROM galleries_images JOIN galleries ON galleries.id = gallery_id WHERE "
        f"{inner.sql}"
    )
    return Where(f"{table}.id IN ({held})", inner.params)


_GALLERIES_OF_IMAGES = Link(
    "SELECT image_id FROM galleries_images WHERE gallery_id IN ({family})",
    "SELECT image_id FROM galleries_images",
    tree=False,
)
_TAGS_OF_MARKERS = Link(
    "SELECT scene_marker_id FROM scene_markers_tags WHERE tag_id IN ({family}) "
    "UNION SELECT id FROM scene_markers WHERE primary_tag_id IN ({family})",
    "SELECT scene_marker_id FROM scene_markers_tags",
)


def _child_count(table: str, criterion: Criterion) -> Where:
    children = f"(SELECT count(*) FROM tags_relations WHERE parent_id = {table}.id)"
    return integer_where(children, criterion)


TAG = Kind(
    "tags",
    "tag",
    {
        "name": _text("name"),
        "description": _text("description"),
        "ignore_auto_tag": _flag("ignore_auto_tag"),
        "aliases": _joined_text("tag_aliases AS a ON a.tag_id = o.id", "o.id", "a.alias"),
        "child_count": _child_count,
    },
    {
        "name": "tags.name COLLATE NATURAL_CI",
        "id": "tags.id",
        "created_at": "created_at",
        "updated_at": "updated_at",
    },
    "name",
)
SCENE = _item("scenes", "scene", path=_path_of("scenes", "scene_id"), has_markers=_has_markers)
IMAGE = _item(
    "images",
    "image",
    path=_path_of("images", "image_id"),
    galleries=_linked(_GALLERIES_OF_IMAGES),
    galleries_filter=_in_galleries,
)
GALLERY = _item("galleries", "gallery")
MARKER = Kind(
    "scene_markers",
    "scene marker",
    {
        "tags": _marker_tags,
        "scene_tags": _linked(
            Link(
                "SELECT id FROM scene_markers WHERE scene_id IN (SELECT scene_id FROM scenes_tags "
                "WHERE tag_id IN ({family}))",
                "SELECT id FROM scene_markers WHERE scene_id IN (SELECT scene_id FROM scenes_tags)",
            )
        ),
        "scenes": _linked(
            Link(
                "SELECT id FROM scene_markers WHERE scene_id IN ({family})",
                "SELECT id FROM scene_markers",
                tree=False,
            )
        ),
    },
    {
        "title": "COALESCE(NULLIF(title, ''), "
        "(SELECT name FROM tags WHERE tags.id = primary_tag_id)) "
        "COLLATE NATURAL_CI",
        "id": "id",
        "seconds": "seconds",
        "scene_id": "scene_id",
        "created_at": "created_at",
        "updated_at": "updated_at",
    },
    "title",
)
