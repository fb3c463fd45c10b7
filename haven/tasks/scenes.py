"""One scene of a batch: looks at its video and writes tags and markers."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from haven.items import ItemKind
from haven.report import ItemReport, counted, spent
from haven.stash.values import Scene, change_of
from haven.tagger import Tagger
from haven.tasks.batch import ItemHandler, Writer
from haven.tasks.context import TaskContext
from haven.tasks.evidence import evidence_of_video
from haven.tasks.messages import describe_change, describe_left, describe_markers
from haven.tasks.progress import ProgressBoard, likely_frames
from vlm_engine import LEAST_COVERAGE, MediaNotFoundError, Span, VideoResult

_log = logging.getLogger(__name__)


class SceneHandler(ItemHandler[Scene, VideoResult]):
    """Handles scenes. A scene that fails gets the tag ``VLM_Errored`` and stays queued."""

    kind, chunk = ItemKind.SCENE, 50

    def __init__(
        self, context: TaskContext, writer: Writer, tagger: Tagger, board: ProgressBoard
    ) -> None:
        super().__init__(context, writer)
        self._tagger = tagger
        self._board = board

    @property
    def pace(self) -> str:
        """``2 at a time``."""
        if self._tagger.videos_at_once is None:
            return f"{self.at_once()} at a time"
        limit = self.context.settings.scene_limit
        most = f", at most {limit}" if limit else ""
        return f"as many at a time as the cluster takes{most}"

    def at_once(self) -> int:
        """Return what the user set; with a cluster, what it takes, up to a limit that is set."""
        return self.context.settings.scenes_at_once(self._tagger.videos_at_once)

    async def read(self, ids: Sequence[str]) -> Sequence[Scene]:
        """Return the scenes, and tell the progress how long they are."""
        scenes = await self.context.stash(self.context.handler.read, Scene, ids)
        for scene in scenes:
            self._board.announce(scene.id, scene.duration_s)
        return scenes

    async def look(self, item: Scene) -> VideoResult:
        """Return what the scene's first file shows."""
        if not item.files:
            raise MediaNotFoundError("Stash knows no file for it")
        settings = self.context.settings
        source = None
        if settings.stream_from_stash:
            source = self.context.handler.stream_of(item, settings.engine.video.stall_s)
        # At less effort the search would not see again all that it has seen.
        effort = await self.context.stash(self.context.handler.effort_of, item.id)
        return await self._tagger.tag_video(
            item.path,
            item.oshash,
            partial(self._board.advance, item.id),
            size_bytes=item.files[0].size_bytes,
            vr=item.is_vr,
            least_effort=effort,
            source=source,
        )

    def add_result(self, report: ItemReport, result: VideoResult) -> ItemReport:
        """Return the report with spans, coverage and gaps."""
        return replace(report, spans=_spans(result), coverage=result.coverage, gaps_s=result.gaps_s)

    async def write(self, item: Scene, result: VideoResult, report: ItemReport) -> ItemReport:
        """Write tags and markers, and log them."""
        task, settings = self.context.record.task, self.context.settings
        evidence = {item.id: evidence_of_video(report.title, task, result, settings)}
        change = change_of(await self.writer.apply(self.kind, {item.id: result.info}, evidence))
        tags = ", ".join(tag for tags in result.info.tags.values() for tag in tags)
        if self.writer.run_id:
            removed = ", ".join(change.tags_removed)
            details = f"; tags removed: {removed}" if removed else ""
            details += f"; markers: {describe_markers(change)}"
        else:
            details = f" found; {describe_change(change, is_planned=True)}"
        unreadable = result.coverage.unreadable > (1 - LEAST_COVERAGE) * result.coverage.asked
        _log.log(
            logging.WARNING if unreadable else logging.INFO,
            "Scene %s (%s): %s%s%s; %s",
            item.id,
            report.title,
            tags or "none of the tags",
            details,
            describe_left(change),
            _describe_coverage(report),
        )
        return replace(report, change=change)

    async def fail(self, report: ItemReport) -> None:
        """Log the failure and mark the scene."""
        stays = " and stays queued" if self.context.still_queued else ""
        _log.error("Scene %s (%s) failed%s: %s", report.id, report.title, stays, report.error)
        if fates := await self.writer.mark_failed(self.kind, {report.id: report.error}):
            change_of(fates)

    def finish(self, report: ItemReport) -> None:
        """Count the scene in the progress."""
        self._board.finish(report.id)

    def flush(self) -> None:
        """Do nothing: scenes are written at once."""

    def describe_calls(self) -> str:
        """Return frames and calls."""
        coverage, video_s = self._board.coverage(), self._board.searched_s()
        per_minute = ""
        if coverage.seconds and video_s:
            per_minute = f" ({60 * coverage.seconds / video_s:.1f} s per minute of video)"
        return (
            f"{counted(coverage.asked, 'frame')} asked, {coverage.answered} answered,"
            f" {coverage.failed} failed; {spent(coverage)}{per_minute}"
        )


async def frames_of(context: TaskContext, ids: Sequence[str]) -> float:
    """Return about how many frames these scenes take, by the lengths of the first of them."""
    known = await context.stash(context.handler.read, Scene, ids[: SceneHandler.chunk])
    return likely_frames(len(ids), [scene.duration_s for scene in known])


def _spans(result: VideoResult) -> Mapping[str, tuple[Span, ...]]:
    """Return the spans by tag, of all categories together, in order of time."""
    by_tag: dict[str, list[Span]] = {}
    for category in result.info.spans.values():
        for tag, spans in category.items():
            by_tag.setdefault(tag, []).extend(spans)
    return {
        tag: tuple(sorted(spans, key=lambda span: span.start_s)) for tag, spans in by_tag.items()
    }


def _describe_coverage(report: ItemReport) -> str:
    coverage = report.coverage
    known = coverage.answered - coverage.calls
    earlier = f", {known} of them in an earlier run" if known > 0 else ""
    gaps = "".join(
        f"; nothing could be read from {start_s:.0f} to {end_s:.0f} s"
        for start_s, end_s in report.gaps_s
    )
    return (
        f"{coverage.answered} of {counted(coverage.asked, 'frame')} judged{earlier}{gaps};"
        f" {report.seconds:.0f} s"
    )
