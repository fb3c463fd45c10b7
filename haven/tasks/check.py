"""*Check Set-up*: what endpoints, machine, files and queue are like, before a run.

Nothing is written to Stash.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from haven.pages.context import PageContext
from haven.pages.measurements import keep_measurement, keep_places
from haven.report import by_severity, counted
from haven.settings.layers import on_the_page
from haven.settings.overlay import FILE, read_overlay, write_overlay
from haven.settings.plain import LOCAL_FILE
from haven.setup import SetupError
from haven.setup.bootstrap import ensure_cluster_packages
from haven.setup.copies import other_copies
from haven.setup.known_files import FileCheck, KnownFile, check_file
from haven.setup.mapping import describe_rules, propose_rules
from haven.setup.paths import PLUGIN_ID
from haven.stash.handler import MediaHandler
from haven.stash.values import Image, QueuedVideo, Scene
from haven.tagger import Tagger, engine_config
from haven.tasks import galleries
from haven.tasks.context import (
    FRAMES,
    WRITE,
    RunRecord,
    StashThread,
    TaskContext,
    says_yes,
)
from vlm_engine import (
    ConfigError,
    Finding,
    FrameComparison,
    MediaOutOfReachError,
    Readers,
    Section,
    SectionKind,
    SetupCheck,
    Severity,
    check_cluster,
    check_setup,
    checked_places,
    forecast_section,
    frames_section,
    map_path,
    measurements,
)

_T = TypeVar("_T")
_log = logging.getLogger(__name__)
_PLUGIN_DIR = Path(__file__).resolve().parents[2]
_SAMPLED = 20
_MOST_FRAMES = 1000
_PATHS = on_the_page("PATH_MUTATION")
_STALL_S = 5.0
_SEARCH_S = 8.0
_LEVELS = {Severity.OK: logging.INFO, Severity.NOTE: logging.WARNING, Severity.WRONG: logging.ERROR}


async def check(context: TaskContext) -> str:
    """*Check Set-up*: check everything, and write the results to the log and the report."""
    sections = await setup_sections(context)
    context.record.checks = sections
    counts = by_severity(*sections)
    for section in sections:
        _log.info("%s", section.title)
        for finding in section.findings:
            _log.log(_LEVELS[finding.severity], "%s: %s", finding.what, finding.text)
    faults = counts.get(Severity.WRONG, 0)
    notes = counted(counts.get(Severity.NOTE, 0), "note")
    if not faults:
        return f"The set-up is in order, with {notes}. Nothing was written to Stash."
    return (
        f"{counted(faults, 'fault')} and {notes}: see above and in the report. Nothing was written "
        "to Stash."
    )


async def setup_sections(context: TaskContext) -> tuple[Section, ...]:
    """Return what is found, in about half a minute, and longer where frames are compared.

    Raises ``StashError``, ``StoreError``, and ``ConfigError`` for wrong arguments.
    """
    frames, writes = _frames_wanted(context), says_yes(context.arguments, WRITE)
    config = engine_config(context.settings, context.store_path)
    endpoints = asyncio.create_task(check_setup(config, context.store_path))
    try:
        queue = await _read_queue(context)
        context.report(0.2)
        stash = await _stash_section(context, queue)
        cluster = await _cluster_section(context, queue)
        context.report(0.4)
        found = await endpoints
        await asyncio.to_thread(_keep_measurements, context.store_path.parent, found)
    finally:
        endpoints.cancel()
    compared = await _compared(context, queue, frames, writes=writes) if frames else ()
    context.report(0.9)
    forecast = await forecast_section(
        found.measured,
        config,
        [video.duration_s for video in queue.videos],
        len(queue.image_ids),
        at_once=context.settings.scenes_at_once(checked_places(cluster)),
        start=datetime.now(),
    )
    context.report(1.0)
    clusters = [cluster] if cluster else []
    return (*found.sections, *clusters, stash, *compared, forecast)


async def _cluster_section(context: TaskContext, queue: _Queue) -> Section | None:
    """Return what is found about the cluster, if there is one, and keep what it takes at once."""
    config = engine_config(context.settings, context.store_path)
    rules = context.settings.path_mutation  # of this machine, which may not have the files
    section = await check_cluster(config, [map_path(file.path, rules) for file in queue.files])
    if config.cluster is not None:
        data_dir, places = context.store_path.parent, checked_places(section)
        await asyncio.to_thread(keep_places, data_dir, config.cluster, places)
    return section


def _keep_measurements(data_dir: Path, found: SetupCheck) -> None:
    for checked in found.endpoints:
        keep_measurement(data_dir, checked.endpoint, next(measurements(checked), None))


def sections_for_page(page: PageContext) -> tuple[Section, ...]:
    """Return what is found about Stash, its queue and a sample of the queued files, and about the
    cluster if there is one. Blocking.

    Raises ``StashError``, and ``ConfigError`` for wrong settings.
    """
    settings = page.settings()
    handler = MediaHandler(
        page.client, page.store_path, settings.tag_names, vr_tag=page.server.vr_tag
    )
    with handler, contextlib.closing(StashThread()) as stash:
        context = TaskContext(
            settings=settings,
            handler=handler,
            stash=stash,
            store_path=page.store_path,
            server=page.server,
            report=lambda _: None,
            record=RunRecord("Check Set-up"),
            arguments={},
            plugin_id=PLUGIN_ID,
        )
        return asyncio.run(_read_and_check(context))


async def _read_and_check(context: TaskContext) -> tuple[Section, ...]:
    queue = await _read_queue(context)
    stash = await _stash_section(context, queue)
    cluster = context.settings.engine.cluster
    if cluster is None:
        return (stash,)
    try:
        ensure_cluster_packages(_PLUGIN_DIR, context.store_path.parent, may_install=False)
    except SetupError as error:
        finding = Finding(Severity.WRONG, "packages", str(error))
        return Section(SectionKind.CLUSTER, f"Cluster {cluster.address}", (finding,)), stash
    section = await _cluster_section(context, queue)
    return (section, stash) if section else (stash,)


def _frames_wanted(context: TaskContext) -> int:
    number = context.arguments.get(FRAMES, "").strip() or "0"
    if not number.isdecimal() or int(number) > _MOST_FRAMES:
        raise ConfigError(
            f"task arguments: {FRAMES}: {number!r} is not a number from 0 to {_MOST_FRAMES}"
        )
    return int(number)


async def _compared(
    context: TaskContext, queue: _Queue, frames: int, *, writes: bool
) -> list[Section]:
    """Return how far cheaper styles of asking agree on frames of the queue. Set the proposed one if
    that is wanted.
    """
    ids = [video.scene_id for video in queue.videos if video.path]
    scenes = await context.stash(context.handler.read, Scene, _sample(ids, frames))
    videos = [(scene.path, scene.oshash, scene.is_vr) for scene in scenes if scene.files]
    if not videos:
        return []
    here = context.settings.engine.model_copy(update={"cluster": None})
    settings = context.settings.model_copy(update={"engine": here})
    async with Tagger(settings, context.store_path) as tagger:
        comparisons = await tagger.compare_styles(
            videos, frames, lambda share: context.report(0.4 + 0.5 * share)
        )
    sections = [frames_section(each) for each in comparisons]
    if writes:
        sections[-1] = await asyncio.to_thread(_with_written, context, sections[-1], comparisons)
    return sections


def _with_written(
    context: TaskContext, section: Section, comparisons: Sequence[FrameComparison]
) -> Section:
    """Set the proposed style in the overlay, and return the section with a finding about it."""
    folder = context.store_path.parent
    proposed = comparisons[0].settings
    changes = {name.upper(): value for name, value in proposed.items()}
    if not changes or any(each.settings != proposed for each in comparisons):
        text = "nothing was set: there is no proposal, or models differ in it"
        finding = Finding(Severity.NOTE, "settings", text)
    else:
        overlay = write_overlay(folder, changes, read_overlay(folder).revision)
        values = ", ".join(f"{name}: {value}" for name, value in changes.items())
        text = f"set for every later run: {values} ({folder / FILE}, revision {overlay.revision})"
        finding = Finding(Severity.OK, "settings", text, changes)
    return replace(section, findings=(*section.findings, finding))


@dataclass(frozen=True, slots=True)
class _Queue:
    """Everything that waits. ``vr``: the number of VR scenes; ``images``: a sample."""

    videos: tuple[QueuedVideo, ...]
    vr: int
    image_ids: tuple[str, ...]
    images: tuple[Image, ...]

    @property
    def files(self) -> tuple[KnownFile, ...]:
        """A sample of the files, those of zips once."""
        videos = [KnownFile(each.path, each.size_bytes) for each in self.videos if each.path]
        images = [
            KnownFile(each.zip_path, 0) if each.zip_path else KnownFile(each.path, each.size_bytes)
            for each in self.images
            if each.path
        ]
        return (*_sample(videos), *_sample(list(dict.fromkeys(images))))


async def _read_queue(context: TaskContext) -> _Queue:
    handler, names = context.handler, context.settings.tag_names
    videos: dict[str, QueuedVideo] = {}
    vr = 0
    queues = (names.tag_me, names.update_me)
    for queue in queues:
        waiting = await context.stash(handler.queued_videos, queue)
        videos |= {video.scene_id: video for video in waiting}
        vr += await context.stash(handler.count_vr, queue)
    image_ids = await galleries.image_ids(context, queues)
    images = await context.stash(handler.read, Image, _sample(image_ids))
    return _Queue(tuple(videos.values()), vr, image_ids, images)


async def _stash_section(context: TaskContext, queue: _Queue) -> Section:
    findings = [_version(context), *await asyncio.to_thread(_other_copies, context)]
    findings.append(_queued(context, queue))
    findings += await _files(context, queue)
    findings += _special(queue)
    return Section(SectionKind.STASH, "Stash", tuple(findings))


def _version(context: TaskContext) -> Finding:
    stash = context.server
    access = "with its API key" if stash.has_api_key else "with a session, renewed during tasks"
    return Finding(Severity.OK, "version", f"{stash.version}, {access}", {"version": stash.version})


def _other_copies(context: TaskContext) -> list[Finding]:
    """Return a note for each copy of the plugin that Stash does not load."""
    plugins = Path(context.server.work_dir, context.server.plugins_path)
    if not context.server.plugins_path:
        return []
    return [
        Finding(Severity.NOTE, "other copy", _remedy(folder))
        for folder in other_copies(plugins, _PLUGIN_DIR)
    ]


def _remedy(folder: Path) -> str:
    text = f"{folder} is another copy of the plugin; Stash loads only this one, {_PLUGIN_DIR}"
    if (folder / LOCAL_FILE).exists():
        text += f"; if you want the settings in its {LOCAL_FILE}, move that file here"
    return f"{text}; remove that folder, or uninstall it in Settings > Plugins"


def _queued(context: TaskContext, queue: _Queue) -> Finding:
    names = context.settings.tag_names
    scenes, images = len(queue.videos), len(queue.image_ids)
    tags = f"{names.tag_me} or {names.update_me}"
    figures = {"scenes": scenes, "images": images}
    if not scenes and not images:
        text = f"nothing carries {tags}, so no file was tried and there is nothing to forecast"
        return Finding(Severity.NOTE, "queue", text, figures)
    items = {"scene": scenes, "image": images}
    waiting = " and ".join(counted(number, noun) for noun, number in items.items() if number)
    return Finding(Severity.OK, "queue", f"{waiting} with {tags}", figures)


async def _files(context: TaskContext, queue: _Queue) -> list[Finding]:
    """Return whether a sample of the files can be read here, and the rules that would help.

    With a cluster its workers read them.
    """
    if not queue.files or context.settings.engine.cluster is not None:
        return []
    rules = context.settings.path_mutation
    checks = await _checked(queue.files, rules)
    missing = [each for each in checks if not each.is_readable]
    readable = [each.file for each in checks if each.is_readable]
    figures: dict[str, int | str | None] = {"sampled": len(checks), "readable": len(readable)}
    sampled = f"{len(readable)} of {len(checks)} sampled files can be read here"
    if not missing:
        return [Finding(Severity.OK, "files", sampled, figures)]
    proposed = await asyncio.to_thread(
        propose_rules,
        [each.file for each in missing],
        context.server.libraries,
        limit_s=_SEARCH_S,
        readable=readable,
        rules=rules,
    )
    remedy = (
        f"set {_PATHS} to: {describe_rules(proposed)}"
        if proposed
        else f"if this machine has them under other paths, say so in {_PATHS}"
    )
    through_stash = context.settings.stream_from_stash
    text = f"{sampled}; {missing[0].here}: {missing[0].fault}; {remedy}"
    if through_stash:
        text += "; until then videos are read through Stash, which is slower"
    figures["proposed"] = describe_rules(proposed) if proposed else None
    return [Finding(Severity.NOTE if through_stash else Severity.WRONG, "files", text, figures)]


async def _checked(files: Sequence[KnownFile], rules: Sequence[tuple[str, str]]) -> list[FileCheck]:
    """Try every file, each on a thread that nobody waits for if its disk hangs."""
    readers = Readers(len(files), _STALL_S)

    async def tried(file: KnownFile) -> FileCheck:
        try:
            return await readers.call(file.path, partial(check_file, file, rules))
        except MediaOutOfReachError as error:
            return FileCheck(file, file.path, str(error))

    try:
        return list(await asyncio.gather(*map(tried, files)))
    finally:
        await readers.aclose()


def _special(queue: _Queue) -> Iterator[Finding]:
    if queue.vr:
        text = f"{counted(queue.vr, 'scene')}, of which only what one eye sees ahead is sent"
        yield Finding(Severity.OK, "VR", text, {"scenes": queue.vr})
    zipped = sum(image.zip_path is not None for image in queue.images)
    if zipped:
        text = f"{zipped} of {len(queue.images)} sampled images are in zips, which are opened"
        yield Finding(Severity.OK, "zips", text, {"sampled": len(queue.images), "zipped": zipped})


def _sample(items: Sequence[_T], most: int = _SAMPLED) -> Sequence[_T]:
    """Return at most so many of them, spread evenly."""
    if len(items) <= most:
        return items
    return [items[place * len(items) // most] for place in range(most)]
