"""*Preview*: what the tasks that tag would change."""

from __future__ import annotations

from haven.items import ItemKind
from haven.report import counted
from haven.tagger import Tagger
from haven.tasks import galleries
from haven.tasks.background import BackgroundTasks
from haven.tasks.batch import Batch
from haven.tasks.context import FIRST_LEFT, TaskContext
from haven.tasks.images import PreviewImages
from haven.tasks.progress import CountBoard, ProgressBoard, split
from haven.tasks.scenes import PreviewScenes, frames_of
from haven.tasks.start import announce
from haven.tasks.words import nothing_in_line


async def preview(context: TaskContext) -> str:
    """*Preview*: looks at what the tasks that tag and those that update would do, and says what would change. Writes nothing to
    Stash.

    The answers are kept, so those tasks then ask nothing twice. Raises as ``tag_videos`` does.
    """
    scene_ids, image_ids = await _in_line(context)
    if not scene_ids and not image_ids:
        return nothing_in_line("scene or image", *_queues(context))
    queues = " or ".join(_queues(context))
    announce(
        context.settings,
        f"{counted(len(scene_ids), 'scene')} and {counted(len(image_ids), 'image')} with the tag {queues}",
    )
    of_scenes, of_images = split(
        context.report, await frames_of(context, scene_ids), len(image_ids)
    )
    lines = []
    async with (
        Tagger(context.settings, context.store_path) as tagger,
        BackgroundTasks(context, tagger.stats) as shift,
    ):
        if scene_ids:
            scenes = PreviewScenes(context, tagger, ProgressBoard(len(scene_ids), of_scenes))
            batch = Batch(context, shift.turn, scenes, scene_ids)
            lines.append(await batch.run())
            if batch.left:
                context.record.waiting[ItemKind.IMAGE] += len(image_ids)
                return f"{lines[0]} Nothing was written to Stash."
        if image_ids:
            async with PreviewImages(
                context, tagger, CountBoard(len(image_ids), of_images)
            ) as images:
                lines.append(await Batch(context, shift.turn, images, image_ids).run())
    foretold = await galleries.foretold(context, *_queues(context))
    return f"{' '.join(lines)}{foretold} Nothing was written to Stash."


async def _in_line(context: TaskContext) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Scenes and images that are left to look at; nothing that an earlier turn has looked at."""
    kind, _, first_left = context.given.get(FIRST_LEFT, "").partition(" ")
    image_ids = await galleries.image_ids(context, *_queues(context))
    if kind == ItemKind.IMAGE:
        return (), _from(first_left, image_ids)
    scene_ids = dict.fromkeys(
        [
            one
            for queue in _queues(context)
            for one in await context.stash(context.handler.ids_with, ItemKind.SCENE, queue)
        ]
    )
    return _from(first_left, tuple(scene_ids)), image_ids


def _queues(context: TaskContext) -> tuple[str, str]:
    """What waits for a task that tags, and what for one that updates."""
    return context.settings.tag_names.tag_me, context.settings.tag_names.update_me


def _from(first_left: str, ids: tuple[str, ...]) -> tuple[str, ...]:
    return ids[ids.index(first_left) :] if first_left in ids else ids
