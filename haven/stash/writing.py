"""Carrying out change plans, in an order that can be cut off anywhere without losing or doubling
anything.

1. Create missing tags and new markers, and move markers. 2. Add tags. 3. Remove what is obsolete:
markers, tags, and with the very last request the tag that queues the item. If a step of a plan
fails, nothing is removed for it, and its item stays queued. Plans for many items are carried out
together: those that add or remove the same tags share their requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from haven.items import ItemKind
from haven.stash.changes import ChangePlan, MarkerMove, PlannedMarker, PlannedTag
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
    catch_up,
    left_to_create,
    left_to_move,
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
    """One plan and its progress.

    ``present``: the tags that its item is known to have. ``taken_off``: those that the plan had
    added and a person removed. ``adopted``: see ``carry_on``. ``run_mark``: what is left to put
    into the custom field for the run, None for nothing.
    """

    opened: OpenPlan
    present: frozenset[str]
    to_create: tuple[PlannedMarker, ...] = ()
    to_move: tuple[MarkerMove, ...] = ()
    taken_off: tuple[PlannedTag, ...] = ()
    adopted: Adopted = field(default_factory=lambda: Adopted((), ()))
    run_mark: str | None = None
    causes: list[StashError] = field(default_factory=list)
    is_gone: bool = False

    @property
    def plan(self) -> ChangePlan:
        return self.opened.plan


class Writing:
    """Open plans on their way into Stash, each for another item of one kind. The failure of one
    stops no other.

    ``carry_out`` and ``carry_on`` close the plans. They return the error of each plan that failed,
    by its number: an ``ItemGoneError``, or an ``ApplyError`` with every cause. Errors of the
    connection pass through, and leave plans open.
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
            _Work(
                one,
                frozenset(one.plan.before_tag_ids),
                one.plan.create,
                one.plan.move,
                run_mark=one.plan.run_mark,
            )
            for one in opened
        ]
        self._keeps_queued = False
        self._kind = opened[0].plan.item.kind if opened else ItemKind.SCENE

    def carry_out(self) -> dict[int, StashError]:
        """Carry out plans that were just opened."""
        self._create_tags(lambda tag: not tag.id)
        return self._finish()

    def carry_on(self) -> dict[int, Adopted | StashError]:
        """Finish plans that were left behind. Return for those done what had been written without
        being noted.

        Their items stay queued: the settings may have changed since, often because of the results
        seen so far.
        """
        self._keeps_queued = True
        self._read_items()
        self._create_tags(lambda tag: not self._tags.id(tag))
        errors = self._finish()
        return {work.opened.id: errors.get(work.opened.id, work.adopted) for work in self._works}

    def _read_items(self) -> None:
        items = read_items(self._client, [work.plan.item for work in self._works])
        self._tags.find_made([work.opened for work in self._works])
        with self._journal.transaction():
            for work in self._works:
                item = items.get(work.plan.item)
                if item is None or not same_making(item.created_s, work.opened.item_made_s):
                    work.is_gone = True
                    continue
                work.adopted = catch_up(self._journal, work.opened, item, work.plan.create)
                work.to_create = left_to_create(self._journal, work.opened, item)
                work.to_move = left_to_move(work.opened, item)
                work.taken_off = taken_off_since(self._journal, work.opened)
                work.present = item.tag_ids
                if item.run_mark != work.plan.run_mark_before:
                    work.run_mark = None  # it is there already, or a person changed it

    def _finish(self) -> dict[int, StashError]:
        self._create_markers()
        self._move_markers()
        self._add_tags([work for work in self._left() if self._tags_to_add(work)])
        self._mark([work for work in self._left() if not work.causes])
        self._remove_obsolete([work for work in self._left() if not work.causes])
        self._note_failed()
        return self._close()

    def _left(self) -> list[_Work]:
        return [work for work in self._works if not work.is_gone]

    def _create_tags(self, lacks: Callable[[PlannedTag], bool]) -> None:
        wanted = [
            (work.opened, tag) for work in self._left() for tag in work.plan.tags if lacks(tag)
        ]
        self._blame(self._left(), self._tags.create(wanted))

    def _blame(self, works: Iterable[_Work], failures: Failures) -> None:
        """Fail every plan that wants a tag which could not be made."""
        if not failures:
            return
        with self._journal.transaction():
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

    def _move_markers(self) -> None:
        for work in self._left():
            try:
                self._markers(work).move(work.to_move)
            except ItemGoneError:
                work.is_gone = True
            except StashQueryError as error:
                self._fail(work, "move markers", error)

    def _add_tags(self, works: Sequence[_Work]) -> None:
        with self._journal.transaction():
            for work in works:
                self._journal.note(work.opened, ADDING, "begun")
        self._change_tags(_ADD, works, self._tags_to_add)

    def _mark(self, works: Sequence[_Work]) -> None:
        """Fill the custom field of the items that got no tag in whose request it could be."""
        by_mark: dict[str, list[_Work]] = {}
        for work in works:
            if work.run_mark is not None:
                by_mark.setdefault(work.run_mark, []).append(work)
        for mark, some in by_mark.items():
            by_id = {work.plan.item.id: work for work in some}
            batch = Batch(tuple(by_id), (), mark)
            for sent, error in self._tagging.change(self._kind, _ADD, batch, halving=True):
                if error:
                    self._fail_each("mark the run", {by_id[one]: error for one in sent.ids})

    def _remove_obsolete(self, works: Sequence[_Work]) -> None:
        """Remove what is obsolete, which comes last. Note first that this begins."""
        taking = [
            work for work in works if work.plan.destroy or work.plan.remove or work.plan.release
        ]
        if not taking:
            return
        with self._journal.transaction():
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
        """Return the tags to add, by id. After a failure the tag that says the item is done is left
        out.
        """
        tags = [tag for tag in work.plan.add if not (work.causes and tag.id == work.plan.tagged_id)]
        by_id = {
            self._tags.id(tag): self._tags.tag(tag) for tag in tags if tag not in work.taken_off
        }
        return {
            tag_id: tag for tag_id, tag in by_id.items() if tag_id and tag_id not in work.present
        }

    def _tags_to_remove(self, work: _Work) -> dict[str, Tag]:
        leaving = [
            tag
            for tag in work.plan.release
            if not (self._keeps_queued and tag.id == work.plan.queue_tag_id)
        ]
        return {tag.id: tag for tag in (*work.plan.remove, *leaving) if tag.id in work.present}

    def _change_tags(self, mode: str, works: Sequence[_Work], tags_of: _TagsOf) -> None:
        """Add or remove tags. What Stash refuses is tried again without what has vanished
        meanwhile.
        """
        refused = self._send(mode, works, tags_of, halving=False)
        self._fail_each(
            _STEPS[mode],
            {work: error for work, error in refused.items() if isinstance(error, StashLockedError)},
        )
        again = [work for work, error in refused.items() if not isinstance(error, StashLockedError)]
        if again:
            again = self._without_vanished(mode, again)
            self._fail_each(_STEPS[mode], self._send(mode, again, tags_of, halving=True))

    def _send(
        self, mode: str, works: Iterable[_Work], tags_of: _TagsOf, *, halving: bool
    ) -> dict[_Work, StashQueryError]:
        """Send the changes and return what was refused. Later requests, which say an item is done,
        leave such items out.
        """
        by_id = {work.plan.item.id: work for work in works}
        tags = {one: tags_of(work) for one, work in by_id.items()}
        refused: dict[_Work, StashQueryError] = {}
        for batch in batches(tags, _last(mode, by_id.values())):
            ids = tuple(one for one in batch.ids if by_id[one] not in refused)
            if not ids:
                continue
            marks = {by_id[one].run_mark for one in ids} if mode == _ADD else set()
            whole = replace(batch, ids=ids, run_mark=marks.pop() if len(marks) == 1 else None)
            for sent, error in self._tagging.change(self._kind, mode, whole, halving=halving):
                if error:
                    refused |= {by_id[one]: error for one in sent.ids}
                else:
                    changed = {
                        by_id[one]: [tag for id_, tag in tags[one].items() if id_ in sent.tag_ids]
                        for one in sent.ids
                    }
                    self._note_tags(mode, changed)
                    if whole.run_mark is not None:
                        for one in sent.ids:
                            by_id[one].run_mark = None
        return refused

    def _without_vanished(self, mode: str, works: Sequence[_Work]) -> list[_Work]:
        """Return the works whose items still exist. Stash refuses a whole request if an item or a
        tag in it is gone.
        """
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
        with self._journal.transaction():
            for work, tags in changed.items():
                ids = {tag.id for tag in tags}
                if mode == _ADD:
                    self._journal.tags_added(work.opened, tags)
                    work.present |= ids
                else:
                    self._journal.tags_removed(work.opened, tags)
                    work.present -= ids

    def _fail(self, work: _Work, step: str, error: StashError) -> None:
        work.causes.append(error)
        self._journal.note(work.opened, step, str(error))

    def _fail_each(self, step: str, errors: Mapping[_Work, StashError]) -> None:
        with self._journal.transaction():
            for work, error in errors.items():
                self._fail(work, step, error)

    def _note_failed(self) -> None:
        """Note in the journal what of the failed plans is in Stash."""
        failed = [work for work in self._left() if work.causes]
        items = read_items(self._client, [work.plan.item for work in failed])
        with self._journal.transaction():
            for work in failed:
                item = items.get(work.plan.item)
                if item is None:
                    work.is_gone = True
                    continue
                catch_up(self._journal, work.opened, item, work.plan.create)

    def _close(self) -> dict[int, StashError]:
        errors: dict[int, StashError] = {}
        with self._journal.transaction():
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


def _last(mode: str, works: Iterable[_Work]) -> str:
    """Return the tag to add or remove after the others: the one that says all is done, or that
    queues.
    """
    return next(
        (work.plan.tagged_id if mode == _ADD else work.plan.queue_tag_id for work in works), ""
    )


def _not_applied(work: _Work) -> ApplyError:
    plan = work.plan
    content = "results" if plan.queue_tag_id else "changes"
    is_queued = plan.queue_tag_id in plan.before_tag_ids
    remedy = "it stays queued" if is_queued else "start the task again"
    return ApplyError(
        f"the {content} of {plan.item} are not wholly in Stash, so {remedy}", work.causes
    )
