"""The tasks that look at scenes and images: tag, update, bring back, and preview."""

from __future__ import annotations

import logging
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
from haven.tasks.selection import EXCEPT_TAGS, excepted_tags
from vlm_engine import ConfigError

_log = logging.getLogger(__name__)
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
    ids = _left(context, await _queued_ids(context, _BOTH, queues))
    waiting = context.selection and await galleries.queued(context, queues)
    if not any(ids.values()) and not waiting:
        return _nothing(context, _BOTH, queues)
    lines, is_done = await _work(context, ids, Writer(context), _place(context, ids, queues))
    if is_done:
        lines.append(await galleries.describe_queued(context, queues))
    return " ".join(filter(None, [*lines, "Nothing was written to Stash."]))


async def _tag(context: TaskContext, kinds: Sequence[ItemKind], *, updating: bool = False) -> str:
    names, handler = context.settings.tag_names, context.handler
    queues = (names.update_me if updating else names.tag_me,)
    await context.stash(handler.prepare)
    await context.recover_cut_off_runs()
    ids = await _queued_ids(context, kinds, queues)
    if context.selection is not None:
        ids = _left(context, ids)
    has_images = ItemKind.IMAGE in kinds
    if not any(ids.values()) and not (has_images and await galleries.queued(context, queues)):
        return _nothing(context, kinds, queues)
    if ids.get(ItemKind.IMAGE):
        await context.stash(handler.require_images)
    writer = Writer(context, await context.open_run(), updating)
    lines, is_done = await _work(context, ids, writer, _place(context, ids, queues))
    if is_done and has_images:
        lines.append(await galleries.release(context, writer, queues))
    return " ".join(filter(None, lines))


async def tag_new(context: TaskContext) -> str:
    """*Tag What Is New*: tag every scene and image without ``VLM_Tagged``, queued or not.

    The argument ``except_tags`` names tags whose items are left out. Raises as ``tag_videos``
    does, and ``ConfigError`` for a tag that Stash does not have.
    """
    handler, excepted = context.handler, excepted_tags(context.arguments)
    if unknown := await context.stash(handler.names_without_tag, excepted):
        raise ConfigError(
            f"task arguments: {EXCEPT_TAGS}: Stash has no tag {', '.join(unknown)}; correct the "
            "name, so that nothing is tagged that is to be left out"
        )
    await context.stash(handler.prepare)
    await context.recover_cut_off_runs()
    videos = await context.stash(handler.untagged_videos, excepted)
    images = await context.stash(handler.untagged_images, excepted)
    if not videos and not images:
        return "There is nothing new: every scene and image is tagged already, or left out."
    if images:
        await context.stash(handler.require_images)
    await _log_forecast(context, [video.duration_s for video in videos], len(images))
    ids = {
        ItemKind.SCENE: await context.in_order(ItemKind.SCENE, [one.scene_id for one in videos]),
        ItemKind.IMAGE: await context.in_order(ItemKind.IMAGE, images),
    }
    writer = Writer(context, await context.open_run())
    without = f" and without {' or '.join(excepted)}" if excepted else ""
    tagged = context.settings.tag_names.tagged
    lines, _ = await _work(context, ids, writer, f"{_items(ids)} without the tag {tagged}{without}")
    return " ".join(lines)


async def _log_forecast(context: TaskContext, lengths_s: Sequence[float], images: int) -> None:
    from haven.pages.forecast import measured_forecast

    section = await measured_forecast(context.settings, context.store_path, lengths_s, images)
    for finding in section.findings:
        _log.info("Forecast, %s: %s.", finding.what, finding.text)


async def _queued_ids(
    context: TaskContext, kinds: Sequence[ItemKind], queues: Sequence[str]
) -> dict[ItemKind, Sequence[str]]:
    chosen = context.selection
    ids: dict[ItemKind, Sequence[str]] = {}
    for kind in kinds:
        if kind is ItemKind.IMAGE:
            ids[kind] = await galleries.image_ids(context, queues)
        else:
            found = chosen.of(kind) if chosen else await context.ids_with(kind, queues)
            ids[kind] = await context.in_order(kind, found)
    return ids


def _left(
    context: TaskContext, ids: Mapping[ItemKind, Sequence[str]]
) -> dict[ItemKind, Sequence[str]]:
    """Return the ids without those before the first that an earlier time slice has left.

    A filter may no longer show that one; then the next one in the order of ids is the first.
    """
    kind, _, first_left = context.arguments.get(FIRST_LEFT, "").partition(" ")
    left = dict(ids)
    if kind == ItemKind.IMAGE:
        left[ItemKind.SCENE] = ()
    some = left.get(ItemKind(kind), ()) if kind else ()
    if first_left in some:
        left[ItemKind(kind)] = some[some.index(first_left) :]
    elif some and context.selection and list(some) == sorted(some, key=int):
        left[ItemKind(kind)] = [one for one in some if int(one) > int(first_left)]
    return left


def _nothing(context: TaskContext, kinds: Sequence[ItemKind], queues: Sequence[str]) -> str:
    """Return the end line of a task that found nothing to do."""
    noun = " or ".join(kinds)
    if context.selection is None:
        return nothing_queued(noun, queues)
    return f"No {noun} is left that the task's arguments name, so nothing was done."


def _items(ids: Mapping[ItemKind, Sequence[str]]) -> str:
    return " and ".join(counted(len(some), kind) for kind, some in ids.items() if some)


def _place(
    context: TaskContext, ids: Mapping[ItemKind, Sequence[str]], queues: Sequence[str]
) -> str:
    """Return the items for the line that announces the work."""
    if context.selection is not None:
        return f"{_items(ids)} that the task's arguments name"
    in_galleries = ", or in galleries with it" if ids.get(ItemKind.IMAGE) else ""
    return f"{_items(ids)} with the tag {' or '.join(queues)}{in_galleries}"


async def _work(
    context: TaskContext,
    ids: Mapping[ItemKind, Sequence[str]],
    writer: Writer,
    place: str,
) -> tuple[list[str], bool]:
    """Work on scenes, then on images. Return the end lines, and whether nothing is left.

    ``place``: the items, for the line that announces the work.
    """
    scenes, images = ids.get(ItemKind.SCENE, ()), ids.get(ItemKind.IMAGE, ())
    if not scenes and not images:
        return ["No image is left to look at."], True
    announce(context.settings, place)
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
