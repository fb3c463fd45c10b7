"""*Preview*: what the tasks that tag would change."""

from __future__ import annotations

from haven_tasks.batch import Batch
from haven_tasks.context import FIRST_LEFT, TaskContext
from haven_tasks.progress import ProgressBoard
from haven_tasks.scenes import PreviewScenes
from haven_tasks.shift import Shift
from haven_tasks.words import nothing_in_line
from haven_vlm_engine import Tagger


async def preview(context: TaskContext) -> str:
    """*Preview*: looks at what *Tag Videos* would do, and says what would change. Writes nothing to Stash.

    The answers are kept, so *Tag Videos* then asks nothing twice. Raises as ``tag_videos`` does.
    """
    names = context.settings.tag_names
    ids = await context.stash(context.handler.scene_ids_with, names.tag_me)
    first_left = context.given.get(FIRST_LEFT, "").removeprefix("scene ")
    if first_left in ids:
        ids = ids[ids.index(first_left) :]
    if not ids:
        return nothing_in_line("scene", names.tag_me)
    async with Tagger(context.settings, context.store_path) as tagger, Shift(context, tagger.stats) as shift:
        errand = PreviewScenes(context, tagger, ProgressBoard(len(ids), context.report))
        line = await Batch(context, shift.turn, errand, ids).run()
    return f"{line} Nothing was written to Stash."
