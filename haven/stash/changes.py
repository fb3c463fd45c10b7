"""Planned changes and what the journal knows of earlier ones: frozen values, and plans as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any

from haven.items import ItemChange, ItemKind, ItemRef, MarkerChange
from haven.stash.values import ItemSnapshot, Marker, Tag, same_making, tag_key

if TYPE_CHECKING:
    from pydantic import TypeAdapter

TIME_TOLERANCE_S = 1e-3


@dataclass(frozen=True, slots=True)
class OwnedTag:
    """A tag on an item, as the journal knows it.

    ``asked``: its name in the tag list, if known.
    ``made_s`` and ``item_made_s``: when Stash made the tag and the item, by Stash's clock; 0 if
    unknown.
    ``is_owned``: the plugin put it there; otherwise a person did, and it was found as well.
    """

    id: str
    name: str
    asked: str = ""
    made_s: float = field(default=0.0, compare=False)
    item_made_s: float = field(default=0.0, compare=False)
    is_owned: bool = True

    def is_tag(self, tag: Tag) -> bool:
        """Return True if ``tag`` of Stash is this one, whatever its name is now.

        If it is unknown when either was made, as in a journal of an earlier version, the names must
        agree. So they must where it has no id: it was judged before Stash had it.
        """
        if not self.id:
            return tag_key(tag.name) == tag_key(self.name)
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
    """A marker, exactly as it was written.

    ``row``: its row in the journal, 0 if it has none yet.
    ``asked``, ``made_s``, ``item_made_s``, ``is_owned``: as for ``OwnedTag``.
    ``tags_made_s``: when its primary tag and then each of ``tag_ids`` were made; empty if unknown.
    ``tag_name``: the name of its primary tag; the title of the plugin's own markers has it, too.
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
    tag_name: str = field(default="", compare=False)

    @property
    def primary(self) -> OwnedTag:
        """Its primary tag. The title of a person's marker does not tell the tag's name."""
        made_s = self.tags_made_s[0] if self.tags_made_s else 0.0
        return OwnedTag(
            self.primary_id,
            self.tag_name or (self.title if self.is_owned else ""),
            self.asked,
            made_s,
            self.item_made_s,
        )

    @property
    def tags(self) -> tuple[OwnedTag, ...]:
        """Its other tags."""
        made_s = self.tags_made_s[1:] or (0.0,) * len(self.tag_ids)
        return tuple(
            OwnedTag(tag_id, "", "", tag_made_s, self.item_made_s)
            for tag_id, tag_made_s in zip(self.tag_ids, made_s, strict=True)
        )

    def is_marker(self, marker: Marker) -> bool:
        """Return True if ``marker`` of Stash is this one, whatever people changed on it."""
        return marker.id == self.id and same_making(self.made_s, marker.created_s)

    def is_untouched(self, marker: Marker) -> bool:
        """Return True if ``marker`` is this one, still as it was written. Otherwise it is a
        person's by now.
        """
        return (
            self.is_marker(marker)
            and marker.title == self.title
            and marker.primary.id == self.primary_id
            and marker.tag_ids == frozenset(self.tag_ids)
            and same_time(marker.start_s, self.start_s)
            and same_time(marker.end_s, self.end_s)
        )

    def is_like(self, other: OwnedMarker) -> bool:
        """Return True if both say the same of the same stretch, whatever their ids."""
        return (
            (self.title, self.primary_id) == (other.title, other.primary_id)
            and frozenset(self.tag_ids) == frozenset(other.tag_ids)
            and same_time(self.start_s, other.start_s)
            and same_time(self.end_s, other.end_s)
        )

    @staticmethod
    def of(marker: Marker, *, row: int = 0, asked: str = "", is_owned: bool = True) -> OwnedMarker:
        """Return the record of a marker as it is in Stash now."""
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
            tag_name=marker.primary.name,
        )


@dataclass(frozen=True, slots=True)
class Records:
    """Tags and markers of one item that the journal knows."""

    tags: tuple[OwnedTag, ...] = ()
    markers: tuple[OwnedMarker, ...] = ()


