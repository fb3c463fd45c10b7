"""The tasks that look at images and write what they show: *Tag Images*, *Update Tagged Images*."""

from __future__ import annotations

from haven.report import counted
from haven.tagger import Tagger
from haven.tasks import galleries
from haven.tasks.background import BackgroundTasks
from haven.tasks.batch import Batch
from haven.tasks.context import TaskContext
from haven.tasks.images import WriteImages
from haven.tasks.progress import CountBoard
from haven.tasks.start import announce
from haven.tasks.words import nothing_in_line


async def tag_images(context: TaskContext) -> str:
    """*Tag Images*: every image tagged ``VLM_TagMe``, or in a gallery that is, gets its tags, and only then loses that tag.

    An image that fails is tagged ``VLM_Errored``, stays queued, and the rest goes on. A gallery loses the tag when all of its
    images are done. Raises one of ``ENDS_THE_BATCH``, after logging the end line, when going on makes no sense: then every image
    that is not done stays queued.
    """
    return await _write_results(context, updating=False)


async def update_images(context: TaskContext) -> str:
    """*Update Tagged Images*: the same for ``VLM_UpdateMe``. What was answered before is not asked again."""
    return await _write_results(context, updating=True)


async def _write_results(context: TaskContext, *, updating: bool) -> str:
    names = context.settings.tag_names
    await context.stash(context.handler.require_images)
    await context.stash(context.handler.prepare)
    await context.recover_cut_off_runs()
    queue = names.update_me if updating else names.tag_me
    ids = await galleries.image_ids(context, queue)
    if not ids and not await galleries.in_line(context, queue):
        return nothing_in_line("image", queue)
    run_id = await context.open_run()
    if not ids:
        return f"No image is left to look at; {await galleries.release(context, run_id, queue, updating=updating)}."
    announce(
        context.settings,
        f"{counted(len(ids), 'image')} with the tag {queue}, or in galleries with it",
    )
    async with (
        Tagger(context.settings, context.store_path) as tagger,
        BackgroundTasks(context, tagger.stats) as shift,
    ):
        errand = WriteImages(
            context, tagger, CountBoard(len(ids), context.report), run_id, updating=updating
        )
        async with errand:
            batch = Batch(context, shift.turn, errand, ids)
            line = await batch.run()
        if batch.left:
            return line
    told = await galleries.release(context, run_id, queue, updating=updating)
    return f"{line} {told}." if told else line
