"""``vlm-engine check``: test endpoints and machine, and say what to do if something is wrong."""

from __future__ import annotations

import asyncio
import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from vlm_engine.checkup.frames import VideoFile
from vlm_engine.checkup.frames_section import frames_section
from vlm_engine.checkup.setup import SetupCheck, check_setup, forecast_section
from vlm_engine.checkup.values import Section, section_lines
from vlm_engine.cli.arguments import DONE, NO_ENDPOINT, SOME_FAILED, Program
from vlm_engine.cli.media import Found, Picture, Video, found
from vlm_engine.cli.output import Bar, printable, show
from vlm_engine.cli.settings import asked_endpoints, default_store, engine_config
from vlm_engine.cli.tag import VIDEOS_AT_ONCE
from vlm_engine.cluster import check_cluster, checked_places
from vlm_engine.config.models import EngineConfig
from vlm_engine.engine import VLMEngine
from vlm_engine.errors import ConfigError, MediaError
from vlm_engine.video import probe

_PROBED, _SAMPLED = 40, 20


async def check(given: Namespace, program: Program) -> int:
    """Run the command and return its exit code.

    Raise ``ConfigError``, ``StoreError`` and ``NoEndpointError``.
    """
    config = engine_config(given, program)
    asked_endpoints(config)
    store = Path(given.store or config.store_path or default_store())
    config = config.model_copy(update={"store_path": str(store)})
    if given.frames and not given.paths:
        raise ConfigError("--frames: name the videos whose frames are to be asked about")
    files = await asyncio.to_thread(found, given.paths)
    checked = await check_setup(config, store)
    sections = [*checked.sections]
    paths = [str(file.path) for file in files if isinstance(file, Video)]
    cluster = await check_cluster(config, paths[:_SAMPLED])
    if cluster is not None:
        sections.append(cluster)
    if given.frames:
        sections += await _compared(config, files, given.frames, quiet=given.json)
    if given.paths:
        at_once = checked_places(cluster) or VIDEOS_AT_ONCE
        sections.append(await _forecast(config, checked, files, at_once))
    _print(sections, as_json=given.json)
    if not any(endpoint.section.works for endpoint in checked.endpoints):
        return NO_ENDPOINT
    return DONE if all(section.works for section in sections) else SOME_FAILED


def _print(sections: Sequence[Section], *, as_json: bool) -> None:
    if as_json:
        values = [section.as_dict() for section in sections]
        show(json.dumps(values, ensure_ascii=False, indent=1) + "\n")
    else:
        texts = ("\n".join(map(printable, section_lines(each))) for each in sections)
        show("\n\n".join(texts) + "\n")


async def _compared(
    config: EngineConfig, files: Sequence[Found], frames: int, *, quiet: bool
) -> list[Section]:
    """Return how far cheaper styles of asking agree on frames of the videos."""
    bar = Bar(visible=sys.stderr.isatty() and not quiet)
    videos = [VideoFile(file.path) for file in files if isinstance(file, Video)]
    async with VLMEngine(config) as engine:
        comparisons = await engine.compare_styles(videos, frames, bar.draw)
    bar.clear()
    return [frames_section(each) for each in comparisons]


async def _forecast(
    config: EngineConfig, checked: SetupCheck, files: Sequence[Found], at_once: int
) -> Section:
    """Return how long it takes to tag the files, by the lengths of some of the videos."""
    videos = [file.path for file in files if isinstance(file, Video)]
    probed = min(_PROBED, len(videos))
    sampled = [videos[place * len(videos) // probed] for place in range(probed)]
    lengths_s = await asyncio.to_thread(_lengths, sampled, config.video.stall_s)
    return await forecast_section(
        checked.measured,
        config,
        lengths_s,
        sum(isinstance(file, Picture) for file in files),
        scenes=len(videos),
        at_once=at_once,
        start=datetime.now(),
    )


def _lengths(paths: Sequence[str], stall_s: float) -> list[float]:
    """Return the length of each video in seconds, without those that cannot be read."""
    lengths_s = []
    for path in paths:
        with suppress(MediaError):
            lengths_s.append(probe(path, stall_s=stall_s).duration_s)
    return lengths_s
