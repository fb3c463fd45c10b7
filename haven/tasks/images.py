"""What the tasks do with one image: look at it, and write or tell, together with others, what was found."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Self

from haven.items import ItemChange, ItemKind
from haven.report import ItemReport, Outcome, counted
from haven.stash.errors import ItemGoneError, NotServedError, StashError
from haven.stash.values import Fate, Image
from haven.tagger import Tagger, longest_side
from haven.tasks.batch import ItemHandler
from haven.tasks.batcher import Batcher
from haven.tasks.context import TaskContext
from haven.tasks.progress import CountBoard
from haven.tasks.words import left_told, title_of
from vlm_engine import (
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

# So many results are written together: Stash takes about a second for them. So long a result waits for others at most.
_TOGETHER = 500
_PATIENCE_S = 20.0
# So many more are looked at than there are slots for twice; how many of these hold a picture is bounded by the engine.
_AHEAD = 16
_MOST_BYTES = 256 * 2**20
_MOST_LINES = 10
_MOST_TAGS = 20
_LEAST_SIDE = 320  # in the thumbnail of a larger picture: Stash, too, may have got no further than a thumbnail inside the file


class PreviewImages(ItemHandler[Image, ImageResult]):
    """Looks at images and tells what would change. Writes nothing to Stash. Use it in ``async with``."""

    kind, chunk, ahead = ItemKind.IMAGE, 200, 500

    def __init__(self, context: TaskContext, tagger: Tagger, board: CountBoard) -> None:
        super().__init__("looked at", Outcome.PLANNED)
        self._context = context
        self._tagger = tagger
        self._board = board
        self._coverage = Coverage()
        self._of_no_use = 0  # calls whose answers could not be read
        self._seen_as: dict[str, str] = {}
        self._noted = 0
        self._results = Batcher(self._write_batch, full=_TOGETHER, patience_s=_PATIENCE_S)
        self._failures = Batcher(self._fail_together, full=_TOGETHER, patience_s=_PATIENCE_S)
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._open.enter_async_context(self._results)
        await self._open.enter_async_context(self._failures)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    @property
    def pace(self) -> str:
        """How many are worked on at once, in words."""
        return "as many at a time as the endpoints take"

    def at_once(self) -> int:
        """Enough that no slot waits for a picture to be read or an answer to be stored."""
        return 2 * self._tagger.slots + _AHEAD

    def under_way(self) -> int:
        """Enough that no slot waits while some are written and others wait to be."""
        return 2 * _TOGETHER + self.at_once()

    async def read(self, ids: Sequence[str]) -> Sequence[Image]:
        """The images with these ids, without those that have vanished."""
        return await self._context.stash(self._context.handler.read, Image, ids)

    def gone(self, item_id: str) -> ItemReport:
        """The report of an image that has vanished."""
        return ItemReport(self.kind, item_id, "", Outcome.GONE)

    def report(self, item: Image) -> ItemReport:
        """The report of an image with which all goes well, before anything is known of it."""
        return ItemReport(self.kind, item.id, title_of(item), self.outcome)

    async def look(self, item: Image) -> ImageResult:
        """What the image's first file shows. Raises what the engine raises."""
        if not item.path:
            raise MediaNotFoundError("Stash knows no file for it")
        try:
            return await self._judged(item)
        except ReplyError:
            self._of_no_use += 1
            raise

    async def _judged(self, item: Image) -> ImageResult:
        file = ZipEntry(item.zip_path, item.entry) if item.zip_path and item.entry else item.path
        if not self._context.settings.image_from_stash:
            return await self._tagger.tag_image(file, item.fingerprint)
        handler = self._context.handler
        fetch = partial(self._served, handler.image_bytes, item.id)
        return await self._tagger.tag_image(
            file, item.fingerprint, fetch, partial(self._thumbnail, item)
        )

    async def _thumbnail(self, item: Image, reason: MediaUnsupportedError) -> bytes:
        content = await self._served(self._context.handler.image_thumbnail, item.id)
        if longest_side(content) < min(_LEAST_SIDE, max(item.width, item.height)):
            raise MediaUnreadableError(
                f"Stash's thumbnail of it has {longest_side(content)} pixels at most"
            )
        self._seen_as[item.id] = f"seen as Stash's thumbnail of it: {reason.reason}"
        return content

    async def _served(self, ask: Callable[[str, int], bytes], image_id: str) -> bytes:
        try:
            return await self._context.stash(ask, image_id, _MOST_BYTES)
        except NotServedError as error:
            raise MediaUnreadableError(str(error)) from error

    def seen(self, report: ItemReport, result: ImageResult) -> ItemReport:
        """The report with the tags that were found."""
        self._coverage += result.coverage
        self._board.finish()
        note = self._seen_as.pop(report.id, "")
        if note:
            self._say_once_each(report, note)
        return replace(report, tags=_tags(result.info), coverage=result.coverage, note=note)

    def _say_once_each(self, report: ItemReport, note: str) -> None:
        self._noted += 1
        if self._noted <= _MOST_LINES:
            _log.info("Image %s (%s) was %s.", report.id, report.title, note)
        elif self._noted == _MOST_LINES + 1:
            _log.info("More images are seen as Stash's thumbnails of them; the report names each.")

    async def finish(self, item: Image, result: ImageResult, report: ItemReport) -> ItemReport:
        """Carries the change out, together with others."""
        fate = await self._results(item.id, result.info)
        if isinstance(fate, StashError):
            raise fate
        return replace(report, change=fate)

    async def _write_batch(self, results: Mapping[str, ImageTagInfo]) -> Mapping[str, Fate]:
        fates = await self.changes(results)
        _log.info(
            "%s",
            self.told_together([(info, fates[image_id]) for image_id, info in results.items()]),
        )
        return fates

    async def changes(self, results: Mapping[str, ImageTagInfo]) -> Mapping[str, Fate]:
        """What would change."""
        return await self._context.stash(self._context.handler.preview, self.kind, results)

    def told_together(self, settled: Sequence[tuple[ImageTagInfo, Fate]]) -> str:
        """What would change, by tags."""
        changes = [fate for _, fate in settled if isinstance(fate, ItemChange)]
        added = _by_number([tag for change in changes for tag in change.tags_added])
        removed = _by_number([tag for change in changes for tag in change.tags_removed])
        parts = [
            f"tags would be added: {added}" if added else "",
            f"tags would be removed: {removed}" if removed else "",
        ]
        told = "; ".join(part for part in parts if part) or "nothing would change"
        return f"{counted(len(changes), 'image')} looked at: {told}{_left(changes)}."

    async def fail(self, report: ItemReport) -> None:
        """Says so, together with others."""
        fate = await self._failures(report.id, report)
        if isinstance(fate, StashError) and not isinstance(fate, ItemGoneError):
            _log.warning(
                "Image %s (%s) could not be given the tag that says so: %s",
                report.id,
                report.title,
                fate,
            )

    async def _fail_together(self, reports: Mapping[str, ItemReport]) -> Mapping[str, Fate]:
        for report in list(reports.values())[:_MOST_LINES]:
            _log.error(
                "Image %s (%s) failed and stays queued: %s",
                report.id,
                report.title,
                report.error,
            )
        if len(reports) > _MOST_LINES:
            _log.error(
                "%s more failed and stay queued; the report names them.",
                counted(len(reports) - _MOST_LINES, "image"),
            )
        fates = await self.mark({report.id: report.error for report in reports.values()})
        return {image_id: fates.get(image_id, ItemChange()) for image_id in reports}

    async def mark(self, reasons: Mapping[str, str]) -> Mapping[str, Fate]:
        """Nothing is written."""
        return {}

    def put_down(self, report: ItemReport, item_id: str) -> None:
        """Progress: what was seen has been counted by then, since it may wait for others before it is written."""
        self._seen_as.pop(item_id, None)
        if not report.coverage.asked:
            self._board.finish()

    def hurry(self) -> None:
        """What waits to be written waits no longer."""
        self._results.hurry()
        self._failures.hurry()

    def asked(self) -> str:
        """Calls, and what took none."""
        coverage = self._coverage
        known = coverage.answered - coverage.calls
        earlier = f"; {counted(known, 'answer')} known already" if known > 0 else ""
        return f"{counted(coverage.calls + self._of_no_use, 'call')}{earlier}"


