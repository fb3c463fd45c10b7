"""Taking back what one plan did, exactly, but for what people have changed since. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from haven.stash.changes import ChangePlan, Owned, OwnedMarker, OwnedTag, PlannedMarker, PlannedTag
from haven.stash.journal import PlanFacts
from haven.stash.plan import stands_for
from haven.stash.values import Item, ItemSnapshot, Marker, Tag, same_making


def as_numbered_now(facts: PlanFacts, there: Mapping[str, Tag]) -> PlanFacts:
    """``facts``, in which tags that are to be put back have no number where it is another tag's by now, or nobody's: then their
    names tell. ``there``: the tags of Stash, by their ids."""

    def number(own: OwnedTag) -> str:
        return own.id if own.id in there and own.is_tag(there[own.id]) else ""

    def marker(taken: OwnedMarker) -> OwnedMarker:
        others = {own.id: own.made_s for own in taken.tags if number(own)}
        made_s = (taken.primary.made_s, *others.values())
        return replace(
            taken, primary_id=number(taken.primary), tag_ids=tuple(others), tags_made_s=made_s
        )

    def tags(taken: Iterable[Tag]) -> tuple[Tag, ...]:
        return tuple(
            replace(tag, id=number(OwnedTag(tag.id, tag.name, "", tag.created_s))) for tag in taken
        )

    return replace(
        facts,
        taken_markers=tuple(map(marker, facts.taken_markers)),
        taken_tags=tags(facts.taken_tags),
        released=tags(facts.released),
    )


def plan_undo(
    item: ItemSnapshot, facts: PlanFacts, owned: Owned
) -> tuple[ChangePlan, tuple[str, ...]]:
    """The plan that brings ``item`` back to what it was before, and a sentence for each thing that is left as it is.

    ``owned``: all that is ours on it; what people changed since must have been disowned. Put back is what was taken off,
    before what was made goes; the tag that queued the item is among the first.
    """
    if not same_making(item.created_s, facts.item_made_s):
        return ChangePlan.of(item, facts.parent), (
            f"{item.ref} is another one than the run changed: it was made since",
        )
    present = {marker.id: marker for marker in item.markers}
    new_by_people = [
        m for m in item.markers if m.id not in owned.markers and m.id not in facts.before_marker_ids
    ]
    create, in_the_way = _to_put_back(facts.taken_markers, new_by_people)
    plan = ChangePlan.of(
        item,
        facts.parent,
        add=tuple(
            _planned(tag)
            for tag in (*facts.released, *facts.taken_tags)
            if tag.id not in item.tag_ids
        ),
        create=create,
        destroy=facts.made,
        remove=tuple(_as_called(tag, item) for tag in facts.put if tag.id in item.tag_ids),
        undoes=facts.plan_id,
    )
    lost = [_lost_marker(marker, present) for marker in facts.lost_markers]
    return plan, (*lost, *in_the_way, *(_lost_tag(tag, item) for tag in facts.lost_tags))


def _to_put_back(
    taken: Iterable[OwnedMarker], new_by_people: Sequence[Marker]
) -> tuple[tuple[PlannedMarker, ...], tuple[str, ...]]:
    create, in_the_way = [], []
    for marker in taken:
        tag = PlannedTag(marker.title, marker.primary_id, marker.asked, marker.primary.made_s)
        wanted = PlannedMarker(
            tag, marker.start_s, marker.end_s, marker.tag_ids, revives=marker.row
        )
        if any(stands_for(other, wanted) for other in new_by_people):
            in_the_way.append(
                f"the marker {_named(marker)} was not put back: somebody has made one there since"
            )
        else:
            create.append(wanted)
    return tuple(create), tuple(in_the_way)


def _lost_marker(marker: OwnedMarker, present: Iterable[str]) -> str:
    if marker.id in present:
        return f"the marker {_named(marker)} stays: somebody has changed it since"
    return f"the marker {_named(marker)} is gone already: somebody has removed it since"


def _lost_tag(tag: Tag, item: Item) -> str:
    if tag.id in item.tag_ids:
        return f"the tag {_as_called(tag, item).name!r} stays: somebody took it off and put it back since"
    return (
        f"the tag {tag.name!r} is gone already: somebody took it off, deleted it or merged it since"
    )


def _planned(tag: Tag) -> PlannedTag:
    return PlannedTag(tag.name, tag.id, created_s=tag.created_s)


def _named(marker: OwnedMarker) -> str:
    return f"{marker.title!r} at {_clock(marker.start_s)}"


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def _as_called(tag: Tag, item: Item) -> Tag:
    """The tag by the name it has by now."""
    return next((own for own in item.tags if own.id == tag.id), tag)
