"""``vlm-engine tag``: files in, what they show out."""

from __future__ import annotations

import asyncio
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping
from typing import Any

from vlm_engine.cli.arguments import DONE, SOME_FAILED
from vlm_engine.cli.media import Picture, Unusable, Video, found, told_of_skipped
from vlm_engine.cli.output import UNFORESEEN, Bar, complain, json_file, printable, show
from vlm_engine.cli.settings import default_store, engine_config, with_tags
from vlm_engine.cli.table import picture_line, video_lines
from vlm_engine.config.models import EngineConfig
from vlm_engine.engine import VLMEngine
from vlm_engine.errors import ConfigError, NoEndpointError, StoreError, VLMEngineError
from vlm_engine.files import media_errors
from vlm_engine.tagging.category_search import LEAST_COVERAGE


async def tag(given: Namespace) -> int:
    """The exit code. Raises ``ConfigError``, ``StoreError``, ``NoEndpointError`` and ``OutputError``; other errors concern one
    file."""
    with json_file(given.json) as results:
        config = with_tags(engine_config(given))
        store = str(given.store or config.store_path or default_store())
        meant = await asyncio.to_thread(found, given.paths, skipped := list[str]())
        files = [file for file in meant if not isinstance(file, Unusable)]
        config = config.model_copy(update={"store_path": store})
        for file in meant:
            if isinstance(file, Unusable):
                complain(printable(file.reason))
        if skipped:
            complain(told_of_skipped(skipped))
        worst = await _Tagging(given, config, files, results).to_the_end()
        return worst if len(files) == len(meant) else SOME_FAILED


class _Tagging:
    """All files of one command, several at once; a table for each as soon as it is done.

    What is found is put into ``results``, by the number of the file.
    """

    def __init__(
        self,
        given: Namespace,
        config: EngineConfig,
        files: list[Video | Picture],
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
        self._bar = Bar(shown=sys.stderr.isatty() and not given.quiet)

    async def to_the_end(self) -> int:
        waiting = iter(enumerate(self._files))
        try:
            async with VLMEngine(self._config) as engine, asyncio.TaskGroup() as group:
                for _ in range(min(self._given.at_once, len(self._files))):
                    group.create_task(self._work(engine, waiting))
        except BaseExceptionGroup as errors:
            raise errors if isinstance(errors, NoEndpointError) else errors.exceptions[0] from None
        finally:
            self._bar.clear()
        return SOME_FAILED if self._failed else DONE

    async def _work(
        self, engine: VLMEngine, waiting: Iterator[tuple[int, Video | Picture]]
    ) -> None:
        for number, file in waiting:
            try:
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
                self._tell_of_unread(file, result["coverage"])
            self._draw(number, 100)

    async def _process(
        self, engine: VLMEngine, number: int, file: Video | Picture
    ) -> dict[str, Any]:
        if isinstance(file, Picture):
            return await engine.process_image(file.source, threshold=self._given.threshold)
        return await engine.process_video(
            file.path,
            frame_interval=self._given.frame_interval,
            threshold=self._given.threshold,
            vr_video=self._given.vr,
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

    def _tell_of_unread(self, file: Video | Picture, coverage: Mapping[str, int]) -> None:
        """A file of which much could not be read is not well, though what could be read has its results."""
        asked, unread = coverage["frames_asked"], coverage["frames_unreadable"]
        if isinstance(file, Video) and unread > (1 - LEAST_COVERAGE) * asked:
            complain(
                f"{file}: damaged: {unread} of {asked} frames could not be read. Nothing is said about what they show"
            )
            self._failed = True

    def _draw(self, number: int, percent: int) -> None:
        """File ``number`` is so far."""
        self._percent[number] = percent
        self._bar.draw(sum(self._percent.values()) / (100 * len(self._files)))


def _named(path: str, error: VLMEngineError) -> str:
    return str(error) if path in str(error) else f"{path}: {error}"
