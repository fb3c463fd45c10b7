"""What the tasks do with one scene: look at its video, and write or tell what was found."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from haven.items import ItemChange, ItemKind
from haven.report import ItemReport, Outcome, counted
from haven.stash.values import Scene, change_of
from haven.tagger import Tagger
from haven.tasks.batch import ItemHandler
from haven.tasks.context import TaskContext
from haven.tasks.progress import ProgressBoard, likely_frames
from haven.tasks.words import change_told, left_told, markers_told, title_of
from vlm_engine import LEAST_COVERAGE, MediaNotFoundError, Span, VideoResult

_log = logging.getLogger(__name__)


class PreviewScenes(ItemHandler[Scene, VideoResult]):
    """Looks at scenes and tells what would change. Writes nothing to Stash."""

    kind, chunk, ahead = ItemKind.SCENE, 50, 10

    def __init__(self, context: TaskContext, tagger: Tagger, board: ProgressBoard) -> None:
        super().__init__("looked at", Outcome.PLANNED)
        self._context = context
        self._tagger = tagger
        self._board = board

    @property
    def pace(self) -> str:
        """How many are worked on at once, in words."""
        return f"{self.at_once()} at a time"

    def at_once(self) -> int:
        """What the user set."""
        return self._context.settings.concurrent_task_limit

    async def read(self, ids: Sequence[str]) -> Sequence[Scene]:
        """The scenes with these ids, without those that have vanished."""
        scenes = await self._context.stash(self._context.handler.read, Scene, ids)
        for scene in scenes:
            self._board.announce(scene.id, scene.duration_s)
        return scenes

    def gone(self, item_id: str) -> ItemReport:
        """The report of a scene that has vanished."""
        return ItemReport(self.kind, item_id, "", Outcome.GONE)

    def report(self, item: Scene) -> ItemReport:
        """The report of a scene with which all goes well, before anything is known of it."""
        return ItemReport(
            self.kind, item.id, title_of(item), self.outcome, item.path, item.duration_s
        )

    async def look(self, item: Scene) -> VideoResult:
        """What the scene's first file shows. Raises what the engine raises."""
        if not item.files:
            raise MediaNotFoundError("Stash knows no file for it")
        settings, advance = self._context.settings, partial(self._board.advance, item.id)
        source = (
            self._context.handler.stream_of(item, settings.engine.video.stall_s)
            if settings.stream_from_stash
            else None
        )
        size_bytes = item.files[0].size_bytes
        return await self._tagger.tag_video(
            item.path, item.oshash, advance, size_bytes=size_bytes, vr=item.is_vr, source=source
        )

    def seen(self, report: ItemReport, result: VideoResult) -> ItemReport:
        """The report with spans, coverage and gaps."""
        return replace(report, spans=_spans(result), coverage=result.coverage, gaps_s=result.gaps_s)

    async def finish(self, item: Scene, result: VideoResult, report: ItemReport) -> ItemReport:
        """Carries the change out, and says what was found."""
        report = replace(report, change=await self.change(item, result))
        head = f"Scene {item.id} ({report.title}): {_tags(result) or 'none of the tags'}"
        level = logging.WARNING if _is_damaged(result) else logging.INFO
        _log.log(level, "%s", f"{head}{self.told(report.change)}; {_looked_at(report, result)}")
        return report

    async def change(self, scene: Scene, result: VideoResult) -> ItemChange:
        """What would change."""
        handler, markers = self._context.handler, self._context.settings.create_markers
        found = {scene.id: result.info}
        return change_of(
            await self._context.stash(handler.preview, self.kind, found, create_markers=markers)
        )

    def told(self, change: ItemChange) -> str:
        """What would change, for the line of the scene."""
        return f" found; {change_told(change, is_planned=True)}{_left(change)}"

    async def fail(self, report: ItemReport) -> None:
        """Says so."""
        _log.error(
            "Scene %s (%s) failed and stays queued: %s", report.id, report.title, report.error
        )

    def put_down(self, report: ItemReport, item_id: str) -> None:
        """Progress."""
        self._board.finish(item_id)

    def asked(self) -> str:
        """Frames and calls."""
        coverage = self._board.coverage()
        frames = f"{counted(coverage.asked, 'frame')} asked, {coverage.answered} answered, {coverage.failed} failed"
        return f"{frames}; {counted(coverage.calls, 'call')}"


class WriteScenes(PreviewScenes):
    """Looks at scenes and writes what was found to Stash. One that fails is tagged ``VLM_Errored`` and stays queued."""

    def __init__(
        self,
        context: TaskContext,
        tagger: Tagger,
        board: ProgressBoard,
        run_id: int,
        *,
        updating: bool = False,
    ) -> None:
        super().__init__(context, tagger, board)
        self.verb, self.outcome = "updated" if updating else "tagged", Outcome.DONE
        self._run_id = run_id
        self._updating = updating

    async def change(self, scene: Scene, result: VideoResult) -> ItemChange:
        """What has changed."""
        handler, markers = self._context.handler, self._context.settings.create_markers
        fates = await self._context.stash(
            handler.apply,
            self._run_id,
            self.kind,
            {scene.id: result.info},
            create_markers=markers,
            updating=self._updating,
        )
        return change_of(fates)

    def told(self, change: ItemChange) -> str:
        """What has changed."""
        taken = f"; tags removed: {', '.join(change.tags_removed)}" if change.tags_removed else ""
        return f"{taken}; markers: {markers_told(change)}{_left(change)}"

    async def fail(self, report: ItemReport) -> None:
        """Says so, in the log and by the tag."""
        await super().fail(report)
        reasons = {report.id: report.error}
        fates = await self._context.stash(
            self._context.handler.mark_failed, self._run_id, self.kind, reasons
        )
        if fates:
            change_of(fates)


async def frames_of(context: TaskContext, ids: Sequence[str]) -> float:
    """The frames that these scenes take, about, by the lengths of the first of them."""
    known = await context.stash(context.handler.read, Scene, ids[: PreviewScenes.chunk])
    return likely_frames(len(ids), [scene.duration_s for scene in known])


def _spans(result: VideoResult) -> Mapping[str, tuple[Span, ...]]:
    """By the tag's name, of all categories together."""
    by_tag: dict[str, tuple[Span, ...]] = {}
    for own in result.info.spans.values():
        for tag, spans in own.items():
            by_tag[tag] = tuple(
                sorted((*by_tag.get(tag, ()), *spans), key=lambda span: span.start_s)
            )
    return by_tag


def _tags(result: VideoResult) -> str:
    return ", ".join(tag for own in result.info.tags.values() for tag in own)


def _is_damaged(result: VideoResult) -> bool:
    """Whether so much could not be read that a person should know."""
    return result.coverage.unreadable > (1 - LEAST_COVERAGE) * result.coverage.asked


def _left(change: ItemChange) -> str:
    return left_told(", ".join(change.stays_off), ", ".join(change.left_alone))


def _looked_at(report: ItemReport, result: VideoResult) -> str:
    coverage = result.coverage
    known = coverage.answered - coverage.calls
    earlier = f", {known} of them in an earlier run" if known > 0 else ""
    frames = f"{coverage.answered} of {counted(coverage.asked, 'frame')} judged{earlier}"
    gaps = "".join(
        f"; nothing could be read from {start_s:.0f} to {end_s:.0f} s"
        for start_s, end_s in result.gaps_s
    )
    return f"{frames}{gaps}; {report.seconds:.0f} s"
