"""Bringing the journal up to date with Stash: after a kill, after a failure, after people's
changes, and when files have gone to other items.

``writing.Writing.carry_on`` finishes the plans that a killed run left behind, with the functions
here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum, auto

from haven.stash.changes import (
    Judged,
    MarkerMove,
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
from haven.stash.reading import read_items
from haven.stash.transport import StashClient
from haven.stash.values import ItemSnapshot, Marker, Tag, same_making


@dataclass(frozen=True, slots=True)
class Adopted:
    """Planned markers and tags that turned out to be in Stash without the journal knowing."""

    markers: tuple[PlannedMarker, ...]
    tags: tuple[Tag, ...]


def adopt(
    journal: Journal, opened: OpenPlan, item: ItemSnapshot, planned: Iterable[PlannedMarker]
) -> Adopted:
    """Note as the plugin's what the plan wanted and is on ``item`` now, but was not there before
    and is not known yet.

    Tags count only if the plan had begun to add any: otherwise people added them.
    """
    plan = opened.plan
    owned = journal.owned(item.ref)
    known_ids = {*plan.before_marker_ids, *(one.id for one in journal.known(item.ref).markers)}
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
        records = [
            OwnedMarker.of(marker, row=wanted.revives, asked=wanted.tag.asked)
            for wanted, marker in pairs
        ]
        journal.markers_created(opened, records)
    if new_tags:
        journal.tags_added(opened, new_tags)
    return Adopted(tuple(wanted for wanted, _ in pairs), new_tags)


def left_to_create(
    journal: Journal, opened: OpenPlan, item: ItemSnapshot
) -> tuple[PlannedMarker, ...]:
    """Return the markers that a plan left behind still lacks. Call this after ``adopt``.

    A marker that was made, and that somebody removed or changed since, is not made again.
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


def catch_up(
    journal: Journal, opened: OpenPlan, item: ItemSnapshot, planned: Iterable[PlannedMarker]
) -> Adopted:
    """Note what of a plan is in Stash, and disown what people changed. Return as ``adopt``."""
    _note_moves(journal, opened, item)
    adopted = adopt(journal, opened, item, planned)
    _note_what_went(journal, opened, item)
    disown_what_changed(journal, item)
    return adopted


def left_to_move(opened: OpenPlan, item: ItemSnapshot) -> tuple[MarkerMove, ...]:
    """Return the moves that a plan left behind has not made, of markers that nobody changed
    since.
    """
    present = {marker.id: marker for marker in item.markers}
    return tuple(
        move
        for move in opened.plan.move
        if move.marker.id in present and move.marker.is_untouched(present[move.marker.id])
    )


def _note_moves(journal: Journal, opened: OpenPlan, item: ItemSnapshot) -> None:
    """Note the moves of a plan that were made. Otherwise they would count as a person's change."""
    present = {marker.id: marker for marker in item.markers}
    for move in opened.plan.move:
        marker = present.get(move.marker.id)
        if marker is not None and move.moved.is_untouched(marker):
            journal.marker_moved(opened, move)


def _note_what_went(journal: Journal, opened: OpenPlan, item: ItemSnapshot) -> None:
    """Note what a plan had removed from ``item`` before it was cut off. Call this before
    ``disown_what_changed``.
    """
    if not journal.has_begun(opened, TAKING_OFF):
        return
    present = {marker.id for marker in item.markers}
    journal.markers_removed(
        opened, [marker.id for marker in opened.plan.destroy if marker.id not in present]
    )
    taken = (*opened.plan.remove, *opened.plan.release)
    journal.tags_removed(opened, [tag for tag in taken if tag.id not in item.tag_ids])


def disown_what_changed(journal: Journal, item: ItemSnapshot) -> None:
    """Disown what a person removed from the item or changed, and what only shares an id with the
    plugin's.
    """
    journal.moved_to(item.ref, _moved(journal, item, journal.known(item.ref)))
    found = compare(journal.known(item.ref), item)
    journal.disown(item.ref, found.off, stays_off=True)
    journal.disown(item.ref, found.void, stays_off=False)


