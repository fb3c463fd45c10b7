"""Planning the change of an item from what was found in it, what is on it, and what of that is the
plugin's. Pure.

The rules:

- Nothing is ever set, only added and removed.
- Only what the journal knows as the plugin's is removed, if it is still as the plugin left it, is
  in the present tag list, and is no longer found.
- A marker that a person made or changed stands for the event it covers: no other is put beside it.
- What a person removed or changed is not added again.
- A span that a person judged is as they judged it, also where it is found at other times. So is
  a tag of an image or a gallery.
- A tag of the plugin that a person renamed in Stash stays, under its new name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from haven.stash.changes import (
    ChangePlan,
    Judged,
    Owned,
    OwnedMarker,
    OwnedTag,
    PlannedMarker,
    PlannedTag,
    Records,
)
from haven.stash.values import ItemSnapshot, Marker, Tag, same_making, tag_key
from vlm_engine import ImageTagInfo, Span, VideoTagInfo

if TYPE_CHECKING:
    from haven.settings.settings import TagNames

TagInfo: TypeAlias = VideoTagInfo | ImageTagInfo
"""The result for a scene, an image or a gallery: tags by category, and for a scene spans."""
Stretch: TypeAlias = tuple[float, float | None]
"""Start and end in seconds. The end of a point in time is None."""
SAME_EVENT_IOU = 0.5
WHOLE = (0.0, 0.0)
"""The stretch of a judgement about an image or a gallery."""


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """Options of a plan. Without ``create_markers`` all markers of a scene stay as they are.

    ``updating``: the item is queued by the tag ``update_me`` instead of ``tag_me``.
    ``tag_list``: the name in Stash of each tag that is looked for, by its name in the tag list.
    What was made for other tags is left alone. None: the list is unknown, and everything may be
    changed.
    ``tag_ids``: the ids of tags of the list that are known by id, whatever their names were.
    ``bring_back``: add again what people took off. ``marks_run``: put the run's number into a
    custom field.
    """

    names: TagNames
    create_markers: bool = True
    updating: bool = False
    tag_list: Mapping[str, str] | None = None
    tag_ids: frozenset[str] = frozenset()
    bring_back: bool = False
    marks_run: bool = False


def content_tags(info: TagInfo) -> tuple[str, ...]:
    """Return the names of the tags for the whole item, of all categories, each once."""
    return _distinct(tag for tags in info.tags.values() for tag in tags)


def names_to_find(info: TagInfo) -> tuple[str, ...]:
    """Return every content tag that a plan may need: those of the item and those of its spans, each
    once.
    """
    return _distinct([*content_tags(info), *(span.tag for span in _spans(info))])


def plan_results(
    item: ItemSnapshot, info: TagInfo, owned: Owned, known: Mapping[str, Tag], options: PlanOptions
) -> ChangePlan:
    """Plan the change of ``item`` to ``info``.

    ``known``: the tags that Stash has, by ``tag_key``, with all control tags. Content tags not in
    it will be created.
    """
    names = options.names
    parent, tag_me, update_me, tagged, errored = (known[tag_key(name)] for name in names.all())
    queue = update_me if options.updating else tag_me
    if options.bring_back:
        owned = replace(owned, removed=Records())
    found = _Found(
        info, {**known, **renamed(item, owned)}, TagList.of(options, names_to_find(info))
    )
    wanted = _wanted_markers(found, parent)
    steering = frozenset(tag.id for tag in (tag_me, update_me, tagged, errored))
    has_spans = isinstance(info, VideoTagInfo)
    seen = wanted if has_spans else _whole_item(found)
    tags = _plan_tags(item, owned, found, steering, _judged_wrong(seen, owned))
    right = _judged_right(found, owned, parent)
    markers = _MarkerPlan()
    if options.create_markers:
        markers = _plan_markers(item, owned, found, wanted, right if has_spans else {})
    if has_spans:
        right = {marker: judged for marker, judged in right.items() if marker in markers.create}
    done = found.planned(names.tagged)
    has_done = done.id in item.tag_ids
    return ChangePlan.of(
        item,
        parent,
        add=(
            *tags.add,
            *_tags_of_right(right, item, owned, tags.add),
            *([] if has_done else [done]),
        ),
        tagged_id=tagged.id,
        create=markers.create,
        destroy=tuple(owned.markers[marker.id] for marker in markers.destroy),
        remove=tags.remove,
        release=tuple(tag for tag in (errored, queue) if tag.id in item.tag_ids),
        queue_tag_id=queue.id,
        kept=tuple(marker.id for marker in markers.kept),
        stood_tags=(
            *tags.stood,
            *([_stood(tagged, "")] if has_done and tagged.id not in owned.tags else []),
        ),
        stood_markers=markers.stood,
        brings_back=options.bring_back,
        stays_off=(*tags.stays_off, *_counted(marker.title for marker in markers.off)),
        left_alone=(*tags.left_alone, *_counted(marker.title for marker in markers.left_alone)),
    )


def plan_addition(item: ItemSnapshot, tag: Tag) -> ChangePlan:
    """Plan that ``item`` gets one tag, if it lacks it."""
    return ChangePlan.of(
        item,
        Tag("", ""),
        add=() if tag.id in item.tag_ids else (PlannedTag(tag.name, tag.id, "", tag.created_s),),
    )


def plan_release(item: ItemSnapshot, known: Mapping[str, Tag], options: PlanOptions) -> ChangePlan:
    """Plan that an image or a gallery is marked as done and leaves the queue, with its other tags
    as they are.
    """
    return plan_results(item, ImageTagInfo({}, {}), Owned(), known, options)


def plan_removal(item: ItemSnapshot, owned: Owned) -> ChangePlan:
    """Plan that everything of the plugin is removed, but for what people judged as right. What they
    changed since must have been disowned.
    """
    return ChangePlan.of(
        item,
        Tag("", ""),
        destroy=tuple(
            owned.markers[marker.id] for marker in item.markers if is_owned(marker, owned)
        ),
        remove=tuple(
            tag for tag in item.tags if tag.id in owned.tag_ids and not owned.is_supported(tag)
        ),
    )


def renamed(item: ItemSnapshot, owned: Owned) -> dict[str, Tag]:
    """Return the plugin's tags on the item that were renamed in Stash, by the ``tag_key`` of their
    former name.
    """
    written = (*owned.tags.values(), *(marker.primary for marker in owned.markers.values()))
    now = {tag.id: tag for tag in (*(marker.primary for marker in item.markers), *item.tags)}
    present = ((tag_key(tag.name), now[tag.id]) for tag in written if tag.name and tag.id in now)
    return {key: tag for key, tag in present if tag_key(tag.name) != key}


def is_owned(marker: Marker, owned: Owned) -> bool:
    """Return True if the plugin made this marker and nobody has changed it since."""
    record = owned.markers.get(marker.id)
    return record is not None and record.is_untouched(marker)


def stands_for(marker: Marker, wanted: PlannedMarker) -> bool:
    """Return True if ``marker`` marks the event that ``wanted`` would mark: the same tag, at about
    the same time.
    """
    if not wanted.tag.is_tag(marker.primary):
        return False
    end_s = wanted.start_s if wanted.end_s is None else wanted.end_s
    if marker.end_s is None or marker.end_s <= marker.start_s:
        return wanted.start_s - POINT_SLACK_S <= marker.start_s <= end_s + POINT_SLACK_S
    return _iou(marker.start_s, marker.end_s, wanted.start_s, end_s) >= SAME_EVENT_IOU


@dataclass(frozen=True, slots=True)
class _Found:
    """A result, in Stash's names."""

    info: TagInfo
    known: Mapping[str, Tag]
    looked_for: TagList

    def planned(self, name: str) -> PlannedTag:
        """Return ``name`` as the user writes it, with the tag in Stash of that name, if there is
        one.
        """
        tag = self.known.get(tag_key(name), Tag("", name))
        asked = self.looked_for.asked.get(tag_key(name), "")
        return PlannedTag(name.strip(), tag.id, asked, tag.created_s)


