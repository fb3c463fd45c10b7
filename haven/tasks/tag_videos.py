"""The tasks that look at videos and write what they show: *Tag Videos*, *Update Tagged Videos*."""

from __future__ import annotations

from haven.items import ItemKind
from haven.report import counted
from haven.tagger import Tagger
from haven.tasks.background import BackgroundTasks
from haven.tasks.batch import Batch
from haven.tasks.context import TaskContext
from haven.tasks.progress import ProgressBoard
from haven.tasks.scenes import WriteScenes
from haven.tasks.start import announce
from haven.tasks.words import nothing_in_line


async def tag_videos(context: TaskContext) -> str:
    """*Tag Videos*: every scene tagged ``VLM_TagMe`` gets its tags and markers, and only then loses that tag.

    A scene that fails is tagged ``VLM_Errored``, stays queued, and the rest goes on. Raises one of ``ENDS_THE_BATCH``,
    after logging the end line, when going on makes no sense: then every scene that is not done stays queued.
    """
    return await _write_results(context, updating=False)


async def update_videos(context: TaskContext) -> str:
    """*Update Tagged Videos*: the same for ``VLM_UpdateMe``. What was answered before is not asked again."""
    return await _write_results(context, updating=True)


async def _write_results(context: TaskContext, *, updating: bool) -> str:
    names = context.settings.tag_names
    await context.stash(context.handler.prepare)
    await context.recover_cut_off_runs()
    queue = names.update_me if updating else names.tag_me
    ids = await context.stash(context.handler.ids_with, ItemKind.SCENE, queue)
    if not ids:
        return nothing_in_line("scene", queue)
    announce(context.settings, f"{counted(len(ids), 'scene')} with the tag {queue}")
    run_id = await context.open_run()
    async with (
        Tagger(context.settings, context.store_path) as tagger,
        BackgroundTasks(context, tagger.stats) as shift,
    ):
        board = ProgressBoard(len(ids), context.report)
        errand = WriteScenes(context, tagger, board, run_id, updating=updating)
        return await Batch(context, shift.turn, errand, ids).run()
