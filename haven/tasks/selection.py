"""Items that a task's arguments name: it works on exactly these, queued or not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from haven.items import ItemKind
from vlm_engine import ConfigError

SCENES, IMAGES, GALLERIES = "scenes", "images", "galleries"
EXCEPT_TAGS = "except_tags"
RUN = "run"
"""Arguments: ids of Stash, such as ``scenes: "12,13"``; names of tags for *Tag What Is New*; the
number of a run."""
MOST_IDS = 2000
_KINDS = {SCENES: ItemKind.SCENE, IMAGES: ItemKind.IMAGE, GALLERIES: ItemKind.GALLERY}


@dataclass(frozen=True, slots=True)
class Selection:
    """Ids of items by kind, in their order. A gallery stands for its images."""

    ids: Mapping[ItemKind, tuple[str, ...]]

    def of(self, kind: ItemKind) -> tuple[str, ...]:
        """Return the ids of one kind."""
        return self.ids.get(kind, ())


def selected(arguments: Mapping[str, str]) -> Selection | None:
    """Return what the arguments name; None if they name nothing, and the queue counts.

    Raise ``ConfigError`` for what is no list of ids, and for more than 2000.
    """
    given = {name: _ids(name, arguments[name]) for name in _KINDS if name in arguments}
    if not given:
        return None
    if (number := sum(map(len, given.values()))) > MOST_IDS:
        raise ConfigError(
            f"task arguments: {number:,} items are named, and a task takes {MOST_IDS:,}; queue "
            "them by their tag instead"
        )
    return Selection({_KINDS[name]: ids for name, ids in given.items()})


def check_arguments(task: str, takes: tuple[str, ...], arguments: Mapping[str, str]) -> None:
    """Raise ``ConfigError`` if the arguments name items in a way that the task does not know."""
    for name in (*_KINDS, EXCEPT_TAGS, RUN):
        if name in arguments and name not in takes:
            rest = f"; it takes {' and '.join(takes)}" if takes else ""
            raise ConfigError(f"task arguments: {task} does not take {name}{rest}")
    selected(arguments)
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


def excepted_tags(arguments: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of tags whose items are left out."""
    names = re.split(r"[,;\n]", arguments.get(EXCEPT_TAGS, ""))
    return tuple(dict.fromkeys(name.strip() for name in names if name.strip()))


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
