"""Galleries in line: all of their images are, and a gallery is done when these are."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from haven.items import ItemKind
from haven.report import ItemReport, Outcome, counted
from haven.stash.errors import ItemGoneError, StashError
from haven.stash.values import Gallery, change_of
from haven.tagger import names_in_stash
from haven.tasks.context import ENDS_THE_BATCH, FIRST_LEFT, TaskContext
from haven.tasks.words import title_of
from vlm_engine import ImageTagInfo

_log = logging.getLogger(__name__)
_CHUNK = 50


async def image_ids(context: TaskContext, *queues: str) -> tuple[str, ...]:
    """The images that carry one of the tags ``queues``, then those of galleries that do, where the settings say so.

    A task that goes on after its turn passes over what it has done of the latter: these carry no tag that tells.
    """
    handler = context.handler
    own = tuple(
        dict.fromkeys(
            [
                one
                for queue in queues
                for one in await context.stash(handler.ids_with, ItemKind.IMAGE, queue)
            ]
        )
    )
    if not context.settings.image_galleries:
        return own
    in_galleries = [
        one
        for queue in queues
        for one in await context.stash(handler.image_ids_in_galleries_with, queue)
    ]
    known = set(own)
    more = [image_id for image_id in dict.fromkeys(in_galleries) if image_id not in known]
    first_left = context.given.get(FIRST_LEFT, "").removeprefix(f"{ItemKind.IMAGE} ")
    return (*own, *(more[more.index(first_left) :] if first_left in more else more))


async def in_line(context: TaskContext, *queues: str) -> tuple[str, ...]:
    """The galleries that carry one of the tags ``queues``, where the settings let them stand for their images."""
    if not context.settings.image_galleries:
        return ()
    carry = context.handler.ids_with
    return tuple(
        dict.fromkeys(
            [one for queue in queues for one in await context.stash(carry, ItemKind.GALLERY, queue)]
        )
    )


async def foretold(context: TaskContext, *queues: str) -> str:
    """What would become of the galleries in line, for people; "" where there are none."""
    waiting = await in_line(context, *queues)
    if not waiting:
        return ""
    share = ", with the tags that enough images have" if context.settings.gallery_tag_share else ""
    return f" {counted(len(waiting), 'gallery')} in line, which would be done after the last image there{share}."


async def release(context: TaskContext, run_id: int, queue: str, *, updating: bool) -> str:
    """Takes every gallery off the queue all of whose images are tagged, and none errored; the others stay. No image of theirs
    may be left to look at. Gives the tags to each that enough of its images have, where the settings say how many that is.

    Returns what to tell of it. Raises one of ``ENDS_THE_BATCH``.
    """
    ids = await in_line(context, queue)
    reports: list[ItemReport] = []
    for start in range(0, len(ids), _CHUNK):
        for gallery in await context.stash(
            context.handler.read, Gallery, ids[start : start + _CHUNK]
        ):
            reports.append(await _release_one(context, run_id, gallery, updating=updating))
            context.record.add(reports[-1])
    done = sum(report.outcome is Outcome.DONE for report in reports)
    stays = len(reports) - done
    told = [f"{done:,} of {counted(len(reports), 'gallery')} done"] if reports else []
    return ", ".join([*told, f"{stays:,} still queued"] if stays else told)


async def _release_one(
    context: TaskContext, run_id: int, gallery: Gallery, *, updating: bool
) -> ItemReport:
    names, share = context.settings.tag_names, context.settings.gallery_tag_share
    report = ItemReport(ItemKind.GALLERY, gallery.id, title_of(gallery), Outcome.DONE)
    looked_for = _names_in_stash(context) if share else ()
    try:
        counts = await context.stash(
            context.handler.image_tag_counts, gallery.id, (names.tagged, names.errored, *looked_for)
        )
        lacking = max(gallery.image_count - counts[names.tagged], counts[names.errored])
        if lacking > 0:
            raise _NotDoneError(
                f"{lacking:,} of its {counted(gallery.image_count, 'image')} could not be done"
            )
        tags = (
            [
                name
                for name in looked_for
                if counts[name] and counts[name] / gallery.image_count >= share
            ]
            if share
            else None
        )
        info = None if tags is None else ImageTagInfo({"": tuple(tags)}, {})
        fates = await context.stash(
            context.handler.apply, run_id, ItemKind.GALLERY, {gallery.id: info}, updating=updating
        )
        change = change_of(fates)
    except ENDS_THE_BATCH:
        raise
    except ItemGoneError as error:
        return replace(report, outcome=Outcome.GONE, error=str(error))
    except (StashError, _NotDoneError) as error:
        _log.warning("Gallery %s (%s) stays queued: %s", gallery.id, report.title, error)
        return replace(report, outcome=Outcome.FAILED, error=str(error))
    return replace(report, change=change, tags=tuple(tags or ()))


class _NotDoneError(Exception):
    """A gallery has images that are not done."""


def _names_in_stash(context: TaskContext) -> Sequence[str]:
    """What is looked for, by the names that the tags have in Stash."""
    return tuple(dict.fromkeys(names_in_stash(context.settings).values()))
