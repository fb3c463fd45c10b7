"""The tasks that take back what the plugin did: *Undo Last Run*, *Remove VLM Tags and Markers*. They look at no media."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby

from haven_media_handler import Gallery, Image, ItemChange, ItemGoneError, ItemKind, ItemRef, PastChange, Run, Scene, StashError
from haven_report import ImageReport, Outcome, SceneReport
from haven_tasks.context import TaskContext
from haven_tasks.words import change_told, counted, title_of

_log = logging.getLogger(__name__)
_ALIKE = {ItemKind.SCENE: 10, ItemKind.IMAGE: 500, ItemKind.GALLERY: 50}
"""So many are changed with one call: images in bulk, the others as many as keep the progress bar moving."""
_MOST_LINES = 10


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
    await _carry_out(context, list(_undoing(context, run_id, changes)), "as before")
    if failed := context.record.count(Outcome.FAILED):
        return f"{_named(run)} is not wholly undone: {counted(failed, 'change')} could not be taken back. Start the task again."
    for told in await context.stash(handler.finish_undo, run):
        _log.info("%s", told[0].upper() + told[1:] + ".")
    return f"{_named(run)} is undone: {_told(context)}."


async def remove_ours(context: TaskContext) -> str:
    """*Remove VLM Tags and Markers*: takes off everything what the plugin has put there and nobody has changed since.

    *Undo Last Run* puts it back. Raises one of ``ENDS_THE_BATCH``; started again, it goes on.
    """
    handler = context.handler
    await context.settle_the_past()
    ours = {
        ItemKind.SCENE: await context.stash(handler.scene_ids_with_ours),
        ItemKind.IMAGE: await context.stash(handler.image_ids_with_ours),
        ItemKind.GALLERY: await context.stash(handler.gallery_ids_with_ours),
    }
    if not any(ours.values()):
        return "There is nothing to remove: nothing in Stash has a tag or marker that the plugin made."
    run_id = await context.open_run()
    await _carry_out(context, list(_removing(context, run_id, ours)), "removed")
    failed = context.record.count(Outcome.FAILED)
    rest = f"; {failed:,} failed: start the task again" if failed else ""
    return f"What the plugin had made is removed: {_told(context)}{rest}. Undo Last Run puts it back."


@dataclass(frozen=True, slots=True)
class _Piece:
    """Changes of items of one kind. ``carry_out`` gives the fate of each, in their order."""

    items: tuple[ItemRef, ...]
    carry_out: Callable[[], Sequence[ItemChange | StashError]]

    @property
    def kind(self) -> ItemKind:
        return self.items[0].kind


def _undoing(context: TaskContext, run_id: int, changes: Iterable[PastChange]) -> Iterator[_Piece]:
    """In the order of the changes: only neighbours go together."""
    for kind, alike in groupby(changes, key=lambda change: change.item.kind):
        for piece in _batches(tuple(alike), _ALIKE[kind]):
            numbers = tuple(change.number for change in piece)
            call = partial(context.handler.undo_changes, run_id, numbers)
            yield _Piece(tuple(change.item for change in piece), partial(_in_order, call, numbers))


def _removing(context: TaskContext, run_id: int, ours: Mapping[ItemKind, Sequence[str]]) -> Iterator[_Piece]:
    handler = context.handler
    in_bulk = {ItemKind.IMAGE: handler.remove_ours_images, ItemKind.GALLERY: handler.remove_ours_galleries}
    for kind, ids in ours.items():
        for piece in _batches(tuple(ids), _ALIKE[kind]):
            ...
