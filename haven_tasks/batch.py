"""Looking at every scene in a queue, several at once: what *Tag Videos*, *Update Tagged Videos* and *Preview* share."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

from haven_media_handler import ItemChange, ItemGoneError, Scene, StashError
from haven_report import End, Outcome, SceneReport
from haven_tasks.context import ENDS_THE_BATCH, EXPECTED, TaskContext
from haven_tasks.endpoints import interim_line, summary_lines
from haven_tasks.progress import ProgressBoard
from haven_tasks.turn import Turn, TurnOverError
from haven_tasks.words import counted, markers_told, title_of
from haven_vlm_engine import SceneTagger
from vlm_engine.errors import MediaNotFoundError
from vlm_engine.types import Span, VideoResult

_log = logging.getLogger(__name__)
_CHUNK = 50
_TELL_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class Errand:
    """What a batch does with each scene.

    ``verb``: what has then been done to it, for people. ``settle`` takes the result to where it belongs and says what
    changes; ``fail`` is told of a scene that could not be done. ``outcome``: what a scene that went well has come to.
    """

    verb: str
    outcome: Outcome
    settle: Callable[[Scene, VideoResult], Awaitable[ItemChange]]
    fail: Callable[[Scene, str], Awaitable[None]]


class Batch:
    """The scenes of one run. ``CONCURRENT_TASK_LIMIT`` workers take them one by one."""

    def __init__(self, context: TaskContext, tagger: SceneTagger, ids: Sequence[str], errand: Errand) -> None:
        self._context = context
        self._tagger = tagger
        self._errand = errand
        self._ids = deque(ids)
        self._scenes: deque[Scene] = deque()
        self._reading = asyncio.Lock()
        self._board = ProgressBoard(len(ids), context.report)
        self._left = dict.fromkeys(ids)
        self._turn = Turn(context.settings.time_slice_minutes, partial(context.stash, context.handler.others_wait))

    async def run(self) -> str:
        """Works until no scene is left or the turn is over, and returns the end line.

        A scene that fails is left to the errand, and the rest goes on. Raises one of ``ENDS_THE_BATCH``, after logging the
        end line, when going on makes no sense.
        """
        context = self._context
        _log.info("%s in line, %d at a time.", counted(len(self._ids), "scene"), context.settings.concurrent_task_limit)
        chores = (self._keep_session(), self._watch_turn(), self._tell_of_endpoints())
        beside = [asyncio.create_task(chore) for chore in chores]
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(context.settings.concurrent_task_limit):
                    group.create_task(self._work())
        except BaseExceptionGroup as errors:
            self._take_stock()
            _log.warning("%s.", self._told())
            raise errors.exceptions[0] from None
        finally:
            for task in beside:
                task.cancel()
            for line in summary_lines(self._tagger.stats(), context.record.seconds):
                _log.info("%s", line)
        self._take_stock()
        return await self._queue_the_rest() if self._left else f"{self._told()}."

    def _take_stock(self) -> None:
        self._context.record.waiting = len(self._left)
        self._context.record.endpoints = {name: asdict(stats) for name, stats in self._tagger.stats().items()}

    async def _queue_the_rest(self) -> str:
        await self._context.queue_again(from_scene=next(iter(self._left)))
        self._context.record.end = End.SLICED
        turn = f"the {self._turn.minutes:g} min of its turn are over and other jobs wait"
        return f"{self._told()}. Not done yet: {turn}, so the task has queued itself again behind them."

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

    async def _watch_turn(self) -> None:
        try:
            await self._turn.watch()
        except StashError as error:
            _log.warning("Stash did not say who waits, so the task goes on: %s", error)

    async def _work(self) -> None:
        while not self._turn.is_over and (scene := await self._next_scene()) is not None:
            try:
                await self._do_one(scene)
            except TurnOverError:
                return
            del self._left[scene.id]
            self._board.finish(scene.id)

    async def _next_scene(self) -> Scene | None:
        async with self._reading:
            while not self._scenes and self._ids:
                chunk = [self._ids.popleft() for _ in range(min(_CHUNK, len(self._ids)))]
                scenes = {scene.id: scene for scene in await self._context.stash(self._context.handler.scenes, chunk)}
                for scene_id in chunk:
                    if scene_id not in scenes:
                        del self._left[scene_id]
                        self._context.record.add(SceneReport(scene_id, "", "", 0.0, Outcome.GONE))
                for scene in scenes.values():
                    self._board.announce(scene.id, scene.duration_s)
                self._scenes.extend(scenes.values())
            return self._scenes.popleft() if self._scenes else None

    async def _do_one(self, scene: Scene) -> None:
        """The boundary around one scene: whatever goes wrong inside concerns this scene alone."""
        started = time.monotonic()
        report = SceneReport(scene.id, title_of(scene), scene.path, scene.duration_s, self._errand.outcome)
        try:
            async with self._turn.lasts():
                result = await self._look_at(scene)
            report = replace(report, spans=_spans(result), coverage=result.coverage, gaps_s=result.gaps_s)
            report = replace(report, change=await self._errand.settle(scene, result))
        except (*ENDS_THE_BATCH, TurnOverError):
            raise
        except ItemGoneError as error:
            report = replace(report, outcome=Outcome.GONE, error=str(error))
            _log.warning("%s", error)
        except Exception as error:  # noqa: BLE001  # the one boundary: an unforeseen fault costs one scene, not the batch
            reason = str(error) if isinstance(error, EXPECTED) else f"{type(error).__name__}: {error}"
            report = replace(report, outcome=Outcome.FAILED, error=reason)
            _log.error("Scene %s (%s) failed and stays queued: %s", scene.id, report.title, reason)
            _log.debug("Where it failed:", exc_info=error)
            await self._errand.fail(scene, reason)
        else:
            _log.info("%s", _scene_line(report, result, time.monotonic() - started))
        self._context.record.add(replace(report, seconds=time.monotonic() - started))

    async def _look_at(self, scene: Scene) -> VideoResult:
        if not scene.files:
            raise MediaNotFoundError("Stash knows no file for it")
        return await self._tagger.tag(scene.path, scene.oshash, partial(self._board.advance, scene.id))

    def _told(self) -> str:
        record, coverage = self._context.record, self._board.coverage()
        parts = [
            f"{counted(record.count(self._errand.outcome), 'scene')} {self._errand.verb}",
            f"{record.count(Outcome.FAILED)} failed",
        ]
        if gone := record.count(Outcome.GONE):
            parts.append(f"{gone} no longer in Stash")
        if self._left:
            parts.append(f"{len(self._left)} not finished and still queued")
        frames = f"{counted(coverage.asked, 'frame')} asked, {coverage.answered} answered, {coverage.failed} failed"
        return f"{', '.join(parts)}; {frames}; {counted(coverage.calls, 'call')}; {record.seconds:.0f} s"


def _spans(result: VideoResult) -> Mapping[str, tuple[Span, ...]]:
    """By the tag's name, of all categories together."""
    by_tag: dict[str, tuple[Span, ...]] = {}
    for own in result.info.spans.values():
        for tag, spans in own.items():
            by_tag[tag] = tuple(sorted((*by_tag.get(tag, ()), *spans), key=lambda span: span.start_s))
    return by_tag


def _scene_line(report: SceneReport, result: VideoResult, seconds: float) -> str:
    tags = ", ".join(tag for own in result.info.tags.values() for tag in own) or "none of the tags"
    coverage = result.coverage
    known = coverage.answered - coverage.calls
    earlier = f", {known} of them in an earlier run" if known else ""
    frames = f"{coverage.answered} of {counted(coverage.asked, 'frame')} judged{earlier}"
    gaps = "".join(f"; nothing could be read from {start_s:.0f} to {end_s:.0f} s" for start_s, end_s in result.gaps_s)
    head = f"Scene {report.scene_id} ({report.title}): {tags}; markers: {markers_told(report.change)}"
    return f"{head}; {frames}{gaps}; {seconds:.0f} s"
