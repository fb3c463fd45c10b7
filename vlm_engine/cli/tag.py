"""``vlm-engine tag``: files in, what they show out."""

from __future__ import annotations

import asyncio
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from vlm_engine.cli.arguments import DONE, SOME_FAILED, Program
from vlm_engine.cli.media import Picture, Unusable, Video, found, skipped_line
from vlm_engine.cli.output import UNFORESEEN, Bar, complain, json_file, printable, show
from vlm_engine.cli.settings import checked_tags, default_store, engine_config
from vlm_engine.cluster import open_engine
from vlm_engine.config.models import EngineConfig
from vlm_engine.engine import VLMEngine
from vlm_engine.errors import ConfigError, NoEndpointError, StoreError, VLMEngineError
from vlm_engine.files import media_errors
from vlm_engine.tasks import ResizableSemaphore
from vlm_engine.types import LEAST_COVERAGE

VIDEOS_AT_ONCE = 4
_PICTURES_AT_ONCE = 256
_WIDEST_NAME = 60


async def tag(given: Namespace, program: Program) -> int:
    """Run the command and return its exit code.

    Raise ``ConfigError``, ``StoreError``, ``NoEndpointError`` and ``OutputError``. Other errors
    concern one file.
    """
    with json_file(given.json) as results:
        config = checked_tags(engine_config(given, program))
        store = str(given.store or config.store_path or default_store())
        meant = await asyncio.to_thread(found, given.paths, skipped := list[str]())
        files = [file for file in meant if not isinstance(file, Unusable)]
        checks = given.check and (config.check_endpoints or _leaves_open(config, "check_endpoints"))
        config = config.model_copy(update={"store_path": store, "check_endpoints": checks})
        for file in meant:
            if isinstance(file, Unusable):
                complain(printable(file.reason))
        if skipped:
            complain(skipped_line(skipped))
        code = await _Tagging(given, config, files, results).run()
        return code if len(files) == len(meant) else SOME_FAILED


def _leaves_open(config: EngineConfig, setting: str) -> bool:
    return setting not in config.model_fields_set


class _Tagging:
    """Tagging of all files of one command, several at once. Each file is shown as soon as it is
    done.

    ``results`` takes what is found, by the number of the file.
    """

    def __init__(
        self,
        given: Namespace,
        config: EngineConfig,
        files: Sequence[Video | Picture],
        results: dict[int, dict[str, Any]],
    ) -> None:
        self._given = given
        self._config = config
        self._files = files
        self._results = results
        self._width = max(
            (len(printable(str(file))) for file in files if isinstance(file, Picture)), default=0
        )
        self._failed = False
        self._percent: dict[int, int] = {}
        self._bar = Bar(visible=sys.stderr.isatty() and not given.quiet)

    async def run(self) -> int:
        """Tag all files and return the exit code."""
        try:
            async with open_engine(self._config) as engine, asyncio.TaskGroup() as group:
                for numbers, workers, room in self._queues(engine):
                    waiting = iter(numbers)
                    for _ in range(min(workers, len(numbers))):
                        group.create_task(self._work(engine, waiting, room))
        except BaseExceptionGroup as errors:
            raise errors if isinstance(errors, NoEndpointError) else errors.exceptions[0] from None
        finally:
            self._bar.clear()
        return SOME_FAILED if self._failed else DONE

    def _queues(
        self, engine: VLMEngine
    ) -> Iterator[tuple[list[int], int, AbstractAsyncContextManager[None]]]:
        """Yield file numbers that share workers, with the number of workers, and what a worker
        holds per file.
        """
        numbers = range(len(self._files))
        if self._given.at_once:
            yield list(numbers), self._given.at_once, nullcontext()
            return
        videos = [number for number in numbers if isinstance(self._files[number], Video)]
        # A cluster takes as many as it can, the longest first.
        at_once = VIDEOS_AT_ONCE if engine.videos_at_once is None else len(videos)
        yield videos, at_once, nullcontext()
        # While one picture is answered, the next is read.
        room = ResizableSemaphore(lambda: 2 * engine.slots)
        pictures = [number for number in numbers if number not in set(videos)]
        yield pictures, max(_PICTURES_AT_ONCE, 2 * engine.slots), room

    async def _work(
        self, engine: VLMEngine, waiting: Iterator[int], room: AbstractAsyncContextManager[None]
    ) -> None:
        for number in waiting:
            file = self._files[number]
            try:
                async with room:
                    with media_errors(str(file), UNFORESEEN):
                        result = await self._process(engine, number, file)
            except (ConfigError, NoEndpointError, StoreError):
                raise
            except VLMEngineError as error:
                self._bar.clear()
                complain(printable(_named(str(file), error)))
                self._failed = True
            else:
                self._results[number] = {"path": str(file), **result}
                self._show(file, result)
                self._check_coverage(file, result["coverage"])
            self._draw(number, 100)

    async def _process(
        self, engine: VLMEngine, number: int, file: Video | Picture
    ) -> dict[str, Any]:
        if isinstance(file, Picture):
            return await engine.process_image(file.source)
        return await engine.process_video(
            file.path,
            vr_video=self._given.vr is not None,
            progress_callback=lambda percent: self._draw(number, percent),
        )

    def _show(self, file: Video | Picture, result: Mapping[str, Any]) -> None:
        if str(self._given.json) == "-":
            return
        self._bar.clear()
        if isinstance(file, Picture):
            show(picture_line(str(file), result, self._width))
        else:
            show(video_lines(file.path, result))

    def _check_coverage(self, file: Video | Picture, coverage: Mapping[str, int]) -> None:
        """Count a video as failed if much of it could not be read. What could be read has its
        results.
        """
        frames, unread = coverage["frames_asked"], coverage["frames_unreadable"]
        if isinstance(file, Video) and unread > (1 - LEAST_COVERAGE) * frames:
            complain(
                f"{file}: damaged: {unread} of {frames} frames could not be read. Nothing is said "
                "about what they show"
            )
            self._failed = True

    def _draw(self, number: int, percent: int) -> None:
        """Show that ``percent`` of file ``number`` is done."""
        self._percent[number] = percent
        self._bar.draw(sum(self._percent.values()) / (100 * len(self._files)))


