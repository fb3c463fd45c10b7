"""The forecast for the queue, from what checks have measured before. No endpoint is asked."""

from __future__ import annotations

import asyncio
from datetime import datetime

from haven.pages.context import PageContext
from haven.pages.contract import Sections
from haven.pages.endpoints import values_of
from haven.pages.measurements import kept_measurements
from haven.stash.queue_size import queue_size, queue_tag_ids
from haven.stash.reading import queued_videos
from haven.tagger import engine_config
from vlm_engine import forecast_section


def forecast(context: PageContext) -> Sections:
    """Return how long the queue will take. Raises ``ConfigError``, ``StashError``,
    ``StoreError``.
    """
    settings = context.settings()
    config = engine_config(settings, context.store_path)
    queues = (settings.tag_names.tag_me, settings.tag_names.update_me)
    videos = {
        video.scene_id: video.duration_s
        for tag_id in queue_tag_ids(context.client, queues)
        for video in queued_videos(context.client, tag_id)
    }
    section = forecast_section(
        kept_measurements(context.data_dir, config),
        config,
        list(videos.values()),
        queue_size(context.client, queues).images,
        at_once=settings.concurrent_task_limit,
        start=datetime.now(),
    )
    return values_of([asyncio.run(section)])
