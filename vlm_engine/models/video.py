"""The built-in stages for videos: probe it, search it, describe what was found."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from vlm_engine.config.models import EngineConfig
from vlm_engine.errors import ConfigError
from vlm_engine.files import media_errors
from vlm_engine.models.base import Model, only
from vlm_engine.spans import describe_video, together
from vlm_engine.tagging.cascade import Cascade, Tags
from vlm_engine.tagging.category_search import CategorySearch
from vlm_engine.tagging.json_result import Earlier
from vlm_engine.tagging.search_run import SearchRun
from vlm_engine.types import Findings, VideoInfo, VideoResult
from vlm_engine.video import probe
from vlm_engine.video.container import name_of
from vlm_engine.vr import Layout, layout_of

_log = logging.getLogger(__name__)
_SAME_LENGTH_S, _SAME_TIME_S = 1.0, 0.1


class ProbeVideo(Model):
    """``video_path`` (and ``identity``) → ``VideoInfo``, without decoding."""

    needs = ("video_path",)

    def __init__(self, config: EngineConfig) -> None:
        self._config = config

    async def process(self, inputs: Mapping[str, Any]) -> VideoInfo:
        """Raises ``MediaError``."""
        video, stall_s = inputs["video_path"], self._config.video.stall_s
        with media_errors(name_of(video)):
            return await asyncio.to_thread(
                probe, video, identity=inputs.get("identity"), stall_s=stall_s
            )


class SearchVideo(Model):
    """``video`` (and how to look at it) → ``VideoResult`` with raw spans: the user's rules are not applied yet."""

    needs = ("video",)

    def __init__(self, panels: Sequence[Cascade], config: EngineConfig) -> None:
        self._panels = tuple(panels)
        self._config = config

    async def process(self, inputs: Mapping[str, Any]) -> VideoResult:
        """Raises ``MediaError``, ``NoEndpointError``, or ``CoverageError`` when too little could be judged."""
        video: VideoInfo = inputs["video"]
        panels = {panel: panel.tags(inputs.get("skipped_categories", ())) for panel in self._panels}
        judges = {judge for panel, tags in panels.items() if tags for judge in panel.members}
        async with AsyncExitStack() as turn:
            for judge in sorted(
                judges, key=id
            ):  # always in one order, so that nobody waits for somebody who waits for him
                await turn.enter_async_context(judge.instances)
                await turn.enter_async_context(judge.videos)
            return await self._searched(video, panels, inputs)

    async def _searched(
        self, video: VideoInfo, panels: Mapping[Cascade, Tags], inputs: Mapping[str, Any]
    ) -> VideoResult:
        how = self._config.search.with_interval(inputs.get("frame_interval"))
        layout = self._layout(video) if inputs.get("vr_video", False) else None
        media = media_name(video, layout)
        earlier = _checked(inputs.get("earlier"), video)
        parts = [
            await CategorySearch.begin(
                panel, video, tags, how, media=media, earlier=earlier.get(panel.category)
            )
            for panel, tags in panels.items()
        ]
        run = SearchRun(
            video, parts, inputs.get("on_progress"), vr=layout, reading=self._config.video
        )
        await run.to_the_end()
        findings = await asyncio.to_thread(lambda: tuple(part.findings() for part in parts))
        gaps_s = _joined(video.gaps_s + run.gaps_s())
        return VideoResult(
            video, together((), video.duration_s), findings, run.coverage(), gaps_s, run.calls()
        )

    def _layout(self, video: VideoInfo) -> Layout | None:
        layout = layout_of(self._config.video.vr_layout, video.path, video.width, video.height)
        _log.info(
            "%s: a VR video, %s",
            video.path,
            f"read as {layout}" if layout else "whose frames are shown as they are",
        )
        return layout


def media_name(video: VideoInfo, layout: Layout | None) -> str:
    """The name under which answers about a video are kept: one for each way to number and to show its frames.

    Times once counted from the first frame of a file, and joined recordings had one time twice. Answers of then stay apart.
    """
    counts_anew = video.first_s > _SAME_TIME_S or video.key_places
    name = f"{video.identity} from 0:00" if counts_anew else video.identity
    return f"{name} vr {layout}" if layout else name


def _checked(earlier: Earlier | None, video: VideoInfo) -> Mapping[str, Findings]:
    if earlier is None:
        return {}
    if abs(earlier.duration_s - video.duration_s) > _SAME_LENGTH_S:
        lengths = f"of {earlier.duration_s:.1f} s, and this one lasts {video.duration_s:.1f} s"
        raise ConfigError(f"existing_json_data: is of another video: {lengths}")
    return earlier.findings


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
    """Findings → the same with the user's rules applied. ``threshold`` is for tags that set none themselves."""

    def __init__(self, config: EngineConfig) -> None:
        self._config = config

    async def process(self, inputs: Mapping[str, Any]) -> VideoResult:
        """Raises ``ConfigError`` where there are no findings among its inputs."""
        result: VideoResult = only(inputs, "describe_video", VideoResult)
        duration_s = result.video.duration_s
        described = (
            describe_video(
                found.spans,
                found.category,
                self._config.rule_of(found.category, inputs.get("threshold")),
                duration_s,
            )
            for found in result.findings
        )
        return replace(result, info=together(described, duration_s))
