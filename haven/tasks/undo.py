"""The tasks that take back what the plugin did: *Undo Last Run*, *Remove VLM Tags and Markers*."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import TypeVar

from haven.items import ItemChange, ItemKind, ItemRef
from haven.report import ItemReport, Outcome, counted
from haven.stash.errors import ItemGoneError, StashError
from haven.stash.values import ITEM_TYPES, Fate, Gallery, Image, Run, Scene
from haven.tasks.context import TaskContext
from haven.tasks.messages import describe_change, title_of

_log = logging.getLogger(__name__)
_KeyT = TypeVar("_KeyT", int, str)
# Most items of one call. Images share requests; of the others fewer, so that the progress moves.
_MOST_AT_ONCE = {ItemKind.SCENE: 5, ItemKind.IMAGE: 500, ItemKind.GALLERY: 25}
_MOST_LINES = 10


async def undo_last_run(context: TaskContext) -> str:
    """*Undo Last Run*: bring Stash back to before the latest run that changed something.

    What people changed since stays, and is named. The next use undoes the run before. Raises one
    of ``ENDS_THE_BATCH``; started again, it goes on.
    """
    handler = context.handler
    await context.recover_cut_off_runs()
    run = await context.stash(handler.last_undoable_run)
    if run is None:
        return (
            "There is nothing to undo: the journal has no change of the plugin that is not undone."
            f"{await _unknown(context)}"
        )
    if await context.stash(handler.is_at_work, run):
        return (
            f"{_named(run)} is still at work (process {run.pid}). Nothing was undone. Stop it in"
            " Stash's list of jobs, and start the task again."
        )
    run_id = await context.open_run(undoes=run.id)
    changes = await context.stash(handler.changes_to_undo, run)
    _log.info("%s: %s to undo.", _named(run), counted(len(changes), "change"))

    def undo(_: ItemKind, numbers: Sequence[int]) -> Mapping[int, Fate]:
        return handler.undo_changes(run_id, numbers)

    await _TakingBack(context, "as before").carry_out(
        [(change.item, change.number) for change in changes], undo
    )
    if failed := context.record.count(Outcome.FAILED):
        return (
            f"{_named(run)} is not wholly undone: {counted(failed, 'change')} could not be taken"
            " back. Start the task again."
        )
    for reason in await context.stash(handler.finish_undo, run):
        _log.info("%s%s.", reason[0].upper(), reason[1:])
    return f"{_named(run)} is undone: {_summary(context)}."


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


def _named(run: Run) -> str:
    started = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.started))
    return f"Run {run.id} ({run.task}, {started})"


def _summary(context: TaskContext) -> str:
    count = context.record.count
    kinds = [(kind, count(Outcome.DONE, Outcome.PARTLY, kind=kind)) for kind in ItemKind]
    parts = [counted(number, kind) for kind, number in kinds if number] or ["nothing was left"]
    if partly := count(Outcome.PARTLY):
        parts.append(f"{partly:,} of them except for what people changed since (see the log)")
    if gone := count(Outcome.GONE):
        parts.append(f"{gone:,} no longer in Stash")
    return ", ".join(parts)