def follow_files(client: StashClient, journal: Journal, items: Iterable[ItemSnapshot]) -> None:
    """Note judgements and evidence as those of the items that have their files now: scenes were
    merged, a file was assigned to another one, or Stash's database was made anew.

    What another item is about that still has the file stays there.
    """
    found = [(item, about) for item in items for about in journal.others_with_file_of(item)]
    if not found:
        return
    others = read_items(client, {about.item for _, about in found})
    for item, about in found:
        other = others.get(about.item)
        is_there = other is not None and other.created_s == about.made_s
        if other is None or not (is_there and about.file in other.files):
            journal.give_to(item, about)


def known_of(journal: Journal, item: ItemSnapshot) -> Owned:
    """Return what of the item is the plugin's now, what people took off it, and what they judged.
    Write nothing.
    """
    known, removed = journal.known(item.ref), journal.removed(item.ref)
    known = replace(known, markers=(*known.markers, *_moved(journal, item, known)))
    found = compare(known, item)

    def is_current(record: OwnedTag | OwnedMarker) -> bool:
        return same_making(record.item_made_s, item.created_s)

    return Owned.of(
        found.present,
        Records(
            tuple(filter(is_current, (*removed.tags, *found.off.tags))),
            tuple(filter(is_current, (*removed.markers, *found.off.markers))),
        ),
        Judged.of(journal.judgements(item.ref, item.created_s)),
    )


def taken_off_since(journal: Journal, opened: OpenPlan) -> tuple[PlannedTag, ...]:
    """Return the tags that a plan left behind had put on its item and a person removed since. Call
    this last.
    """
    lost = journal.facts(opened.id).lost_tags
    return tuple(
        wanted
        for wanted in opened.plan.add
        if any(wanted.is_tag(tag) or wanted.name == tag.name for tag in lost)
    )


class _State(Enum):
    PRESENT = auto()
    OFF = auto()
    VOID = auto()


@dataclass(frozen=True, slots=True)
class Compared:
    """Known tags and markers, sorted by what is on the item now.

    ``present``: on the item, as written. ``off``: a person removed or changed it, so it stays off.
    ``void``: it means nothing any more.
    """

    present: Records
    off: Records
    void: Records


def compare(known: Records, item: ItemSnapshot) -> Compared:
    """Sort what the journal takes to be on ``item``.

    What is known is void if the item, or an id, means something else in Stash by now. All of it is
    void if nothing at all is left, not even the tag that says that the item is done: the item was
    restored from a backup, or somebody wants it done from the start.
    """

    on_item = {tag.id: tag for tag in item.tags}
    in_scene = {marker.id: marker for marker in item.markers}
    tags = [(_tag_state(one, on_item.get(one.id), item), one) for one in known.tags]
    markers = [(_marker_state(one, in_scene.get(one.id), item), one) for one in known.markers]

    def records(state: _State) -> Records:
        return Records(
            tuple(one for found, one in tags if found is state),
            tuple(one for found, one in markers if found is state),
        )

    present, off, void = map(records, _State)
    changed = {one.id for one in off.markers} & in_scene.keys()
    if present.tags or present.markers or changed:
        return Compared(present, off, void)
    return Compared(present, Records(), known)


def _tag_state(known: OwnedTag, tag: Tag | None, item: ItemSnapshot) -> _State:
    if not same_making(known.item_made_s, item.created_s) or (tag and not known.is_tag(tag)):
        return _State.VOID
    return _State.PRESENT if tag else _State.OFF


def _marker_state(known: OwnedMarker, marker: Marker | None, item: ItemSnapshot) -> _State:
    state = _State.PRESENT if marker and known.is_untouched(marker) else _State.OFF
    # Id and time of making together mean one marker, also if a merge has brought it from another
    # scene.
    if marker and known.made_s and known.made_s == marker.created_s:
        return state
    if not same_making(known.item_made_s, item.created_s) or (
        marker and not known.is_marker(marker)
    ):
        return _State.VOID
    return state


def _moved(journal: Journal, item: ItemSnapshot, known: Records) -> tuple[OwnedMarker, ...]:
    """Return the markers on ``item`` that the plugin made on a scene that was merged into it
    since.
    """
    ids = {marker.id for marker in known.markers}
    return journal.on_other_scenes(
        item.ref, (marker for marker in item.markers if marker.id not in ids)
    )


def _pair(
    planned: Iterable[PlannedMarker], fresh: list[Marker]
) -> tuple[tuple[PlannedMarker, Marker], ...]:
    """Return each planned marker with the one that writing it results in; each marker is used
    once.
    """
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
