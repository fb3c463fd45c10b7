"""Changing items by way of plans: writing results, removing what the plugin made, undoing an
earlier change.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias, TypeVar

from haven.items import ItemChange, ItemRef
from haven.stash.changes import ChangePlan
from haven.stash.errors import ApplyError, ItemGoneError, StashError, StashQueryError
from haven.stash.evidence import Evidence
from haven.stash.journal import Journal, OpenPlan
from haven.stash.plan import (
    PlanOptions,
    TagInfo,
    names_to_find,
    plan_addition,
    plan_release,
    plan_removal,
    plan_results,
    renamed,
)
from haven.stash.reading import read_item, read_items
from haven.stash.recover import disown_what_changed, follow_files, known_of
from haven.stash.tags import AT_ONCE, TagCache, Tagging
from haven.stash.transport import StashClient
from haven.stash.undo import plan_undo, with_current_ids, without_changed
from haven.stash.values import Fate, ItemSnapshot, Recovered, Tag, tag_key
from haven.stash.writing import Writing

_log = logging.getLogger(__name__)
_Thing = TypeVar("_Thing")
Planner: TypeAlias = Callable[[ItemSnapshot], ChangePlan]


class ItemWriter:
    """Writer of changes into Stash by way of the journal. Calls block; one caller and one process
    at a time.

    An error of one item is its fate. Errors of the connection are raised; plans then stay open in
    the journal.
    """

    def __init__(self, client: StashClient, tags: TagCache, journal: Journal) -> None:
        self._client = client
        self._tags = tags
        self._tagging = Tagging(client)
        self._journal = journal

    def recover(self) -> tuple[Recovered, ...]:
        """Finish, item by item, what killed or broken-off runs left half-written."""
        if not self._journal.unfinished():
            return ()
        with self._journal.only_writer():  # so whatever is still open was left behind
            return self._complete(self._journal.unfinished())

    def apply(
        self,
        run_id: int,
        found: Mapping[ItemRef, TagInfo | None],
        options: PlanOptions,
        evidence: Mapping[ItemRef, Evidence],
    ) -> dict[ItemRef, Fate]:
        """Bring each item, as it is now, to its result, and take it off the queue. None: its tags
        stay.

        ``evidence``: what was seen. It is on disk with the plan.
        """
        fates: dict[ItemRef, Fate] = {}
        with self._journal.only_writer():
            for batch in _batches(found, lambda item: item):
                results = {item: found[item] for item in batch}
                fates |= self._apply(run_id, results, options, evidence)
        return fates

    def _apply(
        self,
        run_id: int,
        found: Mapping[ItemRef, TagInfo | None],
        options: PlanOptions,
        evidence: Mapping[ItemRef, Evidence],
    ) -> dict[ItemRef, Fate]:
        known = self._known(filter(None, found.values()), options)
        for name in options.names.all():
            if tag_key(name) not in known:
                known[tag_key(name)] = self._tags.create(name)

        def plan(item: ItemSnapshot) -> ChangePlan:
            info = found[item.ref]
            if item.ref in evidence:
                self._journal.store_evidence(item, evidence[item.ref])
            if info is None:
                return plan_release(item, known, options)
            planned = plan_results(item, info, known_of(self._journal, item), known, options)
            return planned.marked(str(run_id), item) if options.marks_run else planned

        return self.change(run_id, found, plan)

    def preview(
        self, found: Mapping[ItemRef, TagInfo], options: PlanOptions
    ) -> dict[ItemRef, Fate]:
        """Return what ``apply`` would change. Write nothing, neither to Stash nor to the
        journal.
        """
        known = self._known(found.values(), options)
        for name in options.names.all():
            known.setdefault(tag_key(name), Tag("", name))
        items = read_items(self._client, found)
        fates: dict[ItemRef, Fate] = {ref: ItemGoneError(ref) for ref in found}
        for ref, item in items.items():
            plan = plan_results(item, found[ref], known_of(self._journal, item), known, options)
            tagged = tag_key(options.names.tagged)
            reported = tuple(tag for tag in plan.add if tag_key(tag.name) != tagged)
            fates[ref] = replace(plan, add=reported).summary()
        return fates

    def renamed_on(self, ref: ItemRef) -> dict[str, Tag]:
        """Return the plugin's tags on an item that were renamed in Stash, by the ``tag_key`` of
        their former name.
        """
        items = read_items(self._client, [ref])
        return {
            key: tag
            for item in items.values()
            for key, tag in renamed(item, known_of(self._journal, item)).items()
        }

    def remove(self, run_id: int, items: Iterable[ItemRef]) -> dict[ItemRef, Fate]:
        """Remove what the plugin made, as far as it is as the plugin left it."""

        def plan(item: ItemSnapshot) -> ChangePlan:
            removal = plan_removal(item, known_of(self._journal, item))
            is_ours = self._journal.runs.has_number(item.run_mark)
            return removal.marked("", item) if is_ours else removal

        with self._journal.only_writer():
            return self.change(run_id, items, plan)

    def undo(self, run_id: int, numbers: Iterable[int]) -> dict[int, Fate]:
        """Undo each of these plans, in this order. What people changed since stays, and is
        reported. After a failure the item's other plans share its fate: they come before it.
        """
        fates: dict[int, Fate] = {}
        failed: dict[ItemRef, Fate] = {}
        with self._journal.only_writer():
            for batch in _batches(numbers, self._journal.item_of):
                plans = {self._journal.item_of(number): number for number in batch}
                fates |= {number: failed[item] for item, number in plans.items() if item in failed}
                left = {item: number for item, number in plans.items() if item not in failed}
                fates |= self._undo(run_id, left) if left else {}
                failed |= {
                    item: fates[number]
                    for item, number in left.items()
                    if isinstance(fates[number], ApplyError)
                }
        return fates

    def preview_undo(self, ref: ItemRef, numbers: Sequence[int]) -> ItemChange:
        """Return what undoing these plans of one item, latest first, would change. Write nothing.

        Raises ``ItemGoneError``.
        """
        item = read_item(self._client, ref)
        facts, owned = self._journal.facts_of_all(numbers), known_of(self._journal, item)
        facts = with_current_ids(facts, self._tags.by_id(facts.put_back_ids))
        plan, kept_back = plan_undo(item, without_changed(facts, item, owned), owned)
        return replace(plan.summary(), kept_back=kept_back)

    def _undo(self, run_id: int, plans: Mapping[ItemRef, int]) -> dict[int, Fate]:
        kept_back: dict[ItemRef, tuple[str, ...]] = {}
        facts_before = map(self._journal.facts, plans.values())
        tags = self._tags.by_id(tag_id for facts in facts_before for tag_id in facts.put_back_ids)

        def plan(item: ItemSnapshot) -> ChangePlan:
            facts = with_current_ids(self._journal.facts(plans[item.ref]), tags)
            found, kept_back[item.ref] = plan_undo(item, facts, known_of(self._journal, item))
            return found

        fates = self.change(run_id, plans, plan)
        with self._journal.transaction():
            for item, fate in fates.items():
                if isinstance(fate, ItemChange):
                    fates[item] = replace(fate, kept_back=kept_back[item])
                if isinstance(fate, ItemChange | ItemGoneError):
                    self._journal.set_undone(plans[item])
        return {plans[item]: fate for item, fate in fates.items()}

    def destroy_new_tags(self, run_id: int) -> tuple[str, ...]:
        """Delete the tags that a run made in Stash, unless used or changed since. Return why each
        other one stays.
        """
        reasons = []
        with self._journal.only_writer():
            for tag in self._journal.new_tags_of(run_id):
                try:
                    reason = self._tags.destroy_unused(tag)
                except StashQueryError as error:
                    reason = f"the tag {tag.name!r} stays in Stash: {error}"
                if reason:
                    reasons.append(reason)
                else:
                    self._journal.tag_destroyed(tag.id)
        return tuple(reasons)

    def mark_failed(
        self, run_id: int, errored: str, reasons: Mapping[ItemRef, str]
    ) -> dict[ItemRef, Fate]:
        """Add the tag ``errored`` to the items, which stay queued. One that has vanished is only
        logged.
        """
        with self._journal.only_writer():
            with self._journal.transaction():
                for item, reason in reasons.items():
                    self._journal.note_failure(run_id, item, reason)
            (tag,) = self._tags.ensure([errored]).values()
            fates = self.change(run_id, reasons, lambda item: plan_addition(item, tag))
        for gone in [fate for fate in fates.values() if isinstance(fate, ItemGoneError)]:
            _log.info("%s", gone)
        return {item: fate for item, fate in fates.items() if not isinstance(fate, ItemGoneError)}

    def _known(self, found: Iterable[TagInfo], options: PlanOptions) -> dict[str, Tag]:
        names = dict.fromkeys(name for info in found for name in names_to_find(info))
        return self._tags.find([*options.names.all(), *names])

    def change(self, run_id: int, items: Iterable[ItemRef], plan: Planner) -> dict[ItemRef, Fate]:
        """Plan and carry out a change of each item, after finishing what an earlier one left
        half-written. The caller is the only writer.
        """
        wanted = tuple(items)
        self.complete(wanted)
        fates: dict[ItemRef, Fate] = {}
        for batch in _batches(wanted, lambda item: item):
            fates |= self._change_batch(run_id, batch, plan)
        return fates

    def complete(self, items: Collection[ItemRef]) -> None:
        """Finish what earlier changes of these items left half-written. The caller is the only
        writer.
        """
        self._complete(self._journal.unfinished(items))

    def _change_batch(
        self, run_id: int, wanted: Sequence[ItemRef], plan: Planner
    ) -> dict[ItemRef, Fate]:
        items = read_items(self._client, wanted)
        follow_files(self._client, self._journal, items.values())
        plans: dict[ItemRef, ChangePlan] = {}
        with self._journal.transaction():  # all plans are on disk before the first write
            for ref, item in items.items():
                disown_what_changed(self._journal, item)
                plans[ref] = plan(item)
            opened = [
                self._journal.open_plan(run_id, one, items[ref].created_s)
                for ref, one in plans.items()
                if not one.is_empty
            ]
        errors = self._writing(opened).carry_out() if opened else {}
        failed = {one.plan.item: errors[one.id] for one in opened if one.id in errors}
        gone = {ref: ItemGoneError(ref) for ref in wanted if ref not in items}
        return {**gone, **{ref: one.summary() for ref, one in plans.items()}, **failed}

    def _writing(self, opened: Sequence[OpenPlan]) -> Writing:
        return Writing(self._client, self._tags, self._tagging, self._journal, opened)

    def _complete(self, left_behind: Iterable[OpenPlan]) -> tuple[Recovered, ...]:
        batches = _batches(left_behind, lambda opened: opened.plan.item)
        return tuple(recovered for batch in batches for recovered in self._complete_batch(batch))

    def _complete_batch(self, left_behind: Sequence[OpenPlan]) -> Iterator[Recovered]:
        fates = self._writing(left_behind).carry_on()
        for one in left_behind:
            item, fate = one.plan.item, fates[one.id]
            if isinstance(fate, StashError):
                gone = isinstance(fate, ItemGoneError)
                yield Recovered(item, finished=False, gone=gone, reason="" if gone else str(fate))
            else:
                yield Recovered(item, finished=True, markers=len(fate.markers), tags=len(fate.tags))


def _batches(
    things: Iterable[_Thing], item_of: Callable[[_Thing], ItemRef]
) -> Iterator[list[_Thing]]:
    """Yield batches that can be carried out together, in order: items of one kind, and no item
    twice.
    """
    batch: dict[ItemRef, _Thing] = {}
    for thing in things:
        item = item_of(thing)
        if batch and (
            len(batch) == AT_ONCE or item in batch or item.kind is not next(iter(batch)).kind
        ):
            yield list(batch.values())
            batch = {}
        batch[item] = thing
    if batch:
        yield list(batch.values())
