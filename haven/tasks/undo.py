"""The tasks that take back what the plugin did: *Undo Last Run*, *Remove VLM Tags and Markers*."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TypeVar

from haven.items import ItemChange, ItemKind, ItemRef
from haven.report import ItemReport, Outcome, counted
from haven.stash.errors import ItemGoneError, StashError
from haven.stash.values import ITEM_TYPES, Fate, Gallery, Image, PastChange, Run, Scene
from haven.tasks.context import TaskContext
from haven.tasks.messages import describe_change, title_of
from haven.tasks.selection import RUN, run_number
from vlm_engine import ConfigError

_log = logging.getLogger(__name__)
_KeyT = TypeVar("_KeyT", tuple[int, ...], str)
# Most items of one call. Images share requests; of the others fewer, so that the progress moves.
_MOST_AT_ONCE = {ItemKind.SCENE: 5, ItemKind.IMAGE: 500, ItemKind.GALLERY: 25}
_MOST_LINES = 10


@dataclass(frozen=True, slots=True)
class _Undoing:
    """The changes to undo, latest first: those of ``runs``, and of later runs on the same items.
    ``what``: the same for people.
    """

    what: str
    runs: tuple[int, ...]
    changes: tuple[PastChange, ...]

    @property
    def all_runs(self) -> tuple[int, ...]:
        """The runs whose changes are undone."""
        return tuple(dict.fromkeys((*self.runs, *(change.run_id for change in self.changes))))


async def undo_last_run(context: TaskContext) -> str:
    """*Undo Last Run*: bring Stash back to before the latest run that changed something.

    The argument ``run`` names another run; ``scenes``, ``images`` and ``galleries`` name the only
    items to bring back: to before that run, or before the last run that changed each. What later
    runs did to the same items is undone first. What people changed since stays, and is named.
    Raises one of ``ENDS_THE_BATCH``; started again, it goes on.
    """
    handler = context.handler
    await context.recover_cut_off_runs()
    chosen = await _chosen(context)
    if isinstance(chosen, str):
        return chosen
    for number in chosen.all_runs:
        if await context.stash(handler.is_at_work, number):
            run = await _run(context, number)
            return (
                f"{run} is still at work (process {run.pid}). Nothing was undone. Stop it in"
                " Stash's list of jobs, and start the task again."
            )
    run_id = await context.open_run(undoes=chosen.runs[0])
    _log.info("%s: %s to undo.", chosen.what, counted(len(chosen.changes), "change"))
    numbers: dict[ItemRef, tuple[int, ...]] = {}
    for change in chosen.changes:
        numbers[change.item] = (*numbers.get(change.item, ()), change.number)

    def undo(_: ItemKind, keys: Sequence[tuple[int, ...]]) -> Mapping[tuple[int, ...], Fate]:
        in_order = sorted((number for key in keys for number in key), reverse=True)
        fates = handler.undo_changes(run_id, in_order)
        return {key: _together([fates[number] for number in key]) for key in keys}

    await _TakingBack(context, "as before").carry_out(list(numbers.items()), undo)
    if failed := context.record.count(Outcome.FAILED):
        return (
            f"{chosen.what} is not wholly undone: {counted(failed, 'item')} could not be brought"
            " back. Start the task again."
        )
    for number in chosen.all_runs:
        for reason in await context.stash(handler.finish_undo, number):
            _log.info("%s%s.", reason[0].upper(), reason[1:])
    return f"{chosen.what} is undone: {_summary(context)}.{await _later(context, chosen)}"


async def _chosen(context: TaskContext) -> _Undoing | str:
    """Return what the arguments ask to undo, or the end line that says why there is nothing."""
    handler, named = context.handler, _named_items(context)
    if RUN not in context.arguments:
        if named is not None:
            return await _last_of(context, named)
        last = await context.stash(handler.last_undoable_run)
        if last is None:
            return (
                "There is nothing to undo: the journal has no change of the plugin that is not"
                f" undone.{await _unknown(context)}"
            )
        return await _of_run(context, last, None)
    run = await context.stash(handler.run, run_number(context.arguments))
    if run is None:
        raise ConfigError(
            f"task arguments: {RUN}: the journal has no run {context.arguments[RUN]}; the page's"
            " tab Runs and each report have the numbers"
        )
    if not run.can_be_undone:
        return (
            f"{run} cannot be undone. Tag its items again: nothing is asked twice. Decisions are"
            " undone in the scene's tab."
        )
    return await _of_run(context, run, named)


async def _of_run(
    context: TaskContext, run: Run, named: Sequence[ItemRef] | None
) -> _Undoing | str:
    changes = await context.stash(context.handler.changes_to_undo, run.id, named)
    if named is None and not run.is_undone:
        return _Undoing(str(run), (run.id,), changes)
    if not changes:
        return f"There is nothing to undo: {run} {_of_items(named)}is undone already."
    return _Undoing(_on_items(str(run), named, changes), (run.id,), changes)


async def _last_of(context: TaskContext, named: Sequence[ItemRef]) -> _Undoing | str:
    """Return the last change of each of these items."""
    last = await context.stash(context.handler.last_runs_of, named)
    if not last:
        return "There is nothing to undo: no run changed these items, or it is undone already."
    changes: list[PastChange] = []
    runs = sorted(set(last.values()), reverse=True)
    for number in runs:
        of_run = [item for item in named if last.get(item) == number]
        changes += await context.stash(context.handler.changes_to_undo, number, of_run)
    changes.sort(key=lambda change: change.number, reverse=True)
    what = str(await _run(context, runs[0])) if len(runs) == 1 else "The last run of each"
    return _Undoing(_on_items(what, named, changes), tuple(runs), tuple(changes))


def _on_items(what: str, named: Sequence[ItemRef] | None, changes: Sequence[PastChange]) -> str:
    """Return ``Run 3 (Tag Videos, …) on 2 of the 5 named items``."""
    if named is None:
        return what
    found = len({change.item for change in changes})
    of_all = counted(found, "item") if found == len(named) else f"{found:,} of {len(named):,} items"
    return f"{what} on {of_all}"


def _of_items(named: Sequence[ItemRef] | None) -> str:
    return "" if named is None else "did not change these items, or "


async def _later(context: TaskContext, chosen: _Undoing) -> str:
    """Return which later runs are undone on the same items, as a sentence or ""."""
    later = [number for number in chosen.all_runs if number not in chosen.runs]
    if not later:
        return ""
    names = ", ".join([str(await _run(context, number)) for number in later])
    return f" What later runs did to the same items is undone as well: {names}."


async def _run(context: TaskContext, number: int) -> Run:
    run = await context.stash(context.handler.run, number)
    return run or Run(number, "unknown task", 0.0, 0, "")


def _named_items(context: TaskContext) -> tuple[ItemRef, ...] | None:
    """Return the items that the arguments name: a gallery stands for itself here."""
    chosen = context.selection
    if chosen is None:
        return None
    return tuple(ItemRef(kind, item_id) for kind in ItemKind for item_id in chosen.of(kind))


def _together(fates: Sequence[Fate]) -> Fate:
    """Return the fates of an item's changes as one: the first error, or all of the changes."""
    total = ItemChange()
    for fate in fates:
        if isinstance(fate, StashError):
            return fate
        total = total.then(fate)
    return total