def _named(path: str, error: VLMEngineError) -> str:
    return str(error) if path in str(error) else f"{path}: {error}"


def video_lines(path: str, result: Mapping[str, Any]) -> str:
    """Return a table of when each tag applies in one video."""
    info, coverage = result["video_tag_info"], result["coverage"]
    spans = sorted(
        (span["start"], tag, span["end"], span["totalConfidence"])
        for by_tag in info["tag_timespans"].values()
        for tag, found in by_tag.items()
        for span in found
    )
    judged = (
        f"{coverage['frames_answered']} of {coverage['frames_asked']} frames judged with "
        f"{coverage['calls']} calls, {coverage['model_seconds']:,.1f} model seconds"
    )
    gaps = "".join(
        f"; nothing could be read from {_clock(start_s)} to {_clock(end_s)}"
        for start_s, end_s in _gaps_s(result)
    )
    head = f"{printable(path)} ({_clock(info['video_duration'])}; {judged}{gaps})\n"
    if not spans:
        return f"{head}  none of the tags was found\n"
    width = max([len("tag"), *(len(tag) for _, tag, _, _ in spans)])
    title = f"  {'tag':<{width}}  {'start':>10}  {'end':>10}  confidence\n"
    rows = (
        f"  {tag:<{width}}  {_clock(start_s):>10}  {_clock(end_s):>10}  {_as_text(sure)}\n"
        for start_s, tag, end_s, sure in spans
    )
    return head + title + "".join(rows)


def picture_line(name: str, result: Mapping[str, Any], width: int = 0) -> str:
    """Return a line with the tags of one picture and their confidence. ``width``: of the longest
    name.
    """
    info = result["image_tag_info"]
    tags_shown = [
        f"{tag} ({_as_text(info['confidences'].get(category, {}).get(tag))})"
        for category, tags in info["image_tags"].items()
        for tag in tags
    ]
    padded = f"{printable(name):<{min(width, _WIDEST_NAME)}}"
    return f"{padded}  {', '.join(tags_shown) or 'none of the tags'}\n"


def _gaps_s(result: Mapping[str, Any]) -> list[tuple[float, float]]:
    return [(gap["start"], gap["end"]) for gap in result["json_result"]["metadata"]["gaps"]]


def _as_text(confidence: float | None) -> str:
    return "not told" if confidence is None else f"{confidence:.2f}"


def _clock(seconds: float) -> str:
    tenths = round(seconds * 10)
    return f"{tenths // 36000}:{tenths // 600 % 60:02}:{tenths // 10 % 60:02}.{tenths % 10}"
