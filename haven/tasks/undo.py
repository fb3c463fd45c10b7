"""The tasks that take back what the plugin did: *Undo Last Run*, *Remove VLM Tags and Markers*. They look at no media."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TypeVar

from haven.items import ItemChange, ItemKind, ItemRef
from haven.report import ItemReport, Outcome, counted
from haven.stash.errors import ItemGoneError, StashError
from haven.stash.handler import MediaHandler
from haven.stash.values import ITEM_TYPES, Fate, Gallery, Image, Run, Scene
from haven.tasks.context import TaskContext
from haven.tasks.words import change_told, title_of

_log = logging.getLogger(__name__)
_ThingT = TypeVar("_ThingT")
# So many are changed with one call, at most: images share their requests, of the others as many as keep the progress bar moving.
_AT_A_TIME = {ItemKind.SCENE: 5, ItemKind.IMAGE: 500, ItemKind.GALLERY: 25}
_MOST_LINES = 10


async def undo_last_run(context: TaskContext) -> str:
    """*Undo Last Run*: Stash as it was before the latest run that changed something, but for what people changed since.

    That is left and named. Once all is undone, the next use undoes the run before. Raises one of ``ENDS_THE_BATCH``;
    started again, it goes on.
    """
    handler = context.handler
    await context.recover_cut_off_runs()
    run = await context.stash(handler.last_undoable_run)
    if run is None:
        nothing = "There is nothing to undo: the journal knows of nothing the plugin changed in Stash that is not undone already."
        return f"{nothing}{await _unknown(context)}"
    if await context.stash(handler.is_at_work, run):
        return f"{_named(run)} is still at work (process {run.pid}): stop it in Stash's list of jobs first. Nothing was undone."
    run_id = await context.open_run(undoes=run.id)
    changes = await context.stash(handler.changes_to_undo, run)
    _log.info("%s: %s to undo.", _named(run), counted(len(changes), "change"))

    work = [(change.item, change.number) for change in changes]
    await _TakingBack(context, "as before").carry_out(
        work, lambda _, numbers: _undone(handler, run_id, numbers)
    )
    if failed := context.record.count(Outcome.FAILED):
        return f"{_named(run)} is not wholly undone: {counted(failed, 'change')} could not be taken back. Start the task again."
    for told in await context.stash(handler.finish_undo, run):
        _log.info("%s", told[0].upper() + told[1:] + ".")
    return f"{_named(run)} is undone: {_told(context)}."


async def remove_owned(context: TaskContext) -> str:
    """*Remove VLM Tags and Markers*: takes off everything what the plugin has put there and nobody has changed since.

    *Undo Last Run* puts it back. Raises one of ``ENDS_THE_BATCH``; started again, it goes on.
    """
    handler = context.handler
    await context.recover_cut_off_runs()
    work = [
        (ItemRef(kind, item_id), item_id)
        for kind in ItemKind
        for item_id in await context.stash(handler.owned_ids, kind)
    ]
    if not work:
        nothing = "There is nothing to remove: of the tags and markers in Stash, the journal knows none as the plugin's own."
        return f"{nothing}{await _unknown(context)}"
    run_id = await context.open_run()

    await _TakingBack(context, "cleared").carry_out(
        work, lambda kind, ids: _removed(handler, run_id, kind, ids)
    )
    failed = context.record.count(Outcome.FAILED)
    rest = f"; {failed:,} failed: start the task again" if failed else ""
    back = (
        " Undo Last Run puts it back." if context.record.count(Outcome.DONE, Outcome.PARTLY) else ""
    )
    return f"What the plugin had made is removed: {_told(context)}{rest}.{back}{await _unknown(context)}"


async def _unknown(context: TaskContext) -> str:
    """How much in Stash carries the plugin's tags and is not the journal's to take off, and what to do; "" where nothing does."""
    found = await context.stash(context.handler.carriers)
    if not found:
        return ""
    parent = context.settings.tag_names.parent
    markers, items = (
        found.pop("marker", 0),
        [counted(number, noun) for noun, number in found.items()],
    )
    parts = [f"{counted(markers, 'marker')} with the tag {parent}"] if markers else []
    parts += [f"{', '.join(items)} with tags below {parent}"] if items else []
    return (
        f" Stash has {' and '.join(parts)} that the journal {context.store_path} does not know as the plugin's own: people made"
        " or changed them, or the journal that knew them is lost. If you have a copy of that file, put it back and start the task"
        f" again; else take them off in Stash: filter markers, scenes, images and galleries by {parent} and the tags below it."
    )


def _undone(handler: MediaHandler, run_id: int, numbers: Sequence[int]) -> Sequence[Fate]:
    fates = handler.undo_changes(run_id, numbers)
    return [fates[number] for number in numbers]


def _removed(
    handler: MediaHandler, run_id: int, kind: ItemKind, ids: Sequence[str]
) -> Sequence[Fate]:
    fates = handler.remove_owned(run_id, kind, ids)
    return [fates[item_id] for item_id in ids]


class _TakingBack:
    """Changes items in the order given, neighbours of one kind together, with progress. One that fails is logged, and the rest
    goes on. ``verb``: what an item is then, for people.
    """

    def __init__(self, context: TaskContext, verb: str) -> None:
        self._context = context
        self._verb = verb
        self._lines: Counter[ItemKind] = Counter()

    async def carry_out(
        self,
        work: Sequence[tuple[ItemRef, _ThingT]],
        change: Callable[[ItemKind, Sequence[_ThingT]], Sequence[Fate]],
    ) -> None:
        """``change`` takes the kind of the items and what stands beside each in ``work``; it gives the fate of each."""
        done = 0
        for kind, alike in groupby(work, key=lambda piece: piece[0].kind):
            for lot in _lots(
                list(alike), _AT_A_TIME[kind] if kind is ItemKind.IMAGE else _few(len(work), kind)
            ):
                started = time.monotonic()
                known = await self._read(kind, [item.id for item, _ in lot])
                fates = await self._context.stash(change, kind, [thing for _, thing in lot])
                seconds = (time.monotonic() - started) / len(lot)
                for (item, _), fate in zip(lot, fates, strict=True):
                    self._tell(item, fate, _report(item, known.get(item.id), fate, seconds))
                done += len(lot)
                self._context.report(done / len(work))

    async def _read(
        self, kind: ItemKind, ids: Sequence[str]
    ) -> Mapping[str, Scene | Image | Gallery]:
        read, wanted = self._context.handler.read, list(dict.fromkeys(ids))
        items = await self._context.stash(read, ITEM_TYPES[kind], wanted)
        return {item.id: item for item in items}

    def _tell(self, item: ItemRef, fate: Fate, report: ItemReport) -> None:
        """Of images only what is wrong, and that not too often: the report has all of it."""
        self._context.record.add(report)
        name = f"{str(item).capitalize()} ({report.title})"
        if isinstance(fate, ItemGoneError):
            self._say(item.kind, logging.WARNING, str(fate))
        elif isinstance(fate, StashError):
            self._say(item.kind, logging.ERROR, f"{name}: {fate}")
        else:
            if item.kind is not ItemKind.IMAGE:
                _log.info("%s is %s: %s.", name, self._verb, change_told(fate))
            for told in fate.kept_back:
                self._say(item.kind, logging.WARNING, f"{name}: {told}.")

    def _say(self, kind: ItemKind, level: int, line: str) -> None:
        self._lines[kind] += 1
        if kind is not ItemKind.IMAGE or self._lines[kind] <= _MOST_LINES:
            _log.log(level, "%s", line)
        elif self._lines[kind] == _MOST_LINES + 1:
            _log.log(level, "There is more to tell of images; the report names them all.")


def _few(in_all: int, kind: ItemKind) -> int:
    """At most a tenth of all."""
    return max(1, min(_AT_A_TIME[kind], in_all // 10))


def _lots(work: Sequence[_ThingT], size: int) -> Iterator[Sequence[_ThingT]]:
    return (work[start : start + size] for start in range(0, len(work), size))


def _report(
    item: ItemRef, known: Scene | Image | Gallery | None, fate: Fate, seconds: float
) -> ItemReport:
    title = title_of(known) if known else "no longer in Stash"
    error = str(fate) if isinstance(fate, StashError) else ""
    change = fate if isinstance(fate, ItemChange) else ItemChange()
    outcome = _outcome(fate)
    path, duration_s = (known.path, known.duration_s) if isinstance(known, Scene) else ("", 0.0)
    return ItemReport(
        item.kind,
        item.id,
        title,
        outcome,
        path,
        duration_s,
        change=change,
        error=error,
        seconds=seconds,
    )


def _outcome(fate: Fate) -> Outcome:
    if isinstance(fate, StashError):
        return Outcome.GONE if isinstance(fate, ItemGoneError) else Outcome.FAILED
    return Outcome.PARTLY if fate.kept_back else Outcome.DONE


def _named(run: Run) -> str:
    return (
        f"Run {run.id} ({run.task}, {time.strftime('%Y-%m-%d %H:%M', time.localtime(run.started))})"
    )


def _told(context: TaskContext) -> str:
    count = context.record.count
    kinds = [(kind, count(Outcome.DONE, Outcome.PARTLY, kind=kind)) for kind in ItemKind]
    parts = [counted(number, kind) for kind, number in kinds if number] or [
        "nothing was left of it"
    ]
    if partly := count(Outcome.PARTLY):
        parts.append(
            f"{partly:,} of them but for what people have changed since, which the log names"
        )
    if gone := count(Outcome.GONE):
        parts.append(f"{gone:,} no longer in Stash")
    return ", ".join(parts)
