"""The kinds of item that the plugin tags, and a change of one, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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
