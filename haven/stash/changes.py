"""What the journal knows of one item: what on it is ours, what of a person's stood for what was found, and what stays off."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from haven.items import ItemChange, ItemKind, ItemRef, MarkerChange
from haven.stash.values import Item, Marker, Tag, same_making, tag_key

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


@dataclass(frozen=True, slots=True)
class PlannedTag:
    """A tag an item is to have. ``id`` is empty while Stash has no tag that goes by ``name``.

    ``asked``: what the tag list calls it. ``created_s``: when it was made, by Stash's clock; 0 while that is not known.
    """

    name: str
    id: str = ""
    asked: str = field(default="", compare=False)
    created_s: float = field(default=0.0, compare=False)

    def is_tag(self, tag: Tag) -> bool:
        """Whether ``tag`` is the planned one, created since if need be."""
        if self.id:
            return tag.id == self.id and same_making(self.created_s, tag.created_s)
        return tag_key(tag.name) == tag_key(self.name)


@dataclass(frozen=True, slots=True)
class PlannedMarker:
    """A marker to create. Times in seconds, to the millisecond; ``end_s`` is None for a point in time.

    ``tag_ids``: its other tags, as a rule the parent's. ``revives``: the place in the journal of the marker that it puts
    back, 0 for a new one.
    """

    tag: PlannedTag
    start_s: float
    end_s: float | None
    tag_ids: tuple[str, ...] = ()
    revives: int = 0

    @property
    def title(self) -> str:
        """Its title: the tag's name."""
        return self.tag.name

    def is_written_as(self, marker: Marker) -> bool:
        """Whether ``marker`` is exactly what writing this one gives."""
        return (
            marker.title == self.title
            and self.tag.is_tag(marker.primary)
            and marker.tag_ids == frozenset(self.tag_ids) - {marker.primary.id}
            and same_time(marker.start_s, self.start_s)
            and same_time(marker.end_s, self.end_s)
        )


@dataclass(frozen=True, slots=True)
class ChangePlan:
    """Everything that is to change on one scene, image or gallery, decided before anything is written.

    ``before_tag_ids`` and ``before_marker_ids`` are what it had then. ``add`` leaves out what it
    has already; in it may be the tag with ``tagged_id``, which says that all went well. ``destroy`` and
    ``remove`` hold only what is ours; ``release`` are the control tags that come off at the very end,
    among them the one that queues the item, ``queue_tag_id``. ``kept``: ids of the markers that already
    stand for a span that was found. ``undoes``: the journal's number of the plan that this one takes back, or 0.
    Ids are empty where a plan has no such tag.

    ``stood_tags`` and ``stood_markers``: what a person had put there of what was found, so that it is known if they take it off.
    ``brings_back``: what people took off stays off no longer. ``stays_off`` and ``left_alone``: as ``ItemChange`` has them.
    """

    item: ItemRef
    parent: Tag
    before_tag_ids: tuple[str, ...]
    before_marker_ids: tuple[str, ...]
    add: tuple[PlannedTag, ...] = ()
    tagged_id: str = ""
    create: tuple[PlannedMarker, ...] = ()
    destroy: tuple[OwnedMarker, ...] = ()
    remove: tuple[Tag, ...] = ()
    release: tuple[Tag, ...] = ()
    queue_tag_id: str = ""
    kept: tuple[str, ...] = ()
    undoes: int = 0
    stood_tags: tuple[OwnedTag, ...] = ()
    stood_markers: tuple[OwnedMarker, ...] = ()
    brings_back: bool = False
    stays_off: tuple[str, ...] = ()
    left_alone: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.add or self.create or self.destroy or self.remove or self.release)

    @property
    def tags(self) -> tuple[PlannedTag, ...]:
        """Every tag that the item, or a marker of it, is to have."""
        return (*self.add, *(marker.tag for marker in self.create))

    @staticmethod
    def of(item: Item, parent: Tag, **changes: Any) -> ChangePlan:
        """A plan for ``item`` as it is now."""
        tags, markers = (
            tuple(tag.id for tag in item.tags),
            tuple(marker.id for marker in item.markers),
        )
        return ChangePlan(
            item.ref, parent, before_tag_ids=tags, before_marker_ids=markers, **changes
        )

    def summary(self) -> ItemChange:
        """The change as it is told to people."""
        return ItemChange(
            tags_added=tuple(
                tag.name for tag in self.add if not tag.id or tag.id != self.tagged_id
            ),
            tags_removed=tuple(tag.name for tag in self.remove),
            markers_added=tuple(
                MarkerChange(marker.title, marker.start_s, marker.end_s) for marker in self.create
            ),
            markers_removed=tuple(
                MarkerChange(marker.title, marker.start_s, marker.end_s) for marker in self.destroy
            ),
            markers_kept=len(self.kept),
            stays_off=self.stays_off,
            left_alone=self.left_alone,
        )

    def to_json(self) -> str:
        """For the journal."""
        return json.dumps(self, default=_fields, ensure_ascii=False)

    @staticmethod
    def from_json(text: str) -> ChangePlan:
        """The reverse of ``to_json``."""
        data: dict[str, Any] = json.loads(text)
        return ChangePlan(
            item=_item(data),
            parent=Tag(**data["parent"]),
            before_tag_ids=tuple(data["before_tag_ids"]),
            before_marker_ids=tuple(data["before_marker_ids"]),
            add=tuple(PlannedTag(**tag) for tag in data["add"]),
            tagged_id=data["tagged_id"],
            create=tuple(
                _planned_marker(marker, data["parent"]["id"]) for marker in data["create"]
            ),
            destroy=tuple(map(_our_marker, data["destroy"])),
            remove=tuple(Tag(**tag) for tag in data["remove"]),
            release=tuple(Tag(**tag) for tag in data["release"]),
            queue_tag_id=data["queue_tag_id"],
            kept=tuple(data["kept"]),
            undoes=data.get("undoes", 0),
            stood_tags=tuple(OwnedTag(**tag) for tag in data.get("stood_tags", ())),
            stood_markers=tuple(map(_our_marker, data.get("stood_markers", ()))),
            brings_back=data.get("brings_back", False),
            stays_off=tuple(data.get("stays_off", ())),
            left_alone=tuple(data.get("left_alone", ())),
        )


def _fields(part: Any) -> dict[str, Any]:
    """A dataclass as its fields. (``asdict`` copies every leaf of it, which takes several times as long.)"""
    return {own.name: getattr(part, own.name) for own in fields(part)}


def _item(data: Mapping[str, Any]) -> ItemRef:
    """What a plan is for. The plans of the journal's first two versions are all for scenes."""
    if "item" not in data:
        return ItemRef(ItemKind.SCENE, data["scene_id"])
    return ItemRef(ItemKind(data["item"]["kind"]), data["item"]["id"])


def _our_marker(data: Mapping[str, Any]) -> OwnedMarker:
    return OwnedMarker(
        **{**data, **{name: tuple(data.get(name, ())) for name in ("tag_ids", "tags_made_s")}}
    )


def _planned_marker(data: Mapping[str, Any], parent_id: str) -> PlannedMarker:
    """One marker of a plan. Plans of the journal's first version said nothing of its other tag: it was the parent."""
    return PlannedMarker(
        tag=PlannedTag(**data["tag"]),
        start_s=data["start_s"],
        end_s=data["end_s"],
        tag_ids=tuple(data.get("tag_ids", [parent_id])),
        revives=data.get("revives", 0),
    )
