"""Items that a task's arguments name: it works on exactly these, queued or not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from haven.items import ItemKind
from haven.stash.errors import StashLockedError, StashQueryError, StashReplyError
from haven.stash.filters import ItemFilter, filter_from
from vlm_engine import ConfigError

SCENES, IMAGES, GALLERIES = "scenes", "images", "galleries"
"""Arguments: ids of Stash, such as ``scenes: "12,13"``."""
SCENE_FILTER, IMAGE_FILTER, GALLERY_FILTER = "scene_filter", "image_filter", "gallery_filter"
SEARCH = "search"
"""Arguments: the criteria of Stash's own requests as JSON, and the text of its search field."""
EXCEPT_TAGS = "except_tags"
"""Argument of *Tag What Is New*: names of tags, such as ``"Home game, Away game"``."""
ORDER = "order"
"""Argument: which scenes and images come first, one of ``ORDERS``."""
OLDEST, NEWEST, SHORTEST = ORDERS = ("oldest", "newest", "shortest")
RUN = "run"
"""Argument of tasks about a run: its number."""
MOST_IDS = 2000
_KINDS = {SCENES: ItemKind.SCENE, IMAGES: ItemKind.IMAGE, GALLERIES: ItemKind.GALLERY}
_FILTERS = {
    SCENE_FILTER: ItemKind.SCENE,
    IMAGE_FILTER: ItemKind.IMAGE,
    GALLERY_FILTER: ItemKind.GALLERY,
}
ARGUMENTS = (*_KINDS, *_FILTERS, SEARCH, EXCEPT_TAGS, ORDER, RUN)
"""All arguments that this module reads."""
FindIds = Callable[[ItemKind, ItemFilter], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Selection:
    """Ids of items by kind, in their order. A gallery stands for its images.

    ``filters``: those that stand for more ids, until ``with_ids_found`` has found them.
    """

    ids: Mapping[ItemKind, tuple[str, ...]]
    filters: Mapping[ItemKind, ItemFilter] = field(default_factory=dict)

    def of(self, kind: ItemKind) -> tuple[str, ...]:
        """Return the ids of one kind."""
        return self.ids.get(kind, ())

    def with_ids_found(self, find: FindIds) -> Selection:
        """Return a selection with the ids that the filters show now. What a task writes may change
        that later.

        Raise ``ConfigError`` for a filter that Stash refuses.
        """
        found = {kind: _found(kind, items, find) for kind, items in self.filters.items()}
        return Selection({**self.ids, **found})


def selected(arguments: Mapping[str, str]) -> Selection | None:
    """Return what the arguments name; None if they name nothing, and the queue counts.

    Raise ``ConfigError`` for what is no list of ids and no filter, and for more than 2000 ids.
    """
    ids = {kind: _ids(name, arguments[name]) for name, kind in _KINDS.items() if name in arguments}
    filters = {
        kind: _filter(name, arguments[name], arguments.get(SEARCH, ""))
        for name, kind in _FILTERS.items()
        if name in arguments
    }
    if both := ids.keys() & filters.keys():
        kind = min(both)
        raise ConfigError(
            f"task arguments: name {kind}s by their ids or by {kind}_filter, not both"
        )
    if SEARCH in arguments and not filters:
        raise ConfigError(
            f"task arguments: {SEARCH} needs a filter beside it; {{}} is the one for everything"
        )
    if (number := sum(map(len, ids.values()))) > MOST_IDS:
        raise ConfigError(
            f"task arguments: {number:,} items are named, and a task takes {MOST_IDS:,}; name them "
            "by a filter, or queue them by their tag"
        )
    return Selection(ids, filters) if ids or filters else None


def check_arguments(task: str, takes: tuple[str, ...], arguments: Mapping[str, str]) -> None:
    """Raise ``ConfigError`` if the arguments name items in a way that the task does not know."""
    for name in ARGUMENTS:
        if name in arguments and name not in takes:
            rest = f"; it takes {_listed(takes)}" if takes else ""
            raise ConfigError(f"task arguments: {task} does not take {name}{rest}")
    selected(arguments)
    excepted_tags(arguments)
    order_of(arguments)
    if RUN in arguments:
        run_number(arguments)


def run_number(arguments: Mapping[str, str]) -> int:
    """Return the number of the run that the arguments name. Raises ``ConfigError``."""
    text = arguments[RUN].strip()
    if not re.fullmatch(r"[1-9][0-9]{0,17}", text):
        raise ConfigError(
            f"task arguments: {RUN}: {text!r} is not the number of a run; write the number that"
            " the page's tab Runs shows, or leave the argument out for the last run"
        )
    return int(text)


def order_of(arguments: Mapping[str, str]) -> str:
    """Return which items come first: one of ``ORDERS``. Raise ``ConfigError`` for another."""
    order = arguments.get(ORDER, "").strip().casefold() or OLDEST
    if order not in ORDERS:
        raise ConfigError(
            f"task arguments: {ORDER}: {arguments[ORDER]!r} is none of {', '.join(ORDERS)}"
        )
    return order


def excepted_tags(arguments: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of tags whose items are left out, from a list in JSON or with commas.

    Raise ``ConfigError`` for a list that is not one of texts.
    """
    text = arguments.get(EXCEPT_TAGS, "").strip()
    names = _texts(text) if text.startswith("[") else re.split(r"[,;\n]", text)
    return tuple(dict.fromkeys(name.strip() for name in names if name.strip()))


def _texts(text: str) -> list[str]:
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(
            f"task arguments: {EXCEPT_TAGS}: write names with commas between them, or a list in "
            'JSON, like ["Home game", "Away game"]'
        )
    return names


def _filter(name: str, text: str, search: str) -> ItemFilter:
    try:
        return filter_from(text, search)
    except ValueError as error:
        raise ConfigError(f"task arguments: {name}: {error}") from None


def _found(kind: ItemKind, items: ItemFilter, find: FindIds) -> tuple[str, ...]:
    try:
        return find(kind, items)
    except (StashLockedError, StashReplyError):
        raise
    except StashQueryError as error:
        raise ConfigError(
            f"task arguments: {kind}_filter: Stash refuses it: {error.message}. Nothing was "
            "changed. Correct it as Stash's own requests have it, and start the task again"
        ) from error


def _listed(names: tuple[str, ...]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _ids(name: str, text: str) -> tuple[str, ...]:
    ids = [part for part in re.split(r"[\s,;]+", text) if part]
    for one in ids:
        if not re.fullmatch(r"[1-9][0-9]{0,17}", one):
            raise ConfigError(
                f"task arguments: {name}: {one!r} is not the id of an item; write numbers with "
                "commas between them, like 12,13"
            )
    if not ids:
        raise ConfigError(
            f"task arguments: {name}: no id is named; write numbers with commas between them, or "
            "leave the argument out"
        )
    return tuple(dict.fromkeys(ids))