class DecisionKind(StrEnum):
    """The kinds of decision about a span: it is right, it is wrong, it is there but at other times,
    and calling it wrong was wrong.
    """

    KEEP = "keep"
    WRONG = "wrong"
    ADJUST = "adjust"
    BRING_BACK = "bring_back"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A decision of a person about a span of a scene, or about a tag of an image or a gallery,
    as the journal keeps it. Without a span the times are 0.

    ``new_start_s`` and ``new_end_s``: the stretch that "adjust" set; else None.
    ``marker_id``: the marker of the span, or empty. ``was_owned``: that marker was the plugin's.
    ``model``, ``wording``, ``confidence`` and ``threshold``: the model that saw it, the fingerprint
    of the words in which it was asked, how sure it was, and how sure the settings wanted it to be;
    the last two are None if unknown. ``at_s``: seconds since the epoch.
    ``id`` and ``plan_id``: its numbers in the journal, 0 if it has none; ``about``: the judgement
    that "bring_back" takes back.
    """

    kind: DecisionKind
    tag: OwnedTag
    start_s: float
    end_s: float
    new_start_s: float | None = None
    new_end_s: float | None = None
    marker_id: str = ""
    marker_made_s: float = 0.0
    was_owned: bool = False
    model: str = ""
    about: int = 0
    at_s: float = 0.0
    id: int = 0
    plan_id: int = 0
    wording: str = ""
    confidence: float | None = None
    threshold: float | None = None

    @property
    def stretches(self) -> tuple[tuple[float, float], ...]:
        """The stretches of time, as (start, end), that it covers."""
        first = (self.start_s, self.end_s)
        if self.new_start_s is None or self.new_end_s is None:
            return (first,)
        return (first, (self.new_start_s, self.new_end_s))


@dataclass(frozen=True, slots=True)
class Judged:
    """The judgements about one span of a tag. The latest one holds, for all of their stretches."""

    latest: Judgement
    stretches: tuple[tuple[float, float], ...]

    @property
    def is_wrong(self) -> bool:
        """True if the tag is not there."""
        return self.latest.kind is DecisionKind.WRONG

    def concerns(self, later: Judgement) -> bool:
        """Return True if a later judgement is about the same span."""
        first, second = self.latest.tag, later.tag
        if first.id != second.id and tag_key(first.name) != tag_key(second.name):
            return False
        is_marker = bool(later.marker_id) and later.marker_id == self.latest.marker_id
        return is_marker or (later.start_s, later.end_s) in self.stretches

    @staticmethod
    def of(judgements: Iterable[Judgement]) -> tuple[Judged, ...]:
        """Return judgements, oldest first, by span: the span that was judged last comes first."""
        spans: list[Judged] = []
        for one in judgements:
            if one.kind is DecisionKind.BRING_BACK:
                continue
            same = next((span for span in spans if span.concerns(one)), Judged(one, ()))
            later = Judged(one, tuple(dict.fromkeys((*same.stretches, *one.stretches))))
            spans = [later, *(span for span in spans if span is not same)]
        return tuple(spans)


@dataclass(frozen=True, slots=True)
class Owned:
    """The markers and tags of one item that the plugin put there and that are still there, by id.

    ``removed``: what a person removed or changed. It stays off in every later run, until they ask
    for it. ``judged``: the spans that people judged. No run but one that they ask for changes them.
    """

    markers: Mapping[str, OwnedMarker] = field(default_factory=dict)
    tags: Mapping[str, OwnedTag] = field(default_factory=dict)
    removed: Records = Records()
    judged: tuple[Judged, ...] = ()

    @staticmethod
    def of(known: Records, removed: Records, judged: tuple[Judged, ...] = ()) -> Owned:
        """Return those of ``known`` that the plugin put there, what stays off, and what was
        judged.
        """
        return Owned(
            {marker.id: marker for marker in known.markers if marker.is_owned},
            {tag.id: tag for tag in known.tags if tag.is_owned},
            removed,
            judged,
        )

    @property
    def tag_ids(self) -> frozenset[str]:
        """The ids of ``tags``."""
        return frozenset(self.tags)

    def is_supported(self, tag: Tag) -> bool:
        """Return True if a person judged a span of this tag as right, so that the item keeps
        it.
        """
        return any(not span.is_wrong and span.latest.tag.is_tag(tag) for span in self.judged)


def same_time(one: float | None, other: float | None) -> bool:
    """Return True if two times are equal to the millisecond. None equals None only."""
    if one is None or other is None:
        return one is other
    return abs(one - other) <= TIME_TOLERANCE_S


@dataclass(frozen=True, slots=True)
class PlannedTag:
    """A tag that an item is to have. ``id`` is empty while Stash has no tag of that name.

    ``asked``: its name in the tag list. ``created_s``: when it was made, by Stash's clock; 0 if
    unknown.
    """

    name: str
    id: str = ""
    asked: str = field(default="", compare=False)
    created_s: float = field(default=0.0, compare=False)

    def is_tag(self, tag: Tag) -> bool:
        """Return True if ``tag`` is the planned one, which may have been created since."""
        if self.id:
            return tag.id == self.id and same_making(self.created_s, tag.created_s)
        return tag_key(tag.name) == tag_key(self.name)


@dataclass(frozen=True, slots=True)
class PlannedMarker:
    """A marker to create. Times in seconds, to the millisecond; ``end_s`` is None for a point in
    time.

    ``tag_ids``: its other tags, as a rule the parent tag. ``revives``: the journal's row of the
    marker that it puts back, 0 for a new one. ``own_title``: its title; None: the tag's name.
    """

    tag: PlannedTag
    start_s: float
    end_s: float | None
    tag_ids: tuple[str, ...] = ()
    revives: int = 0
    own_title: str | None = None

    @property
    def title(self) -> str:
        """The marker's title: as a rule the tag's name."""
        return self.tag.name if self.own_title is None else self.own_title

    def is_written_as(self, marker: Marker) -> bool:
        """Return True if ``marker`` is exactly what writing this one results in."""
        return (
            marker.title == self.title
            and self.tag.is_tag(marker.primary)
            and marker.tag_ids == frozenset(self.tag_ids) - {marker.primary.id}
            and same_time(marker.start_s, self.start_s)
            and same_time(marker.end_s, self.end_s)
        )


@dataclass(frozen=True, slots=True)
class MarkerMove:
    """A marker, as it is, that gets another stretch of time. ``is_owned``: it is the plugin's
    afterwards.
    """

    marker: OwnedMarker
    start_s: float
    end_s: float | None
    is_owned: bool

    @property
    def moved(self) -> OwnedMarker:
        """The marker afterwards."""
        return replace(self.marker, start_s=self.start_s, end_s=self.end_s, is_owned=self.is_owned)


@dataclass(frozen=True, slots=True)
class ChangePlan:
    """Everything that is to change on one scene, image or gallery, decided before anything is
    written.

    ``before_tag_ids`` and ``before_marker_ids``: what the item had when the plan was made.
    ``add``: tags that it lacks; among them may be the tag with ``tagged_id``, which says that the
    item is done.
    ``destroy`` and ``remove``: markers and tags of the plugin only.
    ``release``: control tags that come off last, among them the tag that queues the item,
    ``queue_tag_id``.
    ``kept``: ids of the markers that already stand for a span that was found.
    ``undoes``: the journal's number of the plan that this one undoes, or 0.
    ``stood_tags`` and ``stood_markers``: what was found and a person had put there, so that their
    removing it is noticed.
    ``brings_back``: what people removed no longer stays off.
    ``stays_off`` and ``left_alone``: as in ``ItemChange``. Ids are empty if a plan has no such tag.
    ``move``: markers that get other times. ``judgement``: the journal's number of the judgement
    that the plan carries out, or 0; then the markers that it creates are a person's.
    ``run_mark``: what the item's custom field for the run is to hold, "" for no such field, None to
    leave it; ``run_mark_before``: what it held when the plan was made.
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
    move: tuple[MarkerMove, ...] = ()
    judgement: int = 0
    run_mark: str | None = None
    run_mark_before: str = ""

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to write."""
        notes = self.judgement and (self.stood_tags or self.stood_markers)
        adds = self.add or self.create or self.move or notes
        marks = self.run_mark is not None and self.run_mark != self.run_mark_before
        return not (adds or self.destroy or self.remove or self.release or marks)

    def marked(self, run_mark: str, item: ItemSnapshot) -> ChangePlan:
        """Return the plan that also puts this into the custom field of ``item`` for the run, if
        Stash has such fields and there is anything to write.
        """
        if item.run_mark is None or self.is_empty:
            return self
        return replace(self, run_mark=run_mark, run_mark_before=item.run_mark)

    @property
    def tags(self) -> tuple[PlannedTag, ...]:
        """Every tag that the item, or a marker of it, is to have."""
        return (*self.add, *(marker.tag for marker in self.create))

    @staticmethod
    def of(item: ItemSnapshot, parent: Tag, **changes: Any) -> ChangePlan:
        """Return a plan for ``item`` as it is now."""
        tags, markers = (tuple(one.id for one in part) for part in (item.tags, item.markers))
        return ChangePlan(item.ref, parent, tags, markers, **changes)

    def summary(self) -> ItemChange:
        """Return the change as it is reported to people."""
        return ItemChange(
            tags_added=tuple(
                tag.name for tag in self.add if not tag.id or tag.id != self.tagged_id
            ),
            tags_removed=tuple(tag.name for tag in self.remove),
            markers_added=_marker_changes(self.create),
            markers_removed=_marker_changes(self.destroy),
            markers_kept=len(self.kept),
            stays_off=self.stays_off,
            left_alone=self.left_alone,
        )

    def to_json(self) -> str:
        """Return the plan as the journal stores it."""
        return json.dumps(self, default=_fields, ensure_ascii=False)

    @staticmethod
    def from_json(text: str) -> ChangePlan:
        """Return the plan that ``to_json`` wrote, in this version or an earlier one."""
        data: dict[str, Any] = json.loads(text)
        # All plans of the journal's first two versions are for scenes; those of the first leave out
        # the other tag of a marker, the parent.
        if "item" not in data:
            data["item"] = {"kind": ItemKind.SCENE, "id": data["scene_id"]}
        others = {"tag_ids": [data["parent"]["id"]]}
        data["create"] = [{**others, **marker} for marker in data["create"]]
        if missing := [name for name in _REQUIRED if name not in data]:
            raise KeyError(*missing)
        for part in ("destroy", "stood_tags", "stood_markers"):
            data[part] = [_read_owned(record) for record in data.get(part, ())]
        data["move"] = [
            {**_read_owned(move), "marker": _read_owned(move["marker"])}
            for move in data.get("move", ())
        ]
        return _plans().validate_python(data)


@cache
def _plans() -> TypeAdapter[ChangePlan]:
    from pydantic import TypeAdapter  # reading the journal for a page needs no plan

    return TypeAdapter(ChangePlan)


_REQUIRED = ("add", "tagged_id", "destroy", "remove", "release", "queue_tag_id", "kept")
"""Keys that plans of every version have."""


def _read_owned(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a tag or marker. ``is_owned`` is stored under its first name."""
    return {"is_owned" if name == "is_ours" else name: value for name, value in record.items()}


def _marker_changes(
    markers: Iterable[PlannedMarker | OwnedMarker],
) -> tuple[MarkerChange, ...]:
    return tuple(MarkerChange(one.title, one.start_s, one.end_s) for one in markers)


def _fields(part: Any) -> dict[str, Any]:
    """Return a dataclass as its fields. (``asdict`` also copies every leaf, which takes several
    times as long.)
    """
    return {
        "is_ours" if each.name == "is_owned" else each.name: getattr(part, each.name)
        for each in fields(part)
    }