@dataclass(frozen=True, slots=True)
class _TagPlan:
    """The tag part of a plan. ``stood``: tags that were found and a person has put there. Names
    otherwise.
    """

    add: tuple[PlannedTag, ...]
    remove: tuple[Tag, ...]
    stood: tuple[OwnedTag, ...]
    stays_off: tuple[str, ...]
    left_alone: tuple[str, ...]


def _plan_tags(
    item: ItemSnapshot,
    owned: Owned,
    found: _Found,
    steering: frozenset[str],
    wrong: frozenset[str],
) -> _TagPlan:
    """``wrong``: the identities of the tags of which every span was judged as wrong."""
    found_tags = _unique_tags(map(found.planned, content_tags(found.info)))
    wanted = [tag for tag in found_tags if _identity(tag) not in wrong]
    lacking = [tag for tag in found_tags if tag.id not in item.tag_ids]
    off = [
        tag
        for tag in lacking
        if tag not in wanted or any(is_same(one, tag) for one in owned.removed.tags)
    ]
    asked = {tag.id: tag.asked for tag in wanted}
    obsolete = [
        tag
        for tag in item.tags
        if tag.id in owned.tag_ids - steering
        and tag.id not in asked
        and not owned.is_supported(tag)
    ]
    remove = tuple(
        tag for tag in obsolete if found.looked_for.concerns(owned.tags[tag.id], tag.name)
    )
    return _TagPlan(
        tuple(tag for tag in lacking if tag not in off),
        remove,
        tuple(
            _stood(tag, asked[tag.id])
            for tag in item.tags
            if tag.id in asked and tag.id not in owned.tags
        ),
        tuple(tag.name for tag in off),
        tuple(tag.name for tag in obsolete if tag not in remove),
    )


