"""What the journal knows of one item: what on it is ours, what of a person's stood for what was found, and what stays off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from haven.stash.values import Marker, Tag, same_making, tag_key

TIME_TOLERANCE_S = 1e-3


@dataclass(frozen=True, slots=True)
class OwnedTag:
    """A tag on an item. ``asked``: what the tag list calls it, where that is known.

    ``made_s`` and ``item_made_s``: when the tag and the item were made, as Stash told; 0 where it was not asked. ``is_owned``: the
    plugin put it there; else a person had, and it was found as well.
    """

    id: str
    name: str
    asked: str = ""
    made_s: float = field(default=0.0, compare=False)
    item_made_s: float = field(default=0.0, compare=False)
    is_owned: bool = True

    def is_tag(self, tag: Tag) -> bool:
        """Whether ``tag`` of Stash is this one, whatever it is called by now.

        Where it is not known when it was made, which a journal of an earlier version does not tell, the names must agree.
        """
        if tag.id != self.id or not same_making(self.made_s, tag.created_s):
            return False
        return (
            bool(self.made_s and tag.created_s)
            or not self.name
            or not tag.created_s
            or tag_key(tag.name) == tag_key(self.name)
        )


@dataclass(frozen=True, slots=True)
class OwnedMarker:
    """A marker, exactly as it was written. ``row``: its place in the journal, 0 while it has none.

    ``asked``, ``made_s``, ``item_made_s``, ``is_owned``: as with ``OwnedTag``. ``tags_made_s``: when its primary tag and
    then each of ``tag_ids`` were made; empty where that is not known.
    """

    id: str
    title: str
    start_s: float
    end_s: float | None
    primary_id: str
    tag_ids: tuple[str, ...]
    row: int = field(default=0, compare=False)
    asked: str = field(default="", compare=False)
    made_s: float = field(default=0.0, compare=False)
    item_made_s: float = field(default=0.0, compare=False)
    tags_made_s: tuple[float, ...] = field(default=(), compare=False)
    is_owned: bool = True

    @property
    def primary(self) -> OwnedTag:
        """Its primary tag. Of a person's marker nobody knows by the title what that was called."""
        made_s = self.tags_made_s[0] if self.tags_made_s else 0.0
        return OwnedTag(
            self.primary_id,
            self.title if self.is_owned else "",
            self.asked,
            made_s,
            self.item_made_s,
        )

    @property
    def tags(self) -> tuple[OwnedTag, ...]:
        """Its other tags."""
        made_s = self.tags_made_s[1:] or (0.0,) * len(self.tag_ids)
        return tuple(
            OwnedTag(id_, "", "", own, self.item_made_s)
            for id_, own in zip(self.tag_ids, made_s, strict=True)
        )

    def is_marker(self, marker: Marker) -> bool:
        """Whether ``marker`` of Stash is this one, whatever people made of it."""
        return marker.id == self.id and same_making(self.made_s, marker.created_s)

    def is_untouched(self, marker: Marker) -> bool:
        """Whether ``marker`` is this one and still as it was written. Otherwise it is a person's by now."""
        return (
            self.is_marker(marker)
            and marker.title == self.title
            and marker.primary.id == self.primary_id
            and marker.tag_ids == frozenset(self.tag_ids)
            and same_time(marker.start_s, self.start_s)
            and same_time(marker.end_s, self.end_s)
        )

    @staticmethod
    def of(marker: Marker, *, row: int = 0, asked: str = "", is_owned: bool = True) -> OwnedMarker:
        """The record of a marker as it is in Stash now."""
        tag_ids = tuple(sorted(marker.tag_ids))
        return OwnedMarker(
            marker.id,
            marker.title,
            marker.start_s,
            marker.end_s,
            marker.primary.id,
            tag_ids,
            row,
            asked,
            marker.created_s,
            tags_made_s=(
                marker.primary.created_s,
                *(marker.tags_created_s.get(id_, 0.0) for id_ in tag_ids),
            ),
            is_owned=is_owned,
        )


@dataclass(frozen=True, slots=True)
class Records:
    """What a person took off an item, or changed: it stays off in every later run, until they ask for it."""

    tags: tuple[OwnedTag, ...] = ()
    markers: tuple[OwnedMarker, ...] = ()


@dataclass(frozen=True, slots=True)
class Owned:
    """What the plugin put on one item and has not taken off again, by the ids, and what stays off it."""

    markers: Mapping[str, OwnedMarker] = field(default_factory=dict)
    tags: Mapping[str, OwnedTag] = field(default_factory=dict)
    removed: Records = Records()

    @property
    def tag_ids(self) -> frozenset[str]:
        """The ids of ``tags``."""
        return frozenset(self.tags)


def same_time(one: float | None, other: float | None) -> bool:
    """Whether two times are the same to the millisecond; None is the same as None only."""
    if one is None or other is None:
        return one is other
    return abs(one - other) <= TIME_TOLERANCE_S
