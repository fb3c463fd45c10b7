"""The tasks that look at videos: *Tag Videos*, *Update Tagged Videos*, *Preview*."""

from __future__ import annotations

import logging

from haven_media_handler import ItemChange, Scene
from haven_report import Outcome
from haven_tasks.batch import Batch, Errand
from haven_tasks.context import FROM_SCENE, TaskContext
from haven_tasks.words import change_told, title_of
from haven_vlm_engine import SceneTagger
from vlm_engine.types import VideoResult

_log = logging.getLogger(__name__)


async def tag_videos(context: TaskContext) -> str:
    """*Tag Videos*: every scene tagged ``VLM_TagMe`` gets its tags and markers, and only then loses that tag.

    A scene that fails is tagged ``VLM_Errored``, stays queued, and the rest goes on. Raises one of ``ENDS_THE_BATCH``,
    after logging the end line, when going on makes no sense: then every scene that is not done stays queued.
    """
    return await _write_results(context, updating=False)


async def update_videos(context: TaskContext) -> str:
    """*Update Tagged Videos*: the same for ``VLM_UpdateMe``. What was answered before is not asked again."""
    return await _write_results(context, updating=True)


async def preview(context: TaskContext) -> str:
    """*Preview*: looks at what *Tag Videos* would do, and says what would change. Writes nothing to Stash.

    The answers are kept, so *Tag Videos* then asks nothing twice. Raises as ``tag_videos`` does.
    """
    names = context.settings.tag_names
    ids = await context.stash(context.handler.scene_ids_with, names.tag_me)
    if context.given.get(FROM_SCENE) in ids:
        ids = ids[ids.index(context.given[FROM_SCENE]) :]
    if not ids:
        return _nothing_in_line(names.tag_me)

    async def settle(scene: Scene, result: VideoResult) -> ItemChange:
        markers = context.settings.create_markers
        change = await context.stash(context.handler.preview, scene.id, result.info, create_markers=markers)
        _log.info("Scene %s (%s) would change: %s.", scene.id, title_of(scene), change_told(change))
        return change

    async def fail(scene: Scene, reason: str) -> None:
        """The log says it; nothing else is to be written."""

    async with SceneTagger(context.settings, context.store_path) as tagger:
        line = await Batch(context, tagger, ids, Errand("looked at", Outcome.PLANNED, settle, fail)).run()
    return f"{line} Nothing was written to Stash."


async def _write_results(context: TaskContext, *, updating: bool) -> str:
    handler, names = context.handler, context.settings.tag_names
    await context.stash(handler.prepare)
    await context.settle_the_past()
    queue = names.update_me if updating else names.tag_me
    ids = await context.stash(handler.scene_ids_with, queue)
    if not ids:
        return _nothing_in_line(queue)
    run_id = await context.open_run()

    async def settle(scene: Scene, result: VideoResult) -> ItemChange:
        markers = context.settings.create_markers
        return await context.stash(handler.apply, run_id, scene.id, result.info, create_markers=markers, updating=updating)

    async def fail(scene: Scene, reason: str) -> None:
        await context.stash(handler.mark_failed, run_id, scene.id, reason)

    async with SceneTagger(context.settings, context.store_path) as tagger:
        verb = "updated" if updating else "tagged"
        return await Batch(context, tagger, ids, Errand(verb, Outcome.DONE, settle, fail)).run()


def _nothing_in_line(queue: str) -> str:
    return f"No scene carries the tag {queue}. Give it to the scenes that you mean, and start the task again."