@dataclass(frozen=True, slots=True)
class _MarkerPlan:
    """The marker part of a plan. ``stood``: people's markers that stand for what was found.
    ``off``: what stays off.
    """

    create: tuple[PlannedMarker, ...] = ()
    kept: tuple[Marker, ...] = ()
    destroy: tuple[Marker, ...] = ()
    stood: tuple[OwnedMarker, ...] = ()
    off: tuple[PlannedMarker, ...] = ()
    left_alone: tuple[Marker, ...] = ()


def _judged_right(found: _Found, owned: Owned, parent: Tag) -> dict[PlannedMarker, Judged]:
    """Return the markers of what people judged as right: that is there, whatever is found. Only of
    tags that are looked for.
    """
    right: dict[PlannedMarker, Judged] = {}
    for judged in owned.judged:
        tag = found.planned(judged.latest.tag.name)
        if judged.is_wrong or not found.looked_for.concerns(judged.latest.tag):
            continue
        beside = () if tag.id == parent.id else (parent.id,)
        right[PlannedMarker(tag, *judged.latest.stretches[-1], beside)] = judged
    return right


def _tags_of_right(
    right: Mapping[PlannedMarker, Judged],
    item: ItemSnapshot,
    owned: Owned,
    added: Iterable[PlannedTag],
) -> Iterable[PlannedTag]:
    """Yield the tags that the item lacks, though people judged them as right, and did not take
    them off.
    """
    known = {_identity(tag) for tag in added}
    for tag in _unique_tags(marker.tag for marker in right):
        is_off = any(is_same(one, tag) for one in owned.removed.tags)
        is_there = any(tag.is_tag(one) for one in item.tags)
        if not is_off and not is_there and _identity(tag) not in known:
            yield tag


