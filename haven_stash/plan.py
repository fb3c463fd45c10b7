"""What an item needs, given what was found in it, what is on it, and what of that is ours. Pure.

The rules: nothing is ever set, only added and removed. Removed is only what the journal says is ours,
while it is still as we left it, once it is no longer found. A marker a person made, or changed, stands
for the event it covers: none is put beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from haven_stash.changes import ChangePlan, Ours, PlannedMarker, PlannedTag
from haven_stash.values import Item, Marker, Tag, tag_key
from haven_vlm_config import TagNames
from vlm_engine.types import ImageTagInfo, Span, VideoTagInfo

TagInfo: TypeAlias = VideoTagInfo | ImageTagInfo
"""What was found in a scene, an image or a gallery: tags by category, and for a scene spans."""
SAME_EVENT_IOU = 0.5
POINT_SLACK_S = 1.0


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """How to plan. Without ``create_markers`` the markers of a scene are left as they are, ours included.

    ``updating``: the item is in line by the tag ``update_me``, not by ``tag_me``. Without ``release`` it stays in line, and
    is not said to be done.
    """

    names: TagNames
    create_markers: bool = True
    updating: bool = False
    release: bool = True


def control_names(names: TagNames) -> tuple[str, ...]:
    """The tags that must exist whatever is found: the parent of all others, then those that steer and report."""
    return names.all()


def content_tags(info: TagInfo) -> tuple[str, ...]:
    """The names of the tags the whole item gets, of all categories, each once."""
    return _distinct(tag for tags in info.tags.values() for tag in tags)


def names_to_find(info: TagInfo) -> tuple[str, ...]:
    """Every content tag a plan may speak of: those of the item and those of its spans, each once."""
    return _distinct([*content_tags(info), *(span.tag for span in _spans(info))])


def plan_results(item: Item, info: TagInfo, ours: Ours, known: Mapping[str, Tag], options: PlanOptions) -> ChangePlan:
    """Plans the change of ``item`` to what ``info`` says.

    ``known``: the tags that Stash has, by ``tag_key``; it must hold all control tags. Content tags that
    are not in it are planned to be created.
    """
    names = options.names
    parent, tag_me, update_me, tagged, errored = (known[tag_key(name)] for name in control_names(names))
    queue = update_me if options.updating else tag_me
    wanted = _unique_tags(
        _planned_tag(name, known) for name in (*content_tags(info), *([names.tagged] if options.release else []))
    )
    staying = {tag.id for tag in wanted} | {tag.id for tag in (tag_me, update_me, tagged, errored)}
    markers = _plan_markers(item, ours, _wanted_markers(info, known, parent)) if options.create_markers else _MarkerPlan()
    return ChangePlan.of(
        item,
        parent,
        add=tuple(tag for tag in wanted if tag.id not in item.tag_ids),
        tagged_id=tagged.id,
        create=markers.create,
        destroy=tuple(ours.markers[marker.id] for marker in markers.destroy),
        remove=tuple(tag for tag in item.tags if tag.id in ours.tag_ids - staying),
        release=tuple(tag for tag in (errored, queue) if options.release and tag.id in item.tag_ids),
        queue_tag_id=queue.id,
        kept=tuple(marker.id for marker in markers.kept),
    )


def plan_addition(item: Item, tag: Tag) -> ChangePlan:
    """Plans that ``item`` gets one tag, if it lacks it."""
    return ChangePlan.of(item, Tag("", ""), add=() if tag.id in item.tag_ids else (PlannedTag(tag.name, tag.id),))


def plan_release(item: Item, known: Mapping[str, Tag], options: PlanOptions) -> ChangePlan:
    """Plans that ``item`` is said to be done and leaves the line, and that its other tags stay as they are.

    For an image or a gallery: of a scene the markers would go.
    """
    return plan_results(item, ImageTagInfo({}, {}), Ours({}, frozenset()), known, options)


def plan_removal(item: Item, ours: Ours) -> ChangePlan:
    """Plans that everything goes that is ours. What people changed since must have been disowned."""
    return ChangePlan.of(
        item,
        Tag("", ""),
        destroy=tuple(ours.markers[marker.id] for marker in item.markers if is_ours(marker, ours)),
        remove=tuple(tag for tag in item.tags if tag.id in ours.tag_ids),
    )


def is_ours(marker: Marker, ours: Ours) -> bool:
    """Whether the plugin made this marker and nobody has changed it since."""
    record = ours.markers.get(marker.id)
    return record is not None and record.is_untouched(marker)


def stands_for(marker: Marker, wanted: PlannedMarker) -> bool:
    """Whether ``marker`` marks the event that ``wanted`` would mark: the same tag, at about the same time."""
    if not wanted.tag.is_tag(marker.primary):
        return False
    end_s = wanted.start_s if wanted.end_s is None else wanted.end_s
    if marker.end_s is None or marker.end_s <= marker.start_s:
        return wanted.start_s - POINT_SLACK_S <= marker.start_s <= end_s + POINT_SLACK_S
    return _iou(marker.start_s, marker.end_s, wanted.start_s, end_s) >= SAME_EVENT_IOU


@dataclass(frozen=True, slots=True)
class _MarkerPlan:
    create: tuple[PlannedMarker, ...] = ()
    kept: tuple[Marker, ...] = ()
    destroy: tuple[Marker, ...] = ()


def _plan_markers(item: Item, ours: Ours, wanted_markers: Iterable[PlannedMarker]) -> _MarkerPlan:
    """What to create, what is kept in its stead, and what of ours is no longer wanted."""
    obsolete = [marker for marker in item.markers if is_ours(marker, ours)]
    of_persons = [marker for marker in item.markers if not is_ours(marker, ours)]
    create: list[PlannedMarker] = []
    kept: list[Marker] = []
    for wanted in wanted_markers:
        same = next((marker for marker in obsolete if wanted.is_written_as(marker)), None)
        if same:
            obsolete.remove(same)
            kept.append(same)
        elif stand_in := next((marker for marker in of_persons if stands_for(marker, wanted)), None):
            kept.append(stand_in)
        else:
            create.append(wanted)
    return _MarkerPlan(tuple(create), tuple(dict.fromkeys(kept)), tuple(obsolete))


def _wanted_markers(info: TagInfo, known: Mapping[str, Tag], parent: Tag) -> tuple[PlannedMarker, ...]:
    """One marker for each span, in the order of time; the same span of two categories, or two names of a tag, counts once."""
    distinct: dict[tuple[str, float, float], PlannedMarker] = {}
    for span in _spans(info):
        tag, start_s, end_s = _planned_tag(span.tag, known), round(span.start_s, 3), round(span.end_s, 3)
        beside = () if tag.id == parent.id else (parent.id,)
        distinct.setdefault((_identity(tag), start_s, end_s), PlannedMarker(tag, start_s, end_s, beside))
    return tuple(marker for _, marker in sorted(distinct.items(), key=lambda item: (item[0][1:], item[1].title)))


def _iou(start: float, end: float, other_start: float, other_end: float) -> float:
    """Intersection over union of two stretches of time, the first longer than zero."""
    shared = max(0.0, min(end, other_end) - max(start, other_start))
    return shared / (max(end, other_end) - min(start, other_start))


def _spans(info: TagInfo) -> Iterable[Span]:
    if isinstance(info, ImageTagInfo):
        return ()
    return (span for by_tag in info.spans.values() for spans in by_tag.values() for span in spans)


def _planned_tag(name: str, known: Mapping[str, Tag]) -> PlannedTag:
    """``name`` as the user writes it, with the id of the tag in Stash that goes by it, if there is one."""
    tag = known.get(tag_key(name))
    return PlannedTag(name.strip(), tag.id if tag else "")


def _unique_tags(tags: Iterable[PlannedTag]) -> tuple[PlannedTag, ...]:
    """Two names of one tag (its name and an alias of it) count once."""
    return tuple({_identity(tag): tag for tag in reversed(tuple(tags))}.values())[::-1]


def _identity(tag: PlannedTag) -> str:
    return tag.id or f"new {tag_key(tag.name)}"


def _distinct(names: Iterable[str]) -> tuple[str, ...]:
    """Without repetitions and blanks around them; the first spelling wins."""
    return tuple({tag_key(name): name.strip() for name in reversed(tuple(names))}.values())[::-1]
