"""The task *Tag Videos*: every scene tagged ``VLM_TagMe`` gets its tags and markers, and only then loses that tag."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Sequence
from functools import partial
from pathlib import PurePosixPath

from haven_media_handler import Applied, JournalError, Scene, SceneGoneError, StashAuthError, StashError, StashUnreachableError
from haven_tasks.context import EXPECTED, TaskContext
from haven_tasks.endpoints import interim_line, summary_lines
from haven_tasks.progress import ProgressBoard
from haven_vlm_engine import SceneTagger
from vlm_engine.errors import MediaNotFoundError, NoEndpointError, StoreError
from vlm_engine.types import VideoResult

_log = logging.getLogger(__name__)
_CHUNK = 50
_TELL_EVERY_S = 60.0

ENDS_THE_BATCH = (NoEndpointError, StoreError, StashUnreachableError, StashAuthError, JournalError)
"""After one of these no other scene would fare better."""


async def tag_videos(context: TaskContext) -> str:
    """Runs the task and returns its end line.

    A scene that fails is tagged ``VLM_Errored``, stays queued, and the rest goes on. Raises one of
    ``ENDS_THE_BATCH``, after logging the end line, when going on makes no sense: then every scene that is not done stays queued.
    """
    handler, names = context.handler, context.settings.tag_names
    await context.stash(handler.prepare)
    for recovered in await context.stash(handler.recover):
        how = "its results were in Stash already" if recovered.finished else "it is done again from the stored answers"
        _log.info("Scene %s: an earlier run was cut off here; %s.", recovered.scene_id, "it is gone" if recovered.gone else how)
    ids = await context.stash(handler.queued_scene_ids)
    if not ids:
        return f"No scene carries the tag {names.tag_me}. Give it to the scenes that you want tagged, and start the task again."
    async with SceneTagger(context.settings, context.store_path) as tagger:
        return await _Batch(context, tagger, ids).run()


class _Batch:
    """The scenes of one run. ``CONCURRENT_TASK_LIMIT`` workers take them one by one."""

    def __init__(self, context: TaskContext, tagger: SceneTagger, ids: Sequence[str]) -> None:
        self._context = context
        self._tagger = tagger
        self._ids = deque(ids)
        self._scenes: deque[Scene] = deque()
        self._reading = asyncio.Lock()
        self._board = ProgressBoard(len(ids), context.report)
        self._outcomes: Counter[str] = Counter(queued=len(ids))
        self._run_id = 0

    async def run(self) -> str:
        """See ``tag_videos``."""
        context, started = self._context, time.monotonic()
        self._run_id = await context.stash(context.handler.start_run, "Tag Videos")
        _log.info("%s to tag, %d at a time.", counted(len(self._ids), "scene"), context.settings.concurrent_task_limit)
        beside = [asyncio.create_task(work) for work in (self._keep_session(), self._tell_of_endpoints())]
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(context.settings.concurrent_task_limit):
                    group.create_task(self._work())
        except BaseExceptionGroup as errors:
            _log.warning("%s", self._end_line(time.monotonic() - started))
            raise errors.exceptions[0] from None
        finally:
            for task in beside:
                task.cancel()
            for line in summary_lines(self._tagger.stats(), time.monotonic() - started):
                _log.info("%s", line)
        await context.stash(context.handler.finish_run, self._run_id)
        return self._end_line(time.monotonic() - started)

    async def _keep_session(self) -> None:
        """Stash forgets a session that is idle for so long; one scene may take longer."""
        while True:
            await asyncio.sleep(max(1.0, self._context.session_age_s / 4))
            try:
                await self._context.stash(self._context.handler.ping)
            except StashError as error:
                _log.warning("Stash did not answer just now: %s", error)

    async def _tell_of_endpoints(self) -> None:
        before = self._tagger.stats()
        while True:
            await asyncio.sleep(_TELL_EVERY_S)
            now = self._tagger.stats()
            line = interim_line(before, now, _TELL_EVERY_S)
            if line is not None:
                _log.info("%s", line)
            before = now

    async def _work(self) -> None:
        while (scene := await self._next_scene()) is not None:
            await self._tag_one(scene)
            self._outcomes["queued"] -= 1
            self._board.finish(scene.id)

    async def _next_scene(self) -> Scene | None:
        async with self._reading:
            while not self._scenes and self._ids:
                chunk = [self._ids.popleft() for _ in range(min(_CHUNK, len(self._ids)))]
                scenes = await self._context.stash(self._context.handler.scenes, chunk)
                self._gone(len(chunk) - len(scenes))
                for scene in scenes:
                    self._board.announce(scene.id, scene.duration_s)
                self._scenes.extend(scenes)
            return self._scenes.popleft() if self._scenes else None

    def _gone(self, count: int) -> None:
        self._outcomes["gone"] += count
        self._outcomes["queued"] -= count

    async def _tag_one(self, scene: Scene) -> None:
        """The boundary around one scene: whatever goes wrong inside concerns this scene alone."""
        context, started = self._context, time.monotonic()
        try:
            result = await self._look_at(scene)
            applied = await context.stash(
                context.handler.apply,
                self._run_id,
                scene.id,
                result.info,
                create_markers=context.settings.create_markers,
            )
        except ENDS_THE_BATCH:
            raise
        except SceneGoneError as error:
            self._outcomes["gone"] += 1
            _log.warning("%s", error)
        except Exception as error:  # noqa: BLE001  # the one boundary: an unforeseen fault costs one scene, not the batch
            self._outcomes["failed"] += 1
            reason = str(error) if isinstance(error, EXPECTED) else f"{type(error).__name__}: {error}"
            _log.error("Scene %s (%s) failed and stays queued: %s", scene.id, _title(scene), reason)
            _log.debug("Where it failed:", exc_info=error)
            await context.stash(context.handler.mark_failed, self._run_id, scene.id, reason)
        else:
            self._outcomes["tagged"] += 1
            _log.info("%s", _scene_line(scene, result, applied, time.monotonic() - started))

    async def _look_at(self, scene: Scene) -> VideoResult:
        if not scene.files:
            raise MediaNotFoundError("Stash knows no file for it")
        return await self._tagger.tag(scene.path, scene.oshash, partial(self._board.advance, scene.id))

    def _end_line(self, seconds: float) -> str:
        outcomes, coverage = self._outcomes, self._board.coverage()
        parts = [f"{counted(outcomes['tagged'], 'scene')} tagged", f"{outcomes['failed']} failed"]
        if outcomes["gone"]:
            parts.append(f"{outcomes['gone']} no longer in Stash")
        if outcomes["queued"]:
            parts.append(f"{outcomes['queued']} not finished and still queued")
        frames = f"{counted(coverage.asked, 'frame')} asked, {coverage.answered} answered, {coverage.failed} failed"
        return f"{', '.join(parts)}; {frames}; {counted(coverage.calls, 'call')}; {seconds:.0f} s."


def _title(scene: Scene) -> str:
    return scene.title or PurePosixPath(scene.path.replace("\\", "/")).name or "no file"


def counted(number: int, noun: str) -> str:
    """``1 scene``, ``2 scenes``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _scene_line(scene: Scene, result: VideoResult, applied: Applied, seconds: float) -> str:
    tags = ", ".join(tag for own in result.info.tags.values() for tag in own) or "none of the tags"
    counts = {"new": applied.markers_created, "kept": applied.markers_kept, "removed": applied.markers_removed}
    markers = ", ".join(f"{number} {what}" for what, number in counts.items() if number) or "none"
    coverage = result.coverage
    known = coverage.answered - coverage.calls
    earlier = f", {known} of them in an earlier run" if known else ""
    frames = f"{coverage.answered} of {counted(coverage.asked, 'frame')} judged{earlier}"
    gaps = "".join(f"; nothing could be read from {start_s:.0f} to {end_s:.0f} s" for start_s, end_s in result.gaps_s)
    return f"Scene {scene.id} ({_title(scene)}): {tags}; markers: {markers}; {frames}{gaps}; {seconds:.0f} s"
