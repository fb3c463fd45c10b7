"""Carrying out change plans, in an order that can be cut off anywhere without losing or doubling anything.

Missing tags and new markers are created; tags are added; only then what is obsolete goes: markers, tags, and with the very
last request the tag that queues the item. When any step of a plan failed, nothing is taken away for it, and its item stays
queued. Plans for many items are carried out together: those that add or remove the same share their requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from haven.items import ItemKind
from haven.stash.changes import ChangePlan, PlannedMarker, PlannedTag
from haven.stash.errors import (
    ApplyError,
    ItemGoneError,
    StashError,
    StashLockedError,
    StashQueryError,
)
from haven.stash.journal import Journal, OpenPlan
from haven.stash.journal.journal import ADDING, TAKING_OFF
from haven.stash.markers import PlanMarkers
from haven.stash.reading import read_items
from haven.stash.recover import (
    Adopted,
    adopt,
    disown_what_changed,
    left_to_create,
    note_what_went,
    taken_off_since,
)
from haven.stash.tags import Batch, Failures, PlanTags, TagCache, Tagging, batches
from haven.stash.transport import StashClient
from haven.stash.values import Tag, same_making, tag_key

_ADD, _REMOVE = "ADD", "REMOVE"
_TagsOf: TypeAlias = "Callable[[_Work], dict[str, Tag]]"
_STEPS: Mapping[str, str] = {_ADD: "add tags", _REMOVE: "remove tags"}


@dataclass(slots=True, eq=False)
class _Work:
    """One plan, and how far it is. ``there``: the tags that its item is known to have; ``taken_off``: those that the plan had put
    there and a person took off; ``adopted``: see ``carry_on``."""

    opened: OpenPlan
    there: frozenset[str]
    to_create: tuple[PlannedMarker, ...] = ()
    taken_off: tuple[PlannedTag, ...] = ()
    adopted: Adopted = field(default_factory=lambda: Adopted((), ()))
    causes: list[StashError] = field(default_factory=list)
    is_gone: bool = False

    @property
    def plan(self) -> ChangePlan:
        return self.opened.plan


class Writing:
    """Open plans, each for another item of one kind, on their way into Stash. What goes wrong with one stops no other.

    ``carry_out`` and ``carry_on`` close the plans and return what became of those that did not get through, by the plans'
    numbers: an ``ItemGoneError``, or an ``ApplyError`` with every cause. The errors of the connection pass through them, and
    the plans stay open.
    """

    def __init__(
        self,
        client: StashClient,
        tags: TagCache,
        tagging: Tagging,
        journal: Journal,
        opened: Sequence[OpenPlan],
    ) -> None:
        self._client = client
        self._tagging = tagging
        self._tags = PlanTags(tags, journal)
        self._journal = journal
        self._works = [
            _Work(one, frozenset(one.plan.before_tag_ids), one.plan.create) for one in opened
        ]
        self._keeps_line = False
        self._kind = opened[0].plan.item.kind if opened else ItemKind.SCENE

    def carry_out(self) -> dict[int, StashError]:
        """All of plans that were just opened."""
        self._create_tags(lambda tag: not tag.id)
        return self._finish()

    def carry_on(self) -> dict[int, Adopted | StashError]:
        """The rest of plans that were left behind. Returns for those done what had been written without being noted.

        Their items stay in line: the settings may have changed since, often because of what was seen of the results.
        """
        self._keeps_line = True
        self._take_stock()
        self._create_tags(lambda tag: not self._tags.id(tag))
        errors = self._finish()
        return {work.opened.id: errors.get(work.opened.id, work.adopted) for work in self._works}

    def _take_stock(self) -> None:
        items = read_items(self._client, [work.plan.item for work in self._works])
        self._tags.find_made([work.opened for work in self._works])
        with self._journal.together():
            for work in self._works:
                item = items.get(work.plan.item)
                if item is None or not same_making(
                    item.created_s, work.opened.item_made_s
                ):  # another one by now
                    work.is_gone = True
                    continue
                work.adopted = adopt(self._journal, work.opened, item, work.plan.create)
                note_what_went(self._journal, work.opened, item)
                disown_what_changed(self._journal, item)
                work.to_create = left_to_create(self._journal, work.opened, item)
                work.taken_off = taken_off_since(self._journal, work.opened)
                work.there = item.tag_ids

    def _finish(self) -> dict[int, StashError]:
        self._create_markers()
        self._add_tags([work for work in self._left() if self._tags_to_add(work)])
        self._take_off([work for work in self._left() if not work.causes])
        self._look_at_failed()
        return self._close()

    def _left(self) -> list[_Work]:
        return [work for work in self._works if not work.is_gone]

    def _create_tags(self, lacks: Callable[[PlannedTag], bool]) -> None:
        wanted = [
            (work.opened, tag) for work in self._left() for tag in work.plan.tags if lacks(tag)
        ]
        self._blame(self._left(), self._tags.create(wanted))

    def _blame(self, works: Iterable[_Work], failures: Failures) -> None:
        """Tags that could not be made fail every plan that wants them."""
        if not failures:
            return
        with self._journal.together():
            for work in works:
                for key in {tag_key(tag.name): None for tag in work.plan.tags}:
                    if key in failures:
                        self._fail(work, "create tags", failures[key])

    def _create_markers(self) -> None:
        for work in self._left():
            if not work.to_create:
                continue
            try:
                for error in self._markers(work).create(work.to_create):
                    self._fail(work, "create markers", error)
            except ItemGoneError:
                work.is_gone = True

    def _add_tags(self, works: Sequence[_Work]) -> None:
        with self._journal.together():
            for work in works:
                self._journal.note(work.opened, ADDING, "begun")
        self._change_tags(_ADD, works, self._tags_to_add)

    def _take_off(self, works: Sequence[_Work]) -> None:
        """What goes, goes last. That it is about to is written down first."""
        taking = [
            work for work in works if work.plan.destroy or work.plan.remove or work.plan.release
        ]
        if not taking:
            return
        with self._journal.together():
            for work in taking:
                self._journal.note(work.opened, TAKING_OFF, "begun")
        for work in taking:
            try:
                self._markers(work).destroy()
            except ItemGoneError:
                work.is_gone = True
            except StashQueryError as error:
                self._fail(work, "destroy markers", error)
        self._change_tags(
            _REMOVE,
            [work for work in taking if not (work.causes or work.is_gone)],
            self._tags_to_remove,
        )

    def _tags_to_add(self, work: _Work) -> dict[str, Tag]:
        """By their ids. The tag that says that all went well is not among them when it did not."""
        tags = [tag for tag in work.plan.add if not (work.causes and tag.id == work.plan.tagged_id)]
        by_id = {
            self._tags.id(tag): self._tags.tag(tag) for tag in tags if tag not in work.taken_off
        }
        return {tag_id: tag for tag_id, tag in by_id.items() if tag_id and tag_id not in work.there}

    def _tags_to_remove(self, work: _Work) -> dict[str, Tag]:
        leaving = [
            tag
            for tag in work.plan.release
            if not (self._keeps_line and tag.id == work.plan.queue_tag_id)
        ]
        return {tag.id: tag for tag in (*work.plan.remove, *leaving) if tag.id in work.there}

    def _change_tags(self, mode: str, works: Sequence[_Work], tags_of: _TagsOf) -> None:
        """Adds or removes tags. What Stash refuses is tried again, once it is known what has vanished meanwhile."""
        refused = self._send(mode, works, tags_of, halving=False)
        self._fail_each(
            _STEPS[mode],
            {work: error for work, error in refused.items() if isinstance(error, StashLockedError)},
        )
        again = [work for work, error in refused.items() if not isinstance(error, StashLockedError)]
        if again:
            again = self._see_what_vanished(mode, again)
            self._fail_each(_STEPS[mode], self._send(mode, again, tags_of, halving=True))

    def _send(
        self, mode: str, works: Iterable[_Work], tags_of: _TagsOf, *, halving: bool
    ) -> dict[_Work, StashQueryError]:
        """Returns what was refused. Such an item is left out of the requests that follow, of which the last says it is done."""
        by_id = {work.plan.item.id: work for work in works}
        tags = {one: tags_of(work) for one, work in by_id.items()}
        refused: dict[_Work, StashQueryError] = {}
        for batch in batches(tags, _last(mode, by_id.values())):
            ids = tuple(one for one in batch.ids if by_id[one] not in refused)
            if not ids:
                continue
            for sent, error in self._tagging.change(
                self._kind, mode, replace(batch, ids=ids), halving=halving
            ):
                if error:
                    refused |= {by_id[one]: error for one in sent.ids}
                else:
                    self._note_tags(
                        mode, {by_id[one]: _sent_of(tags[one], sent) for one in sent.ids}
                    )
        return refused

    def _see_what_vanished(self, mode: str, works: Sequence[_Work]) -> list[_Work]:
        """Stash refuses all of a request when an item or a tag in it is gone. Returns those that are still there."""
        items = read_items(self._client, [work.plan.item for work in works])
        for work in works:
            work.is_gone = work.plan.item not in items
        left = [work for work in works if not work.is_gone]
        if mode == _ADD:
            self._blame(
                left,
                self._tags.look_up_again(
                    (work.opened, tag) for work in left for tag in work.plan.add
                ),
            )
        return left

    def _note_tags(self, mode: str, changed: Mapping[_Work, Sequence[Tag]]) -> None:
        with self._journal.together():
            for work, tags in changed.items():
                ids = {tag.id for tag in tags}
                if mode == _ADD:
                    self._journal.tags_added(work.opened, tags)
                    work.there |= ids
                else:
                    self._journal.tags_taken_off(work.opened, tags)
                    work.there -= ids

    def _fail(self, work: _Work, step: str, error: StashError) -> None:
        work.causes.append(error)
        self._journal.note(work.opened, step, str(error))

    def _fail_each(self, step: str, errors: Mapping[_Work, StashError]) -> None:
        with self._journal.together():
            for work, error in errors.items():
                self._fail(work, step, error)

    def _look_at_failed(self) -> None:
        """Lets the journal know what is in Stash of the plans that did not get through."""
        failed = [work for work in self._left() if work.causes]
        items = read_items(self._client, [work.plan.item for work in failed])
        with self._journal.together():
            for work in failed:
                item = items.get(work.plan.item)
                if item is None:
                    work.is_gone = True
                    continue
                adopt(self._journal, work.opened, item, work.plan.create)
                note_what_went(self._journal, work.opened, item)
                disown_what_changed(self._journal, item)

    def _close(self) -> dict[int, StashError]:
        errors: dict[int, StashError] = {}
        with self._journal.together():
            for work in self._works:
                if work.is_gone:
                    errors[work.opened.id] = ItemGoneError(work.plan.item)
                elif work.causes:
                    errors[work.opened.id] = _not_applied(work)
                self._journal.close_plan(
                    work.opened, "gone" if work.is_gone else "failed" if work.causes else "done"
                )
        return errors

    def _markers(self, work: _Work) -> PlanMarkers:
        return PlanMarkers(self._client, self._tags, self._journal, work.opened)


def _sent_of(tags: Mapping[str, Tag], sent: Batch) -> list[Tag]:
    """Those of an item's tags that the request was about, in their order."""
    return [tag for tag_id, tag in tags.items() if tag_id in sent.tag_ids]


def _last(mode: str, works: Iterable[_Work]) -> str:
    """The tag that says that all is done, or that queues: it is added, or removed, after the others."""
    return next(
        (work.plan.tagged_id if mode == _ADD else work.plan.queue_tag_id for work in works), ""
    )


def _not_applied(work: _Work) -> ApplyError:
    what, so = (
        ("results", "it stays queued")
        if work.plan.queue_tag_id
        else ("changes", "start the task again")
    )
    return ApplyError(
        f"the {what} of {work.plan.item} are not wholly in Stash, so {so}", work.causes
    )
