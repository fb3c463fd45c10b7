"""Undoing one plan exactly, except for what people have changed since: the plan that does so.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from haven.stash.changes import ChangePlan, Owned, OwnedMarker, OwnedTag, PlannedMarker, PlannedTag
from haven.stash.journal import PlanFacts
from haven.stash.plan import is_owned, judged_as, stands_for
from haven.stash.values import ItemSnapshot, Marker, Tag, same_making


def with_current_ids(facts: PlanFacts, tags: Mapping[str, Tag]) -> PlanFacts:
    """Return ``facts`` without the ids of tags to put back that are another tag's by now, or
    nobody's.

    Such a tag is then found by its name. ``tags``: the tags of Stash, by id.
    """

    def current_id(tag: OwnedTag) -> str:
        return tag.id if tag.id in tags and tag.is_tag(tags[tag.id]) else ""

    def current_tags(taken: Iterable[Tag]) -> tuple[Tag, ...]:
        return tuple(
            replace(tag, id=current_id(OwnedTag(tag.id, tag.name, "", tag.created_s)))
            for tag in taken
        )

    def current_marker(marker: OwnedMarker) -> OwnedMarker:
        others = {tag.id: tag.made_s for tag in marker.tags if current_id(tag)}
        return replace(
            marker,
            primary_id=current_id(marker.primary),
            tag_ids=tuple(others),
            tags_made_s=(marker.primary.made_s, *others.values()),
        )

    return replace(
        facts,
        taken_markers=tuple(map(current_marker, facts.taken_markers)),
        taken_tags=current_tags(facts.taken_tags),
        released=current_tags(facts.released),
    )


def without_changed(facts: PlanFacts, item: ItemSnapshot, owned: Owned) -> PlanFacts:
    """Return ``facts`` where what people changed since is lost, which the journal notes at the next
    change only.
    """
    made = [marker.id for marker in item.markers if is_owned(marker, owned)]
    put = [tag.id for tag in facts.put if tag.id in owned.tags]
    return replace(
        facts,
        made=tuple(one for one in facts.made if one.id in made),
        lost_markers=(*facts.lost_markers, *(one for one in facts.made if one.id not in made)),
        put=tuple(tag for tag in facts.put if tag.id in put),
        lost_tags=(*facts.lost_tags, *(tag for tag in facts.put if tag.id not in put)),
    )


def plan_undo(
    item: ItemSnapshot, facts: PlanFacts, owned: Owned
) -> tuple[ChangePlan, tuple[str, ...]]:
    """Return the plan that brings ``item`` back to what it was, and a sentence for each thing that
    stays as it is.

    ``owned``: all that is the plugin's on it; what people changed since must have been disowned.
    What people judged stays as they judged it. What was removed is put back before what was made
    goes; the tag that queues the item is among the first.
    """
    if not same_making(item.created_s, facts.item_made_s):
        return ChangePlan.of(item, facts.parent), (
            f"{item.ref} is another one than the run changed: it was made since",
        )
    present = {marker.id for marker in item.markers}
    new_by_people = [
        marker
        for marker in item.markers
        if marker.id not in owned.markers and marker.id not in facts.before_marker_ids
    ]
    create, in_the_way = _to_put_back(facts.taken_markers, new_by_people, owned)
    current = {tag.id: tag for tag in item.tags}
    plan = ChangePlan.of(
        item,
        facts.parent,
        add=tuple(
            PlannedTag(tag.name, tag.id, created_s=tag.created_s)
            for tag in (*facts.released, *facts.taken_tags)
            if tag.id not in current
        ),
        create=create,
        destroy=facts.made,
        remove=tuple(
            current[tag.id]
            for tag in facts.put
            if tag.id in current
            and same_making(tag.created_s, current[tag.id].created_s)
            and not owned.is_supported(current[tag.id])
        ),
        undoes=facts.plan_id,
    )
    if facts.run_mark is not None and item.run_mark == facts.run_mark:  # else it is a person's
        plan = replace(plan, run_mark=facts.run_mark_before, run_mark_before=facts.run_mark)
    lost = [_lost_marker(marker, present) for marker in facts.lost_markers]
    return plan, (*lost, *in_the_way, *(_lost_tag(tag, item) for tag in facts.lost_tags))


def _to_put_back(
    taken: Iterable[OwnedMarker], new_by_people: Sequence[Marker], owned: Owned
) -> tuple[tuple[PlannedMarker, ...], tuple[str, ...]]:
    create, in_the_way = [], []
    for marker in taken:
        primary = marker.primary
        tag = PlannedTag(primary.name or marker.title, primary.id, marker.asked, primary.made_s)
        wanted = PlannedMarker(
            tag,
            marker.start_s,
            marker.end_s,
            marker.tag_ids,
            revives=marker.row,
            own_title=marker.title,
        )
        if not (primary.id or primary.name):
            in_the_way.append(
                f"the marker {_named(marker)} was not put back: its tag is no longer in Stash"
            )
        elif any(stands_for(other, wanted) for other in new_by_people):
            in_the_way.append(
                f"the marker {_named(marker)} was not put back: somebody has made one there since"
            )
        elif judged_as(tag, (marker.start_s, marker.end_s), owned):
            in_the_way.append(
                f"the marker {_named(marker)} was not put back: somebody judged what is there"
            )
        else:
            create.append(wanted)
    return tuple(create), tuple(in_the_way)


def _lost_marker(marker: OwnedMarker, present: Iterable[str]) -> str:
    if marker.id in present:
        return f"the marker {_named(marker)} stays: somebody has changed it since"
    return f"the marker {_named(marker)} is gone already: somebody has removed it since"


def _lost_tag(tag: Tag, item: ItemSnapshot) -> str:
    current = next((other for other in item.tags if other.id == tag.id), None)
    if current:
        return f"the tag {current.name!r} stays: somebody took it off and put it back since"
    return (
        f"the tag {tag.name!r} is gone already: somebody took it off, deleted it or merged it since"
    )


def _named(marker: OwnedMarker) -> str:
    seconds = int(marker.start_s)
    clock = f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{marker.title!r} at {clock}"
