"""The forecast for the queue, from what checks have measured before. No endpoint is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from haven.pages.context import PageContext
from haven.pages.contract import Sections
from haven.pages.endpoints import values_of
from haven.pages.measurements import kept_measurements
from haven.stash.queue_size import queue_size, queue_tag_ids
from haven.stash.reading import queued_videos
from haven.tagger import engine_config
from vlm_engine import EngineConfig, Finding, Section, Severity, forecast_section


def forecast(context: PageContext) -> Sections:
    """Return how long the queue will take. Raises ``ConfigError``, ``StashError``,
    ``StoreError``.
    """
    settings = context.settings(with_tags=True)
    config = engine_config(settings, context.store_path)
    queues = (settings.tag_names.tag_me, settings.tag_names.update_me)
    videos = {
        video.scene_id: video.duration_s
        for tag_id in queue_tag_ids(context.client, queues)
        for video in queued_videos(context.client, tag_id)
    }
    images = queue_size(context.client, queues).images
    at_once = settings.concurrent_task_limit
    section = measured_forecast(
        context.data_dir, config, list(videos.values()), images, at_once=at_once
    )
    return values_of([asyncio.run(section)])


async def measured_forecast(
    data_dir: Path,
    config: EngineConfig,
    lengths_s: Sequence[float],
    images: int,
    *,
    at_once: int,
) -> Section:
    """Return how long videos and images will take, by what earlier checks have measured.

    Raises ``StoreError``.
    """
    measured = await asyncio.to_thread(kept_measurements, data_dir, config)
    section = await forecast_section(
        measured, config, lengths_s, images, at_once=at_once, start=datetime.now()
    )
    if measured:
        return section
    findings = tuple(one for one in section.findings if one.what != "time")
    return replace(section, findings=(*findings, Finding(Severity.NOTE, "time", _UNKNOWN)))


_UNKNOWN = "no endpoint has been found to work yet; check the set-up, and the time is told here"
