"""The tasks that look at scenes and images: tag, update, bring back, and preview."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing

from haven.items import ItemKind
from haven.report import counted
from haven.tagger import Tagger
from haven.tasks import galleries
from haven.tasks.background import BackgroundTasks
from haven.tasks.batch import Batch, Writer
from haven.tasks.context import FIRST_LEFT, TaskContext
from haven.tasks.images import ImageHandler
from haven.tasks.messages import announce, nothing_queued
from haven.tasks.progress import CountBoard, ProgressBoard, split
from haven.tasks.scenes import SceneHandler, frames_of

_SCENES = (ItemKind.SCENE,)
_IMAGES = (ItemKind.IMAGE,)
_BOTH = (ItemKind.SCENE, ItemKind.IMAGE)


async def tag_videos(context: TaskContext) -> str:
    """*Tag Videos*: tag every scene with ``VLM_TagMe``, and only then remove that tag.

    A scene that fails gets ``VLM_Errored`` and stays queued; the rest goes on. Raises one of
    ``ENDS_THE_BATCH``, after logging the end line, when no other scene would succeed: then every
    scene that is not done stays queued.
    """
    return await _tag(context, _SCENES)


async def update_videos(context: TaskContext) -> str:
    """*Update Tagged Videos*: the same for ``VLM_UpdateMe``. Nothing is asked twice."""
    return await _tag(context, _SCENES, updating=True)


async def tag_images(context: TaskContext) -> str:
    """*Tag Images*: the same for images with ``VLM_TagMe``, and for those in galleries with it.

    A gallery loses the tag when all of its images are done.
    """
    return await _tag(context, _IMAGES)


async def update_images(context: TaskContext) -> str:
    """*Update Tagged Images*: the same for ``VLM_UpdateMe``. Nothing is asked twice."""
    return await _tag(context, _IMAGES, updating=True)


async def bring_back(context: TaskContext) -> str:
    """*Bring Back What You Removed*: update scenes and images; ``MediaHandler`` brings back."""
    return await _tag(context, _BOTH, updating=True)


async def preview(context: TaskContext) -> str:
    """*Preview*: say what the tasks that tag and update would change. Write nothing to Stash.

    The answers are kept, so those tasks ask nothing twice. Raises as ``tag_videos`` does.
    """
    names = context.settings.tag_names
    queues = (names.tag_me, names.update_me)
    ids = await _queued_ids(context, _BOTH, queues)
    kind, _, first_left = context.arguments.get(FIRST_LEFT, "").partition(" ")
    if kind == ItemKind.IMAGE:
        ids = {ItemKind.IMAGE: _from(first_left, ids[ItemKind.IMAGE])}
    else:
        ids[ItemKind.SCENE] = _from(first_left, ids[ItemKind.SCENE])
    if not any(ids.values()):
        return nothing_queued("scene or image", queues)
    lines, is_done = await _work(context, ids, Writer(context), queues)
    if is_done:
        lines.append(await galleries.describe_queued(context, queues))
    return " ".join(filter(None, [*lines, "Nothing was written to Stash."]))


async def _tag(context: TaskContext, kinds: Sequence[ItemKind], *, updating: bool = False) -> str:
    names, handler = context.settings.tag_names, context.handler
    queues = (names.update_me if updating else names.tag_me,)
    await context.stash(handler.prepare)
    await context.recover_cut_off_runs()
    ids = await _queued_ids(context, kinds, queues)
    has_images = ItemKind.IMAGE in kinds
    if not any(ids.values()) and not (has_images and await galleries.queued(context, queues)):
        return nothing_queued(" or ".join(kinds), queues)
    if ids.get(ItemKind.IMAGE):
        await context.stash(handler.require_images)
    writer = Writer(context, await context.open_run(), updating)
    lines, is_done = await _work(context, ids, writer, queues)
    if is_done and has_images:
        lines.append(await galleries.release(context, writer, queues))
    return " ".join(filter(None, lines))


async def _queued_ids(
    context: TaskContext, kinds: Sequence[ItemKind], queues: Sequence[str]
) -> dict[ItemKind, Sequence[str]]:
    return {
        kind: await galleries.image_ids(context, queues)
        if kind is ItemKind.IMAGE
        else await context.ids_with(kind, queues)
        for kind in kinds
    }


def _from(first_left: str, ids: Sequence[str]) -> Sequence[str]:
    return ids[ids.index(first_left) :] if first_left in ids else ids


async def _work(
    context: TaskContext,
    ids: Mapping[ItemKind, Sequence[str]],
    writer: Writer,
    queues: Sequence[str],
) -> tuple[list[str], bool]:
    """Work on scenes, then on images. Return the end lines, and whether nothing is left."""
    scenes, images = ids.get(ItemKind.SCENE, ()), ids.get(ItemKind.IMAGE, ())
    if not scenes and not images:
        return ["No image is left to look at."], True
    items = " and ".join(counted(len(some), kind) for kind, some in ids.items() if some)
    in_galleries = ", or in galleries with it" if images else ""
    announce(context.settings, f"{items} with the tag {' or '.join(queues)}{in_galleries}")
    report_scenes = report_images = context.report
    lines = []
    async with (
        Tagger(context.settings, context.store_path) as tagger,
        BackgroundTasks(context, tagger.stats) as background,
    ):
        if scenes and images:
            frames = await frames_of(context, scenes)
            report_scenes, report_images = split(context.report, frames, len(images))
        if scenes:
            board = ProgressBoard(len(scenes), report_scenes)
            scene_handler = SceneHandler(context, writer, tagger, board)
            scene_batch = Batch(context, background.time_slice, scene_handler, scenes)
            try:
                lines.append(await scene_batch.run())
            finally:
                context.record.styles = tagger.style_comparisons()
            if scene_batch.left:
                context.record.waiting[ItemKind.IMAGE] += len(images)
                return lines, False
        if images:
            count_board = CountBoard(len(images), report_images)
            image_handler = ImageHandler(context, writer, tagger, count_board)
            async with aclosing(image_handler):
                image_batch = Batch(context, background.time_slice, image_handler, images)
                lines.append(await image_batch.run())
            return lines, not image_batch.left
    return lines, True