async def remove_owned(context: TaskContext) -> str:
    """*Remove VLM Tags and Markers*: remove what the plugin has made and nobody has changed since.

    *Undo Last Run* puts it back. Raises one of ``ENDS_THE_BATCH``; started again, it goes on.
    """
    handler = context.handler
    await context.recover_cut_off_runs()
    items = [
        (ItemRef(kind, item_id), item_id)
        for kind in ItemKind
        for item_id in await context.stash(handler.owned_ids, kind)
    ]
    unknown = partial(_unknown, context)
    if not items:
        return (
            "There is nothing to remove: the journal knows no tag or marker in Stash as the"
            f" plugin's own.{await unknown()}"
        )
    run_id = await context.open_run()
    await _TakingBack(context, "cleared").carry_out(items, partial(handler.remove_owned, run_id))
    count = context.record.count
    failed = count(Outcome.FAILED)
    rest = f"; {failed:,} failed: start the task again" if failed else ""
    back = " Undo Last Run puts it back." if count(Outcome.DONE, Outcome.PARTLY) else ""
    return f"The plugin's work is removed: {_summary(context)}{rest}.{back}{await unknown()}"


async def _unknown(context: TaskContext) -> str:
    """Return what in Stash has the plugin's tags but is not in the journal, and what to do."""
    found = await context.stash(context.handler.carriers)
    if not found:
        return ""
    parent = context.settings.tag_names.parent
    markers = found.pop("marker", 0)
    items = ", ".join(counted(number, noun) for noun, number in found.items())
    parts = [f"{counted(markers, 'marker')} with the tag {parent}"] if markers else []
    parts += [f"{items} with tags below {parent}"] if items else []
    return (
        f" Stash has {' and '.join(parts)} that the journal {context.store_path}"
        " does not know as the plugin's own: people made or changed them, or the journal that knew"
        " them is lost. If you have a copy of that file, put it back and start the task again."
        " Otherwise remove them in Stash: filter markers, scenes, images and galleries by"
        f" {parent} and the tags below it."
    )


