"""Bringing the journal up to what is in Stash: after a kill, after a failure, and after what people did meanwhile."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from haven.stash.changes import PlannedMarker, PlannedTag
from haven.stash.compare import compare, owned_now
from haven.stash.journal import Journal, OpenPlan
from haven.stash.journal.journal import ADDING, TAKING_OFF
from haven.stash.plan import stands_for
from haven.stash.records import Owned, OwnedMarker, same_time
from haven.stash.values import Item, ItemSnapshot, Marker, Tag


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
