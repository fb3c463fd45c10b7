"""Queued galleries: they stand for all of their images, and are done when these are."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from haven.items import ItemKind
from haven.report import ItemReport, Outcome, counted
from haven.settings.settings import names_in_stash
from haven.stash.errors import ItemGoneError, StashError
from haven.stash.values import Gallery, change_of
from haven.tasks.batch import Writer
from haven.tasks.context import FIRST_LEFT, TaskContext
from haven.tasks.failures import ENDS_THE_BATCH
from haven.tasks.messages import title_of
from vlm_engine import ImageTagInfo

_log = logging.getLogger(__name__)
_CHUNK = 50


async def image_ids(context: TaskContext, queues: Sequence[str]) -> tuple[str, ...]:
    """Return the images with one of the tags ``queues``, then those in galleries with one; or
    those that the task's arguments name, and those in galleries that they name. Each in order.

    A task that goes on in a new time slice skips the images in galleries that it has done: they
    carry no tag that says so.
    """
    if chosen := context.selection:
        find_in = context.handler.image_ids_in
        inside = await context.stash(find_in, chosen.of(ItemKind.GALLERY))
        named = tuple(dict.fromkeys((*chosen.of(ItemKind.IMAGE), *inside)))
        return await context.in_order(ItemKind.IMAGE, named)
    tagged = await context.in_order(ItemKind.IMAGE, await context.ids_with(ItemKind.IMAGE, queues))
    if not context.settings.image_galleries:
        return tagged
    find = context.handler.image_ids_in_galleries_with
    in_galleries = [one for queue in queues for one in await context.stash(find, queue)]
    known = set(tagged)
    new = [one for one in dict.fromkeys(in_galleries) if one not in known]
    more = await context.in_order(ItemKind.IMAGE, new)
    first_left = context.arguments.get(FIRST_LEFT, "").removeprefix(f"{ItemKind.IMAGE} ")
    return (*tagged, *(more[more.index(first_left) :] if first_left in more else more))


async def queued(context: TaskContext, queues: Sequence[str]) -> tuple[str, ...]:
    """Return the galleries with one of the tags ``queues``, if they stand for their images; or
    those that the task's arguments name.
    """
    if chosen := context.selection:
        return chosen.of(ItemKind.GALLERY)
    if not context.settings.image_galleries:
        return ()
    return await context.ids_with(ItemKind.GALLERY, queues)


async def describe_queued(context: TaskContext, queues: Sequence[str]) -> str:
    """Return what a task would do with the queued galleries; "" without any."""
    waiting = await queued(context, queues)
    if not waiting:
        return ""
    share = " and get the tags of enough images" if context.settings.gallery_tag_share else ""
    state = "named" if context.selection else "queued"
    return f"{counted(len(waiting), 'gallery')} {state}: done after the last image{share}."


async def release(context: TaskContext, writer: Writer, queues: Sequence[str]) -> str:
    """Take each gallery off the queue if all of its images are tagged and none has failed.

    Gives it the tags that enough of its images have, if that is set. Returns a line about it.
    Raises one of ``ENDS_THE_BATCH``.
    """
    ids = await queued(context, queues)
    outcomes = []
    for start in range(0, len(ids), _CHUNK):
        read = context.handler.read
        for gallery in await context.stash(read, Gallery, ids[start : start + _CHUNK]):
            report = await _release_one(context, writer, gallery)
            outcomes.append(report.outcome)
            context.record.add(report)
    if not outcomes:
        return ""
    done = outcomes.count(Outcome.DONE)
    rest = "not done" if context.selection else "still queued"
    stay = f", {len(outcomes) - done:,} {rest}" if done < len(outcomes) else ""
    return f"{done:,} of {counted(len(outcomes), 'gallery')} done{stay}."


async def _release_one(context: TaskContext, writer: Writer, gallery: Gallery) -> ItemReport:
    names, share = context.settings.tag_names, context.settings.gallery_tag_share
    report = ItemReport(ItemKind.GALLERY, gallery.id, title_of(gallery), Outcome.DONE)
    tags = tuple(dict.fromkeys(names_in_stash(context.settings).values())) if share else ()
    try:
        counts = await context.stash(
            context.handler.image_tag_counts, gallery.id, (names.tagged, names.errored, *tags)
        )
        lacking = max(gallery.image_count - counts[names.tagged], counts[names.errored])
        if lacking > 0:
            images = counted(gallery.image_count, "image")
            raise _NotDoneError(f"{lacking:,} of its {images} could not be done")
        found = tuple(
            tag for tag in tags if counts[tag] and counts[tag] / gallery.image_count >= share
        )
        result = ImageTagInfo({"": found}, {}) if share else None
        fates = await context.stash(
            context.handler.apply,
            writer.run_id,
            ItemKind.GALLERY,
            {gallery.id: result},
            updating=writer.updating,
        )
        change = change_of(fates)
    except ENDS_THE_BATCH:
        raise
    except ItemGoneError as error:
        return replace(report, outcome=Outcome.GONE, error=str(error))
    except (StashError, _NotDoneError) as error:
        state = "is not done" if context.selection else "stays queued"
        _log.warning("Gallery %s (%s) %s: %s", gallery.id, report.title, state, error)
        return replace(report, outcome=Outcome.FAILED, error=str(error))
    return replace(report, change=change, tags=found)


class _NotDoneError(Exception):
    """A gallery has images that are not done."""
