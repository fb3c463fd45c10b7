"""Whether what was found is something that a person took off. Pure."""

from __future__ import annotations

from haven.stash.changes import PlannedMarker, PlannedTag
from haven.stash.records import OwnedMarker, OwnedTag, Records
from haven.stash.values import same_making, tag_key

POINT_SLACK_S = 1.0


def keeps_off(removed: Records, wanted: PlannedTag) -> bool:
    """Whether a person took this tag off the item."""
    return any(is_same(tag, wanted) for tag in removed.tags)


def covers(removed: Records, wanted: PlannedMarker) -> bool:
    """Whether a person took off, moved or relabelled a marker of this event: of the same tag, at a time that overlaps."""
    return any(
        is_same(marker.primary, wanted.tag) and overlaps(marker, wanted)
        for marker in removed.markers
    )


def is_same(tag: OwnedTag, wanted: PlannedTag) -> bool:
    """Whether both are one tag: by what it is in Stash, whatever it is called there by now; by its name, where it was made anew;
    or by what the tag list calls it, where the settings give it another name in Stash."""
    if wanted.id and tag.id == wanted.id and same_making(tag.made_s, wanted.created_s):
        return True
    named = bool(tag.name) and tag_key(tag.name) == tag_key(wanted.name)
    return named or (bool(tag.asked) and tag_key(tag.asked) == tag_key(wanted.asked))


def overlaps(marker: OwnedMarker, wanted: PlannedMarker) -> bool:
    """Whether they have a stretch of time in common. A point in time has some on both sides."""
    (start_s, end_s), (other_start_s, other_end_s) = _stretch(marker), _stretch(wanted)
    return max(start_s, other_start_s) < min(end_s, other_end_s)


def _stretch(marker: OwnedMarker | PlannedMarker) -> tuple[float, float]:
    if marker.end_s is None or marker.end_s <= marker.start_s:
        return marker.start_s - POINT_SLACK_S, marker.start_s + POINT_SLACK_S
    return marker.start_s, marker.end_s
