"""Tagging of one video: probe it, search it, and describe what was found by the user's rules."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import replace

from vlm_engine.config.models import EngineConfig
from vlm_engine.errors import ConfigError
from vlm_engine.spans import describe_video, together
from vlm_engine.tagging.cached_client import Cascade
from vlm_engine.tagging.category_search import CategorySearch
from vlm_engine.tagging.requests import Earlier, VideoRequest
from vlm_engine.tagging.search_run import SearchRun
from vlm_engine.types import Findings, VideoInfo, VideoResult, VideoTagInfo
from vlm_engine.video import probe as probe_source
from vlm_engine.vr import Layout, layout_of

_log = logging.getLogger(__name__)
_SAME_LENGTH_S, _SAME_TIME_S = 1.0, 0.1


async def probe(request: VideoRequest, config: EngineConfig) -> VideoInfo:
    """Return what the video's index says, without decoding. Raises ``MediaError``."""
    return await asyncio.to_thread(
        probe_source, request.source, identity=request.identity, stall_s=config.video.stall_s
    )


async def search(
    video: VideoInfo, cascades: Sequence[Cascade], request: VideoRequest, config: EngineConfig
) -> VideoResult:
    """Search the video for the tags of every category. The user's rules are not applied yet.

    Raises ``MediaError``, ``NoEndpointError``, and ``CoverageError`` when too little could be
    judged.
    """
    tags = {cascade: cascade.tags(request.skipped_categories) for cascade in cascades}
    clients = {client for cascade in cascades if tags[cascade] for client in cascade.members}
    async with AsyncExitStack() as places:
        for client in sorted(clients, key=id):  # always in one order, against deadlocks
            await places.enter_async_context(client.instances)
            await places.enter_async_context(client.open_videos)
        earlier = _findings_of(request.earlier, video)
        layout = vr_layout(video, config) if request.vr_video else None
        cache_key = cache_key_of(video, layout)
        search_config = config.search.with_interval(request.frame_interval).at_least(
            request.least_effort
        )
        searches = {
            cascade: await CategorySearch.begin(
                cascade,
                video,
                tags[cascade],
                search_config,
                cache_key=cache_key,
                earlier=earlier.get(cascade.category),
            )
            for cascade in cascades
            if tags[cascade]
        }
        run = SearchRun(
            video, [*searches.values()], request.on_progress, vr=layout, config=config.video
        )
        with closing(run):
            while queries := await asyncio.to_thread(run.next_queries):
                await run.ask(run.unanswered(queries))
                await run.ask(await run.comparisons(queries))
        await run.finish()
        judges = {cascade.category: await cascade.judge.identity() for cascade in searches}
        findings = await asyncio.to_thread(
            lambda: tuple(
                searches[cascade].findings()
                if cascade in searches
                else Findings(cascade.category, (), ())
                for cascade in cascades
            )
        )
    gaps_s = _merged(video.gaps_s + run.gaps_s())
    no_info = VideoTagInfo.of(video.duration_s, {})
    return VideoResult(
        video,
        no_info,
        findings,
        run.coverage(),
        gaps_s,
        run.calls(),
        run.seconds(),
        judges,
        search_config.effort,
    )


def describe(found: VideoResult, config: EngineConfig, threshold: float | None) -> VideoResult:
    """Apply the user's rules. ``threshold`` is for tags whose rule sets none."""
    duration_s = found.video.duration_s
    described = [
        describe_video(
            findings.spans,
            findings.category,
            config.rule_of(findings.category, threshold),
            duration_s,
        )
        for findings in found.findings
    ]
    return replace(found, info=together(described, duration_s))


def cache_key_of(video: VideoInfo, layout: Layout | None) -> str:
    """Return the name of a video in the answer store: one for each way to number and show frames.

    Times once counted from the first frame of a file, and joined recordings had one time twice. The
    answers from then stay apart.
    """
    numbered_anew = video.first_s > _SAME_TIME_S or video.key_places
    name = f"{video.identity} from 0:00" if numbered_anew else video.identity
    return f"{name} vr {layout}" if layout else name


def vr_layout(video: VideoInfo, config: EngineConfig) -> Layout | None:
    """Return how the frames of a VR video are laid out, logged; None: shown as they are."""
    layout = layout_of(config.video.vr_layout, video.path, video.width, video.height)
    _log.info(
        "%s: a VR video, %s",
        video.path,
        f"read as {layout}" if layout else "whose frames are shown as they are",
    )
    return layout


def _findings_of(earlier: Earlier | None, video: VideoInfo) -> Mapping[str, Findings]:
    if earlier is None:
        return {}
    if abs(earlier.duration_s - video.duration_s) > _SAME_LENGTH_S:
        lengths = f"of {earlier.duration_s:.1f} s, and this one lasts {video.duration_s:.1f} s"
        raise ConfigError(f"existing_json_data: is of another video: {lengths}")
    return earlier.findings


def _merged(stretches: Iterable[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Return the stretches in order of time, those that overlap or touch as one."""
    merged: list[tuple[float, float]] = []
    for start_s, end_s in sorted(stretches):
        if merged and start_s <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end_s)
        else:
            merged.append((start_s, end_s))
    return tuple(merged)
