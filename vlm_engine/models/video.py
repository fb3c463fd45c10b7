"""The built-in stages for videos: probe it, search it, describe what was found."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from vlm_engine.config_models import EngineConfig
from vlm_engine.models.base import Model
from vlm_engine.models.judge import Judge
from vlm_engine.models.search_run import SearchRun
from vlm_engine.search import GroupedSearch, regrouped
from vlm_engine.spans import describe_video
from vlm_engine.types import Look, Purpose, VideoInfo, VideoResult
from vlm_engine.video import probe
from vlm_engine.vr import Layout, layout_of

_log = logging.getLogger(__name__)


class ProbeVideo(Model):
    """``video_path`` (and ``identity``, or None) → ``VideoInfo``, without decoding."""

    def __init__(self, config: EngineConfig) -> None:
        self._config = config

    async def process(self, inputs: Mapping[str, Any]) -> VideoInfo:
        """Raises ``MediaError``."""
        stall_s = self._config.video.stall_s
        return await asyncio.to_thread(probe, inputs["video_path"], identity=inputs["identity"], stall_s=stall_s)


class SearchVideo(Model):
    """``video`` → ``VideoResult`` with raw spans: the user's rules are not applied yet."""

    def __init__(self, judge: Judge, config: EngineConfig) -> None:
        self._judge = judge
        self._config = config

    async def process(self, inputs: Mapping[str, Any]) -> VideoResult:
        """Raises ``MediaError``, ``NoEndpointError``, or ``CoverageError`` when too little could be judged."""
        video: VideoInfo = inputs["video"]
        category = self._judge.model.category
        tags = () if category in inputs["skipped_categories"] else self._judge.model.tag_list
        how = self._config.search.with_interval(inputs["frame_interval"])
        layout = self._layout(video) if inputs["vr_video"] else None
        media = f"{video.identity} vr {layout}" if layout else video.identity
        groups = regrouped(tags, await self._judge.searches(media, how)) if tags else ()
        search = GroupedSearch(video, tags, groups, how)
        for time_s, observation in inputs["observations"]:
            known = tuple(tag for tag in observation.verdicts if tag in tags)
            search.record(Look(time_s, known, Purpose.SCAN), observation)
        reading = self._config.video
        run = SearchRun(self._judge, video, search, inputs["on_progress"], media=media, vr=layout, reading=reading)
        if tags:
            async with self._judge.instances:
                await run.to_the_end()
            await self._judge.note_searches(media, groups, how)
        unruled = describe_video((), category, self._config.rule_of(category), video.duration_s)
        spans, observations = await asyncio.to_thread(search.spans), tuple(search.observations())
        return VideoResult(video, category, unruled, spans, observations, run.coverage(), _joined(video.gaps_s + run.gaps_s()))

    def _layout(self, video: VideoInfo) -> Layout | None:
        layout = layout_of(self._config.video.vr_layout, video.path, video.width, video.height)
        _log.info("%s: a VR video, %s", video.path, f"read as {layout}" if layout else "whose frames are shown as they are")
        return layout


def _joined(stretches: Iterable[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Stretches that overlap or touch made one, in order of time."""
    joined: list[tuple[float, float]] = []
    for start_s, end_s in sorted(stretches):
        if joined and start_s <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], end_s)
        else:
            joined.append((start_s, end_s))
    return tuple(joined)


class DescribeVideo(Model):
    """``findings`` → the same with the user's rules applied. ``threshold`` is for tags that set none themselves."""

    def __init__(self, config: EngineConfig) -> None:
        self._config = config

    async def process(self, inputs: Mapping[str, Any]) -> VideoResult:
        """Raises nothing."""
        found: VideoResult = inputs["findings"]
        rule_of = self._config.rule_of(found.category, inputs["threshold"])
        return replace(found, info=describe_video(found.spans, found.category, rule_of, found.video.duration_s))