def _plan_markers(
    item: ItemSnapshot,
    owned: Owned,
    found: _Found,
    all_wanted: Iterable[PlannedMarker],
    right: Mapping[PlannedMarker, Judged],
) -> _MarkerPlan:
    """Decide which markers to create, to keep in their place, and to destroy."""
    obsolete = [marker for marker in item.markers if is_owned(marker, owned)]
    of_persons = [marker for marker in item.markers if not is_owned(marker, owned)]
    create: list[PlannedMarker] = []
    off: list[PlannedMarker] = []
    judged_right: list[PlannedMarker] = []
    kept: list[Marker] = []
    stood: dict[str, OwnedMarker] = {}
    for wanted in all_wanted:
        same = next((marker for marker in obsolete if wanted.is_written_as(marker)), None)
        if same:
            obsolete.remove(same)
            kept.append(same)
        elif stand_in := next(
            (marker for marker in of_persons if stands_for(marker, wanted)), None
        ):
            kept.append(stand_in)
            stood[stand_in.id] = OwnedMarker.of(stand_in, asked=wanted.tag.asked, is_owned=False)
        elif judged := _judged(wanted, owned):
            (off if judged.is_wrong else judged_right).append(wanted)
        else:
            removed = any(_is_same_event(one, wanted) for one in owned.removed.markers)
            (off if removed else create).append(wanted)
    for wanted, judged in right.items():
        here = [
            marker
            for marker in item.markers
            if wanted.tag.is_tag(marker.primary)
            and any(overlap((marker.start_s, marker.end_s), one) for one in judged.stretches)
        ]
        kept += [marker for marker in here if marker in obsolete]
        if not here and not any(_is_same_event(one, wanted) for one in owned.removed.markers):
            create.append(wanted)
    left = [
        marker
        for marker in obsolete
        if not found.looked_for.concerns(owned.markers[marker.id].primary, marker.primary.name)
    ]
    # If a part of an event stays off, or as it was judged, the markers that a person left of it
    # cover the rest.
    kept += [
        marker
        for marker in obsolete
        if marker not in left
        and any(
            _is_same_event(owned.markers[marker.id], wanted) for wanted in (*off, *judged_right)
        )
    ]
    destroy = tuple(marker for marker in obsolete if marker not in left and marker not in kept)
    return _MarkerPlan(
        tuple(create),
        tuple(dict.fromkeys(kept)),
        destroy,
        tuple(stood.values()),
        tuple(off),
        tuple(left),
    )


def _wanted_markers(found: _Found, parent: Tag) -> tuple[PlannedMarker, ...]:
    """Return one marker for each span, in order of time. Equal spans of two categories, or of two
    names of a tag, count once.
    """
    distinct: dict[tuple[str, float, float], PlannedMarker] = {}
    for span in _spans(found.info):
        tag, start_s, end_s = found.planned(span.tag), round(span.start_s, 3), round(span.end_s, 3)
        beside = () if tag.id == parent.id else (parent.id,)
        distinct.setdefault(
            (_identity(tag), start_s, end_s), PlannedMarker(tag, start_s, end_s, beside)
        )
    return tuple(
        marker
        for _, marker in sorted(distinct.items(), key=lambda item: (item[0][1:], item[1].title))
    )


def _whole_item(found: _Found) -> tuple[PlannedMarker, ...]:
    """Return the tags of an item without spans, as judgements about it have them."""
    return tuple(
        PlannedMarker(found.planned(name), WHOLE[0], WHOLE[1]) for name in content_tags(found.info)
    )


def _stood(tag: Tag, asked: str) -> OwnedTag:
    return OwnedTag(tag.id, tag.name, asked, tag.created_s, is_owned=False)


def _counted(titles: Iterable[str]) -> tuple[str, ...]:
    """Return ``1 marker Foul``, ``2 markers Goal``."""
    return tuple(
        f"{count} marker{'' if count == 1 else 's'} {title}"
        for title, count in Counter(titles).items()
    )


def _iou(start: float, end: float, other_start: float, other_end: float) -> float:
    """Return intersection over union of two stretches of time, the first longer than zero."""
    shared = max(0.0, min(end, other_end) - max(start, other_start))
    return shared / (max(end, other_end) - min(start, other_start))


def _spans(info: TagInfo) -> Iterable[Span]:
    if isinstance(info, ImageTagInfo):
        return ()
    return (span for by_tag in info.spans.values() for spans in by_tag.values() for span in spans)


def _unique_tags(tags: Iterable[PlannedTag]) -> tuple[PlannedTag, ...]:
    """Return the tags without repetitions: a tag's name and its alias count once."""
    return tuple({_identity(tag): tag for tag in reversed(tuple(tags))}.values())[::-1]


def _identity(tag: PlannedTag) -> str:
    return tag.id or f"new {tag_key(tag.name)}"


