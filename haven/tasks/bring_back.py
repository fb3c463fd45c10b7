"""*Bring Back What You Removed*: an update by which all that is found is put there, also what people had taken off."""

from __future__ import annotations

from dataclasses import replace

from haven.items import ItemKind
from haven.report import End
from haven.tasks import galleries
from haven.tasks.context import TaskContext
from haven.tasks.progress import split
from haven.tasks.scenes import frames_of
from haven.tasks.tag_images import update_images
from haven.tasks.tag_videos import update_videos
from haven.tasks.words import nothing_in_line


async def bring_back(context: TaskContext) -> str:
    """*Bring Back What You Removed*: *Update Tagged Videos* and then *Update Tagged Images*, in one run.

    That what people took off does not stay off is the handler's affair. Raises as these do.
    """
    queue = context.settings.tag_names.update_me
    await context.stash(context.handler.prepare)
    scenes = await context.stash(context.handler.ids_with, ItemKind.SCENE, queue)
    images = (*await galleries.image_ids(context, queue), *await galleries.in_line(context, queue))
    if not scenes and not images:
        return nothing_in_line("scene or image", queue)
    of_scenes, of_images = split(context.report, await frames_of(context, scenes), len(images))
    lines = []
    if scenes:
        lines.append(await update_videos(replace(context, report=of_scenes)))
    if images and context.record.end is not End.SLICED:
        lines.append(await update_images(replace(context, report=of_images)))
    return " ".join(lines)
