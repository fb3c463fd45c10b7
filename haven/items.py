"""The kinds of item that the plugin tags, and a change of one, as plain values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

_T = TypeVar("_T")


class ItemKind(StrEnum):
    """The kinds of item in Stash that the plugin tags."""

    SCENE = "scene"
    IMAGE = "image"
    GALLERY = "gallery"


@dataclass(frozen=True, slots=True)
class ItemRef:
    """One scene, image or gallery: its kind and its id in Stash."""

    kind: ItemKind
    id: str

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"


@dataclass(frozen=True, slots=True)
class MarkerChange:
    """One marker that was, or would be, added or removed. ``end_s`` is None for a point in time."""

    title: str
    start_s: float
    end_s: float | None = None


@dataclass(frozen=True, slots=True)
class ItemChange:
    """A change, made or planned, of one scene, image or gallery.

    Tags are given by name. The tags that queue an item or report its state are not among them.

    ``markers_kept``: the number of markers that already stood for what was found.
    ``kept_back``: one sentence for each thing that stays because a person has changed it since.
    ``stays_off``: what was found but not added, because a person had removed it.
    ``left_alone``: what the plugin made for tags that are not in the present tag list.
    The last two hold "Foul" for a tag and "2 markers Foul" for markers.
    """

    tags_added: tuple[str, ...] = ()
    tags_removed: tuple[str, ...] = ()
    markers_added: tuple[MarkerChange, ...] = ()
    markers_removed: tuple[MarkerChange, ...] = ()
    markers_kept: int = 0
    kept_back: tuple[str, ...] = ()
    stays_off: tuple[str, ...] = ()
    left_alone: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """True if nothing was, or would be, added or removed."""
        return not (
            self.tags_added or self.tags_removed or self.markers_added or self.markers_removed
        )

    def then(self, later: ItemChange) -> ItemChange:
        """Return both changes as one, without what the later one takes back."""
        markers = (
            (*self.markers_added, *later.markers_added),
            (
                *self.markers_removed,
                *later.markers_removed,
            ),
        )
        tags = (*self.tags_added, *later.tags_added), (*self.tags_removed, *later.tags_removed)
        return ItemChange(
            *_net(*tags),
            *_net(*markers),
            later.markers_kept,
            (*self.kept_back, *later.kept_back),
            later.stays_off,
            later.left_alone,
        )


def _net(added: Sequence[_T], removed: Sequence[_T]) -> tuple[tuple[_T, ...], tuple[_T, ...]]:
    """Return what was added and what was removed, without what was both."""
    both = Counter(added) & Counter(removed)
    return _without(added, both), _without(removed, both)


def _without(things: Iterable[_T], left_out: Counter[_T]) -> tuple[_T, ...]:
    left = left_out.copy()
    kept = []
    for thing in things:
        if left[thing]:
            left[thing] -= 1
        else:
            kept.append(thing)
    return tuple(kept)