class _TakingBack:
    """Changes items and logs their fate. One that fails is reported, and the rest goes on.

    ``verb``: what an item is afterwards, for people.
    """

    def __init__(self, context: TaskContext, verb: str) -> None:
        self._context = context
        self._verb = verb
        self._image_lines = 0

    async def carry_out(
        self,
        work: Sequence[tuple[ItemRef, _KeyT]],
        change: Callable[[ItemKind, Sequence[_KeyT]], Mapping[_KeyT, Fate]],
    ) -> None:
        """Change the items in order, neighbours of one kind together.

        ``change`` takes the kind and the keys of several items, and returns the fate of each key.
        """
        context, done = self._context, 0
        for kind, neighbours in groupby(work, key=lambda entry: entry[0].kind):
            entries = list(neighbours)
            size = _MOST_AT_ONCE[kind]
            if kind is not ItemKind.IMAGE:
                size = max(1, min(size, len(work) // 10))
            for start in range(0, len(entries), size):
                batch = entries[start : start + size]
                started = time.monotonic()
                ids = list(dict.fromkeys(ref.id for ref, _ in batch))
                items = await context.stash(context.handler.read, ITEM_TYPES[kind], ids)
                known = {item.id: item for item in items}
                fates = await context.stash(change, kind, [key for _, key in batch])
                seconds = (time.monotonic() - started) / len(batch)
                for ref, key in batch:
                    report = _report(ref, known.get(ref.id), fates[key], seconds)
                    context.record.add(report)
                    self._log_fate(ref, report, fates[key])
                done += len(batch)
                context.report(done / len(work))

    def _log_fate(self, ref: ItemRef, report: ItemReport, fate: Fate) -> None:
        """Log what became of an item; of images only problems, and a few of these."""
        name = f"{str(ref).capitalize()} ({report.title})"
        if isinstance(fate, ItemGoneError):
            self._log_problem(ref.kind, logging.WARNING, str(fate))
        elif isinstance(fate, StashError):
            self._log_problem(ref.kind, logging.ERROR, f"{name}: {fate}")
        else:
            if ref.kind is not ItemKind.IMAGE:
                _log.info("%s is %s: %s.", name, self._verb, describe_change(fate))
            for reason in fate.kept_back:
                self._log_problem(ref.kind, logging.WARNING, f"{name}: {reason}.")

    def _log_problem(self, kind: ItemKind, level: int, line: str) -> None:
        if kind is ItemKind.IMAGE:
            self._image_lines += 1
            if self._image_lines == _MOST_LINES + 1:
                _log.log(level, "More messages about images follow in the report only.")
            if self._image_lines > _MOST_LINES:
                return
        _log.log(level, "%s", line)


def _report(
    ref: ItemRef, known: Scene | Image | Gallery | None, fate: Fate, seconds: float
) -> ItemReport:
    change, error = ItemChange(), ""
    if isinstance(fate, ItemChange):
        change, outcome = fate, Outcome.PARTLY if fate.kept_back else Outcome.DONE
    else:
        outcome = Outcome.GONE if isinstance(fate, ItemGoneError) else Outcome.FAILED
        error = str(fate)
    return ItemReport(
        ref.kind,
        ref.id,
        title_of(known) if known else "no longer in Stash",
        outcome,
        known.path if known else "",
        known.duration_s if isinstance(known, Scene) else 0.0,
        change=change,
        error=error,
        seconds=seconds,
    )


def _summary(context: TaskContext) -> str:
    count = context.record.count
    kinds = [(kind, count(Outcome.DONE, Outcome.PARTLY, kind=kind)) for kind in ItemKind]
    parts = [counted(number, kind) for kind, number in kinds if number] or ["nothing was left"]
    if partly := count(Outcome.PARTLY):
        parts.append(f"{partly:,} of them except for what people changed since (see the log)")
    if gone := count(Outcome.GONE):
        parts.append(f"{gone:,} no longer in Stash")
    return ", ".join(parts)
