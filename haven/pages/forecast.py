"""The forecast of a task, from what checks have measured before. No endpoint is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from haven.pages.context import PageContext
from haven.pages.contract import ForecastArguments, Sections
from haven.pages.endpoints import values_of
from haven.pages.errors import BadRequestError
from haven.pages.measurements import kept_measurements, kept_places
from haven.report import counted
from haven.settings.settings import Settings
from haven.stash.filters import ItemFilter, filter_from
from haven.stash.queue_size import queue_tag_ids
from haven.stash.tags import TagCache
from haven.stash.transport import StashClient
from haven.stash.values import tag_key
from haven.stash.workload import (
    SceneLoad,
    count_images,
    count_images_in,
    count_images_in_filtered,
    filtered_scenes,
    named_scenes,
)
from haven.tagger import engine_config
from vlm_engine import ConfigError, Finding, Section, Severity, forecast_section


def forecast(context: PageContext, arguments: ForecastArguments) -> Sections:
    """Return how long a task will take, and what it will write.

    Raises ``BadRequestError``, ``ConfigError``, ``StashError`` and ``StoreError``.
    """
    settings = context.settings(with_tags=True)
    scenes, images = _load(context.client, settings, arguments)
    found = asyncio.run(
        measured_forecast(
            settings, context.store_path, scenes.lengths_s, images, scenes=scenes.count
        )
    )
    writes = Finding(Severity.OK, "writes", _writes(settings, scenes.count, images))
    return values_of([replace(found, findings=(*found.findings, writes))])


async def measured_forecast(
    settings: Settings,
    store_path: Path,
    lengths_s: Sequence[float],
    images: int,
    *,
    scenes: int | None = None,
) -> Section:
    """Return how long videos and images will take, by what earlier checks have measured.

    ``scenes``: the number of videos, if ``lengths_s`` are those of a sample. Raises ``StoreError``.
    """
    config, data_dir = engine_config(settings, store_path), store_path.parent
    measured = await asyncio.to_thread(kept_measurements, data_dir, config)
    places = None
    if config.cluster is not None:
        places = await asyncio.to_thread(kept_places, data_dir, config.cluster)
    at_once = settings.scenes_at_once(places)
    section = await forecast_section(
        measured, config, lengths_s, images, scenes=scenes, at_once=at_once, start=datetime.now()
    )
    findings = section.findings
    if not measured:
        findings = tuple(one for one in findings if one.what != "time")
        findings = (*findings, Finding(Severity.NOTE, "time", _UNKNOWN))
    elif config.cluster is not None and places is None and lengths_s:
        text = _UNKNOWN_CLUSTER.format(counted(at_once, "video"))
        findings = (*findings, Finding(Severity.NOTE, "cluster", text))
    return replace(section, findings=findings)


_UNKNOWN = "no endpoint has been found to work yet; check the set-up, and the time is told here"
_UNKNOWN_CLUSTER = (
    "how many videos it takes at once is not known yet, so the time is that of {} at once; start "
    "Check Set-up, and the time is that of the cluster"
)


def _load(
    client: StashClient, settings: Settings, given: ForecastArguments
) -> tuple[SceneLoad, int]:
    """Return the scenes and the number of images that the arguments name."""
    if given.is_new:
        return _filtered(client, *_new(client, settings, given.except_tags))
    if given == ForecastArguments():
        return _filtered(client, *_queued(client, settings))
    scene_filter, image_filter, gallery_filter = (
        _parsed(name, text, given.search)
        for name, text in (
            ("scene_filter", given.scene_filter),
            ("image_filter", given.image_filter),
            ("gallery_filter", given.gallery_filter),
        )
    )
    scenes, images = _filtered(client, scene_filter, image_filter)
    if given.scenes:
        scenes = named_scenes(client, given.scenes)
    images += len(given.images) + count_images_in(client, given.galleries)
    if gallery_filter:
        images += count_images_in_filtered(client, gallery_filter)
    return scenes, images


def _filtered(
    client: StashClient, scenes: ItemFilter | None, images: ItemFilter | None
) -> tuple[SceneLoad, int]:
    return (
        filtered_scenes(client, scenes) if scenes else SceneLoad(),
        count_images(client, images) if images else 0,
    )


def _parsed(name: str, text: str | None, search: str) -> ItemFilter | None:
    if text is None:
        return None
    try:
        return filter_from(text, search)
    except ValueError as error:
        raise BadRequestError(f"{name}: {error}") from None


def _queued(
    client: StashClient, settings: Settings
) -> tuple[ItemFilter, ItemFilter] | tuple[None, None]:
    ids = queue_tag_ids(client, (settings.tag_names.tag_me, settings.tag_names.update_me))
    if not ids:
        return None, None
    queued = {"tags": {"value": list(ids), "modifier": "INCLUDES", "depth": 0}}
    in_galleries = {"OR": {"galleries_filter": queued}} if settings.image_galleries else {}
    return ItemFilter(queued), ItemFilter({**queued, **in_galleries})


def _new(
    client: StashClient, settings: Settings, except_tags: Sequence[str]
) -> tuple[ItemFilter, ItemFilter]:
    found = TagCache(client, settings.tag_names).find((settings.tag_names.tagged, *except_tags))
    if unknown := [name for name in except_tags if tag_key(name) not in found]:
        raise ConfigError(f"Stash has no tag {', '.join(unknown)}")
    ids = [tag.id for tag in found.values()]
    new = ItemFilter({"tags": {"value": ids, "modifier": "EXCLUDES", "depth": 0}})
    return new, new


def _writes(settings: Settings, scenes: int, images: int) -> str:
    """Return what a task that tags would write to these items."""
    markers = "tags and markers" if settings.create_markers else "tags, and no markers,"
    parts = [f"{markers} for scenes"] * bool(scenes) + ["tags for images"] * bool(images)
    return f"{'; '.join(parts)}; {_STAYS}" if parts else "nothing"


_STAYS = "your own tags and markers, and what you decided, stay as they are"
