"""Bringing the journal up to what is in Stash: after a kill, after a failure, and after what people did meanwhile."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TypeVar

from haven.stash.changes import (
    Owned,
    OwnedMarker,
    OwnedTag,
    PlannedMarker,
    PlannedTag,
    Records,
    same_time,
)
from haven.stash.journal import Journal, OpenPlan
from haven.stash.journal.journal import ADDING, TAKING_OFF
from haven.stash.plan import stands_for
from haven.stash.values import Item, ItemSnapshot, Marker, Tag, same_making


@dataclass(frozen=True, slots=True)
class Adopted:
    """What turned out to be ours: the planned markers that exist, and the planned tags on the item."""

    markers: tuple[PlannedMarker, ...]
    tags: tuple[Tag, ...]


def adopt(
    journal: Journal, opened: OpenPlan, item: Item, planned: Iterable[PlannedMarker]
) -> Adopted:
    """Makes ours what the plan wanted, is on ``item`` now, was not before, and is not in the journal yet.

    Of tags only what the plan had begun to add: others came from people.
    """
    plan = opened.plan
    owned = journal.owned(item.ref)
    known_ids = {*plan.before_marker_ids, *owned.markers}
    fresh = [marker for marker in item.markers if marker.id not in known_ids]
    pairs = _pair(planned, fresh)
    added = plan.add if journal.has_begun(opened, ADDING) else ()
    new_tags = tuple(
        tag
        for tag in item.tags
        if tag.id not in {*plan.before_tag_ids, *owned.tag_ids}
        and any(wanted.is_tag(tag) for wanted in added)
    )
    if pairs:
        journal.markers_created(opened, [_record(wanted, marker) for wanted, marker in pairs])
    if new_tags:
        journal.tags_added(opened, new_tags)
    return Adopted(tuple(wanted for wanted, _ in pairs), new_tags)


def left_to_create(journal: Journal, opened: OpenPlan, item: Item) -> tuple[PlannedMarker, ...]:
    """The markers that a plan left behind still lacks. Call it after ``adopt``.

    One that was made and that somebody removed or changed since is not made again: that was for them to decide.
    """
    written = list(journal.written(opened))
    fresh = [marker for marker in item.markers if marker.id not in opened.plan.before_marker_ids]
    lacking = []
    for wanted in opened.plan.create:
        record = next((record for record in written if _is_record_of(record, wanted)), None)
        if record is not None:
            written.remove(record)
        elif not any(stands_for(marker, wanted) for marker in fresh):
            lacking.append(wanted)
    return tuple(lacking)


def note_what_went(journal: Journal, opened: OpenPlan, item: Item) -> None:
    """Writes down what a plan had taken off ``item`` when nobody was left to do so. Call it before ``disown_what_changed``."""
    if not journal.has_begun(opened, TAKING_OFF):
        return
    there = {marker.id for marker in item.markers}
    journal.markers_taken_off(
        opened, [record.id for record in opened.plan.destroy if record.id not in there]
    )
    taken = (*opened.plan.remove, *opened.plan.release)
    journal.tags_taken_off(opened, [tag for tag in taken if tag.id not in item.tag_ids])


def disown_what_changed(journal: Journal, item: ItemSnapshot) -> None:
    """What a person took off the item, or changed, is no longer ours, even if it comes back; nor is what only has its number."""
    journal.moved_to(item.ref, _moved(journal, item))
    found = compare(journal.there(item.ref), item)
    for gone, stays_off in ((found.off, True), (found.void, False)):
        marker_ids, tag_ids = [own.id for own in gone.markers], [own.id for own in gone.tags]
        journal.disown(item.ref, marker_ids=marker_ids, tag_ids=tag_ids, stays_off=stays_off)


def known_of(journal: Journal, item: ItemSnapshot) -> Owned:
    """What of the item is ours, and what people took off it. Writes nothing."""
    there = journal.there(item.ref)
    return owned_now(
        journal.owned(item.ref),
        replace(there, markers=(*there.markers, *_moved(journal, item))),
        item,
    )


def _moved(journal: Journal, item: ItemSnapshot) -> tuple[OwnedMarker, ...]:
    """The markers on ``item`` that the plugin made on a scene that was merged into it since."""
    known = {own.id for own in journal.there(item.ref).markers}
    return journal.on_other_scenes(
        item.ref, (marker for marker in item.markers if marker.id not in known)
    )


def taken_off_since(journal: Journal, opened: OpenPlan) -> tuple[PlannedTag, ...]:
    """The tags that a plan left behind had put on its item and that a person took off since. Call it after the others."""
    lost = journal.facts(opened.id).lost_tags
    return tuple(
        wanted
        for wanted in opened.plan.add
        if any(wanted.is_tag(tag) or wanted.name == tag.name for tag in lost)
    )


def _pair(
    planned: Iterable[PlannedMarker], fresh: list[Marker]
) -> tuple[tuple[PlannedMarker, Marker], ...]:
    """Each planned marker with the one that is exactly what writing it gives; each marker is used once."""
    rest = list(fresh)
    pairs = []
    for wanted in planned:
        match = next((marker for marker in rest if wanted.is_written_as(marker)), None)
        if match:
            rest.remove(match)
            pairs.append((wanted, match))
    return tuple(pairs)


def _is_record_of(record: OwnedMarker, wanted: PlannedMarker) -> bool:
    if wanted.revives:
        return record.row == wanted.revives
    return (
        record.title == wanted.title
        and same_time(record.start_s, wanted.start_s)
        and same_time(record.end_s, wanted.end_s)
    )


def _record(wanted: PlannedMarker, marker: Marker) -> OwnedMarker:
    return OwnedMarker.of(marker, row=wanted.revives, asked=wanted.tag.asked)


_Own = TypeVar("_Own", OwnedTag, OwnedMarker)


class _State(Enum):
    THERE = auto()
    OFF = auto()
    VOID = auto()


@dataclass(frozen=True, slots=True)
class Compared:
    """``there``: is on the item, as it was written. ``off``: a person took it off or changed it, so it stays off. ``void``: means
    nothing any more."""

    there: Records
    off: Records
    void: Records


def compare(known: Records, item: ItemSnapshot) -> Compared:
    """Sorts what the journal takes to be on ``item``.

    Where the item or a number means something else in Stash by now, what is known of it is void. Where nothing at all of it is
    left, not even the tag that says that the item is done, the item was put back from a backup, or somebody wants it done from
    the start: then all of it is void, too.
    """
    tags = [(own, _tag_state(own, item)) for own in known.tags]
    markers = [(own, _marker_state(own, item)) for own in known.markers]
    there, off, void = (Records(_those(tags, state), _those(markers, state)) for state in _State)
    changed = {own.id for own in off.markers} & {marker.id for marker in item.markers}
    if there.tags or there.markers or changed:
        return Compared(there, off, void)
    return Compared(there, Records(), known)


def owned_now(owned: Owned, known: Records, item: ItemSnapshot) -> Owned:
    """``owned`` with what people have done to ``item`` since the journal heard of it. ``known``: what that takes to be on it."""
    found = compare(known, item)
    off_tags = (*owned.removed.tags, *found.off.tags)
    off_markers = (*owned.removed.markers, *found.off.markers)
    return Owned(
        {own.id: own for own in found.there.markers if own.is_owned},
        {own.id: own for own in found.there.tags if own.is_owned},
        Records(
            tuple(own for own in off_tags if same_making(own.item_made_s, item.created_s)),
            tuple(own for own in off_markers if same_making(own.item_made_s, item.created_s)),
        ),
    )


def _those(sorted_: list[tuple[_Own, _State]], wanted: _State) -> tuple[_Own, ...]:
    return tuple(own for own, state in sorted_ if state is wanted)


def _tag_state(own: OwnedTag, item: ItemSnapshot) -> _State:
    tag = next((tag for tag in item.tags if tag.id == own.id), None)
    if not same_making(own.item_made_s, item.created_s) or (
        tag is not None and not own.is_tag(tag)
    ):
        return _State.VOID
    return _State.OFF if tag is None else _State.THERE


def _marker_state(own: OwnedMarker, item: ItemSnapshot) -> _State:
    marker = next((marker for marker in item.markers if marker.id == own.id), None)
    # Number and time of making together mean one marker, also where a merge has brought it from another scene.
    if marker is not None and own.made_s and own.made_s == marker.created_s:
        return _State.THERE if own.is_untouched(marker) else _State.OFF
    if not same_making(own.item_made_s, item.created_s) or (
        marker is not None and not own.is_marker(marker)
    ):
        return _State.VOID
    return _State.THERE if marker is not None and own.is_untouched(marker) else _State.OFF
