"""One image of a batch: looks at it, and writes its tags together with those of others."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain

from haven.items import ItemChange, ItemKind
from haven.report import ItemReport, counted, spent
from haven.stash.errors import ApplyError, NotServedError
from haven.stash.evidence import Evidence
from haven.stash.values import Fate, Image
from haven.tagger import Tagger, longest_side
from haven.tasks.batch import ItemHandler, Writer
from haven.tasks.context import TaskContext
from haven.tasks.evidence import evidence_of_image
from haven.tasks.messages import describe_change, describe_left
from haven.tasks.progress import CountBoard
from vlm_engine import (
    Batcher,
    Coverage,
    ImageResult,
    ImageTagInfo,
    MediaNotFoundError,
    MediaUnreadableError,
    MediaUnsupportedError,
    ReplyError,
    ZipEntry,
)

_log = logging.getLogger(__name__)

# Stash takes about a second to write as many results together.
_WRITTEN_TOGETHER = 500
_MAX_WAIT_S = 20.0
# Images looked at beyond twice the slots. The engine limits how many of them hold a picture.
_AHEAD = 16
_MOST_BYTES = 256 * 2**20
_MOST_LINES = 10
_MOST_TAGS = 20
# The thumbnail of a larger picture has at least this side, unless Stash, too, found no more than a
# thumbnail inside the file.
_LEAST_SIDE = 320


class ImageHandler(ItemHandler[Image, ImageResult]):
    """Handles images. An image that fails gets the tag ``VLM_Errored`` and stays queued."""

    kind, chunk = ItemKind.IMAGE, 200

    def __init__(
        self, context: TaskContext, writer: Writer, tagger: Tagger, board: CountBoard
    ) -> None:
        super().__init__(context, writer)
        self._tagger = tagger
        self._board = board
        self._coverage = Coverage()
        self._useless_calls = 0  # their answers could not be used
        self._notes: dict[str, str] = {}
        self._logged_notes = 0
        self._results: Batcher[tuple[str, ImageTagInfo, Evidence], ItemChange] = Batcher(
            lambda entries: asyncio.ensure_future(self._write_together(entries)),
            size=_WRITTEN_TOGETHER,
            max_wait_s=_MAX_WAIT_S,
        )
        self._failures: Batcher[ItemReport, ItemChange] = Batcher(
            lambda reports: asyncio.ensure_future(self._fail_together(reports)),
            size=_WRITTEN_TOGETHER,
            max_wait_s=_MAX_WAIT_S,
        )

    async def aclose(self) -> None:
        """Stop writing."""
        await self._failures.aclose()
        await self._results.aclose()

    @property
    def pace(self) -> str:
        """As many as the endpoints take, or the cluster."""
        takes = "the endpoints take" if self._tagger.videos_at_once is None else "the cluster takes"
        return f"as many at a time as {takes}"

    def at_once(self) -> int:
        """Return enough that no slot waits for a picture to be read or an answer to be stored."""
        return 2 * self._tagger.slots + _AHEAD

    def under_way(self) -> int:
        """Return enough that no slot waits while results are written or wait for it."""
        return 2 * _WRITTEN_TOGETHER + self.at_once()

    async def read(self, ids: Sequence[str]) -> Sequence[Image]:
        """Return the images with these ids."""
        return await self.context.stash(self.context.handler.read, Image, ids)

    async def look(self, item: Image) -> ImageResult:
        """Return what the image's first file shows."""
        if not item.path:
            raise MediaNotFoundError("Stash knows no file for it")
        handler = self.context.handler
        file = ZipEntry(item.zip_path, item.entry) if item.zip_path and item.entry else item.path
        fetch = partial(self._fetch, handler.image_bytes, item.id)
        show = partial(self._fetch_thumbnail, item)
        may_ask_stash = self.context.settings.image_from_stash
        try:
            return await self._tagger.tag_image(
                file,
                item.fingerprint,
                fetch if may_ask_stash else None,
                show if may_ask_stash else None,
            )
        except ReplyError:
            self._useless_calls += 1
            raise

    async def _fetch_thumbnail(self, item: Image, reason: MediaUnsupportedError) -> bytes:
        content = await self._fetch(self.context.handler.image_thumbnail, item.id)
        if longest_side(content) < min(_LEAST_SIDE, max(item.width, item.height)):
            raise MediaUnreadableError(
                f"Stash's thumbnail of it has {longest_side(content)} pixels at most"
            )
        self._notes[item.id] = f"seen as Stash's thumbnail of it: {reason.reason}"
        return content

    async def _fetch(self, fetch: Callable[[str, int], bytes], image_id: str) -> bytes:
        try:
            return await self.context.stash(fetch, image_id, _MOST_BYTES)
        except NotServedError as error:
            raise MediaUnreadableError(str(error)) from error

    def add_result(self, report: ItemReport, result: ImageResult) -> ItemReport:
        """Return the report with the tags. The image counts as done for the progress."""
        self._coverage += result.coverage
        self._board.finish()
        note = self._notes.pop(report.id, "")
        if note:
            self._logged_notes += 1
            if self._logged_notes <= _MOST_LINES:
                _log.info("Image %s (%s) was %s.", report.id, report.title, note)
            elif self._logged_notes == _MOST_LINES + 1:
                _log.info("More images are seen as Stash's thumbnails; the report names each.")
        return replace(report, tags=_tags(result.info), coverage=result.coverage, note=note)

    async def write(self, item: Image, result: ImageResult, report: ItemReport) -> ItemReport:
        """Write the tags together with those of others."""
        task, settings = self.context.record.task, self.context.settings
        evidence = evidence_of_image(report.title, task, result, settings)
        return replace(report, change=await self._results.add((item.id, result.info, evidence)))

    async def _write_together(
        self, entries: Sequence[tuple[str, ImageTagInfo, Evidence]]
    ) -> Sequence[Fate]:
        results = {item_id: info for item_id, info, _ in entries}
        evidence = {item_id: seen for item_id, _, seen in entries}
        fates = await self.writer.apply(self.kind, results, evidence)
        change = _sum([fate for fate in fates.values() if isinstance(fate, ItemChange)])
        done = [item_id for item_id in results if isinstance(fates[item_id], ItemChange)]
        if self.writer.run_id:
            tags = _by_number([tag for item_id in done for tag in _tags(results[item_id])])
            details = tags or "none of the tags"
        else:
            details = describe_change(change, is_planned=True, listed=_by_number)
        _log.info(
            "%s %s: %s%s.",
            counted(len(done), self.kind),
            self.writer.verb,
            details,
            describe_left(change, _by_number),
        )
        return [fates[item_id] for item_id in results]

    async def fail(self, report: ItemReport) -> None:
        """Log the failure and mark the image, together with others."""
        try:
            await self._failures.add(report)
        except ApplyError as error:
            _log.warning(
                "Image %s (%s) could not get the tag for failures: %s",
                report.id,
                report.title,
                error,
            )

    async def _fail_together(self, reports: Sequence[ItemReport]) -> Sequence[Fate]:
        stays = " and stays queued" if self.context.still_queued else ""
        for report in reports[:_MOST_LINES]:
            _log.error("Image %s (%s) failed%s: %s", report.id, report.title, stays, report.error)
        if len(reports) > _MOST_LINES:
            _log.error(
                "%s more failed%s; the report names them.",
                counted(len(reports) - _MOST_LINES, self.kind),
                " and stay queued" if stays else "",
            )
        reasons = {report.id: report.error for report in reports}
        fates = await self.writer.mark_failed(self.kind, reasons)
        return [fates.get(report.id, ItemChange()) for report in reports]

    def finish(self, report: ItemReport) -> None:
        """Count an image that was not looked at to its end; the others are counted already."""
        self._notes.pop(report.id, None)
        if not report.coverage.asked:
            self._board.finish()

    def flush(self) -> None:
        """Write what waits."""
        self._results.flush()
        self._failures.flush()

    def describe_calls(self) -> str:
        """Return calls, and answers that needed none."""
        coverage = self._coverage
        known = coverage.answered - coverage.calls
        earlier = f"; {counted(known, 'answer')} known already" if known > 0 else ""
        return f"{spent(coverage, self._useless_calls)}{earlier}"


def _tags(info: ImageTagInfo) -> tuple[str, ...]:
    return tuple(chain.from_iterable(info.tags.values()))


def _sum(changes: Sequence[ItemChange]) -> ItemChange:
    """Return the tags of all changes in one, each as often as it occurs."""
    return ItemChange(
        tags_added=tuple(tag for change in changes for tag in change.tags_added),
        tags_removed=tuple(tag for change in changes for tag in change.tags_removed),
        stays_off=tuple(tag for change in changes for tag in change.stays_off),
        left_alone=tuple(tag for change in changes for tag in change.left_alone),
    )


def _by_number(tags: Sequence[str]) -> str:
    """Return ``Foul 120, Goal 31``: the most frequent tags first."""
    counts = Counter(tags).most_common()
    listed = ", ".join(f"{tag} {count:,}" for tag, count in counts[:_MOST_TAGS])
    more = len(counts) - _MOST_TAGS
    return f"{listed} and {more} other tags" if more > 0 else listed
