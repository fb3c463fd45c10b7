"""What became of the things that the journal knows, by what is on their item now. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeVar

from haven.stash.records import Owned, OwnedMarker, OwnedTag, Records
from haven.stash.values import ItemSnapshot, same_making

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