class WriteImages(PreviewImages):
    """Looks at images and writes what was found to Stash. One that fails is tagged ``VLM_Errored`` and stays queued."""

    def __init__(
        self,
        context: TaskContext,
        tagger: Tagger,
        board: CountBoard,
        run_id: int,
        *,
        updating: bool = False,
    ) -> None:
        super().__init__(context, tagger, board)
        self.verb, self.outcome = "updated" if updating else "tagged", Outcome.DONE
        self._run_id = run_id
        self._updating = updating

    async def changes(self, results: Mapping[str, ImageTagInfo]) -> Mapping[str, Fate]:
        """What has changed."""
        apply = self._context.handler.apply
        return await self._context.stash(
            apply, self._run_id, self.kind, results, updating=self._updating
        )

    def told_together(self, settled: Sequence[tuple[ImageTagInfo, Fate]]) -> str:
        """What they show, by tags."""
        done = [info for info, fate in settled if isinstance(fate, ItemChange)]
        shown = _by_number([tag for info in done for tag in _tags(info)])
        left = _left([fate for _, fate in settled if isinstance(fate, ItemChange)])
        return f"{counted(len(done), 'image')} {self.verb}: {shown or 'none of the tags'}{left}."

    async def mark(self, reasons: Mapping[str, str]) -> Mapping[str, Fate]:
        """The tag that says so."""
        return await self._context.stash(
            self._context.handler.mark_failed, self._run_id, self.kind, reasons
        )


def _tags(info: ImageTagInfo) -> tuple[str, ...]:
    return tuple(tag for own in info.tags.values() for tag in own)


def _left(changes: Sequence[ItemChange]) -> str:
    stays_off = _by_number([tag for change in changes for tag in change.stays_off])
    return left_told(
        stays_off, _by_number([tag for change in changes for tag in change.left_alone])
    )


def _by_number(tags: Sequence[str]) -> str:
    """``Foul 120, Goal 31``: the most frequent first."""
    counts = Counter(tags).most_common()
    told = ", ".join(f"{tag} {count:,}" for tag, count in counts[:_MOST_TAGS])
    return f"{told} and {len(counts) - _MOST_TAGS} other tags" if len(counts) > _MOST_TAGS else told