def _distinct(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names without repetitions and surrounding blanks; the first spelling wins."""
    return tuple({tag_key(name): name.strip() for name in reversed(tuple(names))}.values())[::-1]


@dataclass(frozen=True, slots=True)
class TagList:
    """The tags of the user's list. ``asked``: the name in the list, by the ``tag_key`` of the name
    in Stash.

    ``concerned``: the ``tag_key`` of every name of the list's tags, in the list and in Stash. None:
    the list is unknown and concerns everything. ``ids``: those of its tags that are known by id.
    """

    asked: Mapping[str, str]
    concerned: frozenset[str] | None = None
    ids: frozenset[str] = frozenset()

    @staticmethod
    def of(options: PlanOptions, found: Iterable[str] = ()) -> TagList:
        """Return the list of a plan. ``found``: names of what was found, which is concerned in any
        case.
        """
        names_in_stash = options.tag_list
        if names_in_stash is None:
            return TagList({})
        asked = {tag_key(name): tag for tag, name in reversed(tuple(names_in_stash.items()))}
        names = (*names_in_stash, *names_in_stash.values(), *found)
        return TagList(asked, frozenset(map(tag_key, names)), options.tag_ids)

    def concerns(self, tag: OwnedTag, name: str = "") -> bool:
        """Return True if this list may change what the plugin made for a tag. ``name``: its name in
        Stash by now.

        A tag is recognised by its name in the list of that time, so that a tag which ``RenamedTag``
        renames keeps nothing under its former name.
        """
        if self.concerned is None or tag.id in self.ids:
            return True
        if tag.asked:
            return tag_key(tag.asked) in self.concerned or tag_key(tag.name) in self.asked
        return any(tag_key(known) in self.concerned for known in (tag.name, name) if known)


POINT_SLACK_S = 1.0


def _is_same_event(marker: OwnedMarker, wanted: PlannedMarker) -> bool:
    """Return True if both have the same tag and overlap in time. A point in time extends to both
    sides.
    """
    return overlap((marker.start_s, marker.end_s), (wanted.start_s, wanted.end_s)) and is_same(
        marker.primary, wanted.tag
    )


def judged_as(tag: PlannedTag, stretch: Stretch, owned: Owned) -> Judged | None:
    """Return the judgement that covers a stretch of a tag: of several the latest."""
    return next(
        (
            judged
            for judged in owned.judged
            if any(overlap(one, stretch) for one in judged.stretches)
            and is_same(judged.latest.tag, tag)
        ),
        None,
    )


def _judged(wanted: PlannedMarker, owned: Owned) -> Judged | None:
    return judged_as(wanted.tag, (wanted.start_s, wanted.end_s), owned)


def _judged_wrong(wanted: Iterable[PlannedMarker], owned: Owned) -> frozenset[str]:
    """Return the identities of the tags of which every span was judged as wrong."""
    is_wrong: dict[str, bool] = {}
    for marker in wanted if owned.judged else ():
        judged, tag = _judged(marker, owned), _identity(marker.tag)
        is_wrong[tag] = is_wrong.get(tag, True) and judged is not None and judged.is_wrong
    return frozenset(tag for tag, every in is_wrong.items() if every)


def is_same(tag: OwnedTag, wanted: PlannedTag) -> bool:
    """Return True if both are one tag.

    Compares the tag in Stash, whatever its name is now; its name, if it was deleted and made again;
    and its name in the tag list, if the settings give it another name in Stash.
    """
    if wanted.id and tag.id == wanted.id and same_making(tag.made_s, wanted.created_s):
        return True
    named = bool(tag.name) and tag_key(tag.name) == tag_key(wanted.name)
    return named or (bool(tag.asked) and tag_key(tag.asked) == tag_key(wanted.asked))


def overlap(one: Stretch, other: Stretch) -> bool:
    """Return True if two stretches of time share some."""
    (start_s, end_s), (other_start_s, other_end_s) = widened(one), widened(other)
    return max(start_s, other_start_s) < min(end_s, other_end_s)


def widened(stretch: Stretch) -> tuple[float, float]:
    """Return a stretch of time. A point in time extends to both sides."""
    start_s, end_s = stretch
    if end_s is None or end_s <= start_s:
        return start_s - POINT_SLACK_S, start_s + POINT_SLACK_S
    return start_s, end_s
