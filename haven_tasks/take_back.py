"""The tasks that take back what the plugin did: *Undo Last Run*, *Remove VLM Tags and Markers*. They look at no video."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from haven_media_handler import ItemChange, ItemGoneError, Run, Scene, StashError
from haven_report import Outcome, SceneReport
from haven_tasks.context import ENDS_THE_BATCH, TaskContext
from haven_tasks.words import change_told, counted, title_of

_log = logging.getLogger(__name__)
_GONE = Scene("", "no longer in Stash", (), (), ())


async def undo_last_run(context: TaskContext) -> str:
    """*Undo Last Run*: Stash as it was before the latest run that changed something, but for what people changed since.

    That is left and named. Once all is undone, the next use undoes the run before. Raises one of ``ENDS_THE_BATCH``;
    started again, it goes on.
    """
    handler = context.handler
    await context.settle_the_past()
    run = await context.stash(handler.last_undoable_run)
    if run is None:
        return "There is nothing to undo: the plugin has changed nothing in Stash that is not undone already."
    if await context.stash(handler.is_at_work, run):
        return f"{_named(run)} is still at work (process {run.pid}): stop it in Stash's list of jobs first. Nothing was undone."
    run_id = await context.open_run(undoes=run.id)
    changes = await context.stash(handler.changes_to_undo, run)
    _log.info("%s: %s to undo.", _named(run), counted(len(changes), "change"))
    work = [_Piece(change.item.id, partial(handler.undo_change, run_id, change.number)) for change in changes]
    await _each(context, work, "as before")
    if failed := context.record.count(Outcome.FAILED):
        return f"{_named(run)} is not wholly undone: {counted(failed, 'scene')} could not be changed back. Start the task again."
    for told in await context.stash(handler.finish_undo, run):
        _log.info("%s", told[0].upper() + told[1:] + ".")
    return f"{_named(run)} is undone: {_told(context)}."


async def remove_ours(context: TaskContext) -> str:
    """*Remove VLM Tags and Markers*: takes off every scene what the plugin has put there and nobody has changed since.

    *Undo Last Run* puts it back. Raises one of ``ENDS_THE_BATCH``; started again, it goes on.
    """
    await context.settle_the_past()
    ids = await context.stash(context.handler.scene_ids_with_ours)
    if not ids:
        return "There is nothing to remove: no scene has a tag or marker that the plugin made."
    run_id = await context.open_run()
    await _each(
        context, [_Piece(scene_id, partial(context.handler.remove_ours, run_id, scene_id)) for scene_id in ids], "removed"
    )
    failed = context.record.count(Outcome.FAILED)
    rest = f"; {counted(failed, 'scene')} failed: start the task again" if failed else ""
    return f"What the plugin had made is removed: {_told(context)}{rest}. Undo Last Run puts it back."


@dataclass(frozen=True, slots=True)
class _Piece:
    """One change of one scene."""

    scene_id: str
    carry_out: Callable[[], ItemChange]


async def _each(context: TaskContext, work: Sequence[_Piece], verb: str) -> None:
    """One after the other, with progress. A scene that fails is logged, and the rest goes on."""
    known: dict[str, Scene] = {}
    wanted = list(dict.fromkeys(piece.scene_id for piece in work))
    for number, piece in enumerate(work):
        if piece.scene_id not in known:
            chunk = wanted[len(known) : len(known) + 50]
            known |= dict.fromkeys(chunk, _GONE) | {s.id: s for s in await context.stash(context.handler.scenes, chunk)}
        await _one(context, piece, replace(known[piece.scene_id], id=piece.scene_id), verb)
        context.report((number + 1) / len(work))


async def _one(context: TaskContext, piece: _Piece, scene: Scene, verb: str) -> None:
    started = time.monotonic()
    report = SceneReport(scene.id, title_of(scene), scene.path, scene.duration_s, Outcome.DONE)
    try:
        change = await context.stash(piece.carry_out)
    except ENDS_THE_BATCH:
        raise
    except ItemGoneError as error:
        report = replace(report, outcome=Outcome.GONE, error=str(error))
        _log.warning("%s", error)
    except StashError as error:
        report = replace(report, outcome=Outcome.FAILED, error=str(error))
        _log.error("Scene %s (%s): %s", scene.id, report.title, error)
    else:
        outcome = Outcome.PARTLY if change.kept_back else Outcome.DONE
        report = replace(report, outcome=outcome, change=change)
        _log.info("Scene %s (%s) is %s: %s.", scene.id, report.title, verb, change_told(change))
        for told in change.kept_back:
            _log.warning("Scene %s (%s): %s.", scene.id, report.title, told)
    context.record.add(replace(report, seconds=time.monotonic() - started))


def _named(run: Run) -> str:
    return f"Run {run.id} ({run.task}, {time.strftime('%Y-%m-%d %H:%M', time.localtime(run.started))})"


def _told(context: TaskContext) -> str:
    count = context.record.count
    parts = [counted(count(Outcome.DONE) + count(Outcome.PARTLY), "scene")]
    if partly := count(Outcome.PARTLY):
        parts.append(f"{partly} of them but for what people have changed since, which the log names")
    if gone := count(Outcome.GONE):
        parts.append(f"{gone} no longer in Stash")
    return ", ".join(parts)
