"""The same job without Stash: ``haven_vlm_connector.py tag FILE… --endpoint URL --model NAME --tags "a,b,c"``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from haven.report import counted
from haven.settings.settings import Settings
from haven.setup.stash_log import RedactingFormatter
from haven.tagger import Tagger
from haven.tasks.progress import CountBoard, ProgressBoard, likely_frames, split
from haven.tasks.start import announce
from vlm_engine import (
    ConfigError,
    ImageResult,
    MediaNotFoundError,
    NoEndpointError,
    StoreError,
    VLMEngineError,
    image_dict,
    media_errors,
    video_dict,
)
from vlm_engine.cli.media import Picture, Unusable, Video, found, told_of_skipped
from vlm_engine.cli.output import (
    UNFORESEEN,
    Bar,
    OneLine,
    OutputError,
    complain,
    json_file,
    prepare_output,
    printable,
    show,
)
from vlm_engine.cli.table import picture_line, video_lines

DONE, SOME_FAILED, WRONG_SETTINGS, NO_ENDPOINT, INTERRUPTED = 0, 1, 2, 3, 130
_EXIT_CODES = f"""\
exit codes: {DONE} everything was tagged; {SOME_FAILED} at least one video or picture could not be; {WRONG_SETTINGS} the command \
or a setting is wrong; {NO_ENDPOINT} no endpoint could do the work; {INTERRUPTED} interrupted"""
_OPTIONS = ("--endpoint", "--model", "--tags", "--frame-interval", "--threshold", "--vr")


def parsers() -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """What may be written on the command line: the whole, and its command ``tag``."""
    top = argparse.ArgumentParser(
        prog="haven_vlm_connector.py", description="Haven VLM Connector without Stash."
    )
    tag = top.add_subparsers(dest="command", required=True).add_parser(
        "tag", help="find which tags apply to videos and pictures, and when", epilog=_EXIT_CODES
    )
    tag.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="a video, picture, zip of pictures, or a folder of them",
    )
    tag.add_argument(
        "--endpoint",
        action="append",
        default=[],
        metavar="URL",
        help="a server's address; may be given again",
    )
    tag.add_argument(
        "--model",
        default="",
        metavar="NAME",
        help="the model's name there; default: the one that is loaded",
    )
    tag.add_argument(
        "--tags", type=_named, metavar="A,B,C", help="what to look for, separated by commas"
    )
    tag.add_argument(
        "--frame-interval",
        default="",
        metavar="S",
        help="longest time between two looks, in seconds",
    )
    tag.add_argument(
        "--threshold", default="", metavar="P", help="how sure a tag must be, from 0 to 1"
    )
    tag.add_argument(
        "--vr",
        default="",
        metavar="LAYOUT",
        help="they are VR videos: auto, or a layout like sbs-180",
    )
    tag.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write everything that was found there; - for standard output",
    )
    tag.add_argument("--quiet", action="store_true", help="no progress bar")
    tag.description = (
        "Prints when each tag applies in videos, then which apply to pictures. Folders are searched to the bottom. What is not"
        " given here comes from haven_vlm_config.py and haven_vlm_config.local.yaml. Answers are kept, so the same question is"
        " never paid for twice."
    )
    return top, tag


def run_command(arguments: Sequence[str], store_path: Path) -> int:
    """Runs one command line and returns its exit code. Usage errors leave by ``SystemExit`` with ``WRONG_SETTINGS``."""
    prepare_output()
    asked = parsers()[0].parse_args(arguments)
    handler = logging.StreamHandler()
    formatter = _Formatter("%(levelname)s: %(message)s")
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    try:
        settings = _settings(asked)
        formatter.hide(settings.secrets())
        return asyncio.run(_tag(asked, settings, store_path))
    except (ConfigError, StoreError) as error:
        complain(str(error))
        return WRONG_SETTINGS
    except NoEndpointError as error:
        complain(str(error))
        return NO_ENDPOINT
    except OutputError as error:
        if not error.is_closed:
            complain(str(error))
        return SOME_FAILED
    except KeyboardInterrupt:
        complain(
            "Interrupted. What was answered until now is kept; the same command goes on from there."
        )
        return INTERRUPTED


class _Formatter(RedactingFormatter, OneLine):
    """Both."""


def _named(tags: str) -> str:
    if not tags.strip(" ,;"):
        raise argparse.ArgumentTypeError('name what to look for, like "Foul,Goal"')
    return tags


def _settings(asked: argparse.Namespace) -> Settings:
    """Raises ``ConfigError`` that calls an option as it is written."""
    given = {
        "ENDPOINTS": ",".join(asked.endpoint),
        "MODEL": asked.model,
        "TAG_LIST": asked.tags or "",
        "VIDEO_FRAME_INTERVAL": asked.frame_interval,
        "VIDEO_THRESHOLD": asked.threshold,
        "VR_LAYOUT": asked.vr,
    }
    try:
        settings = Settings.load(task_args=given)
    except ConfigError as error:
        told = str(error)
        told = told.replace("task arguments: TAG_DESCRIPTIONS", "--tags")
        for name, option in zip(given, _OPTIONS, strict=True):
            told = told.replace(f"task arguments: {name}", option)
        raise ConfigError(told) from None
    return settings.model_copy(update={"path_mutation": ()})


async def _tag(asked: argparse.Namespace, settings: Settings, store_path: Path) -> int:
    bar = Bar(shown=sys.stderr.isatty() and not asked.quiet)
    with json_file(asked.json) as results:
        told = _Told(bar, asked.json, results)
        files = await asyncio.to_thread(found, asked.files, skipped := list[str]())
        for file in files:
            if isinstance(file, Unusable):
                told.failed("", file.reason)
        if skipped:
            complain(told_of_skipped(skipped))
        announce(settings, counted(len(files), "file"))
        videos = [file for file in files if isinstance(file, Video)]
        pictures = [file for file in files if isinstance(file, Picture)]
        of_videos, of_pictures = split(bar.draw, likely_frames(len(videos)), len(pictures))
        try:
            async with Tagger(settings, store_path) as tagger:
                await _tag_videos(
                    videos, tagger, ProgressBoard(len(videos), of_videos), told, vr=bool(asked.vr)
                )
                await _tag_pictures(pictures, tagger, CountBoard(len(pictures), of_pictures), told)
        finally:
            bar.clear()
        return told.worst


async def _tag_videos(
    videos: Sequence[Video], tagger: Tagger, board: ProgressBoard, told: _Told, *, vr: bool
) -> None:
    for number, video in enumerate(videos):
        try:
            with media_errors(video.path, UNFORESEEN):
                result = video_dict(
                    await tagger.tag_video(
                        video.path, "", partial(board.advance, str(number)), vr=vr
                    )
                )
        except (NoEndpointError, StoreError):
            raise
        except VLMEngineError as error:
            told.failed(video.path, _reason(video, error))
        else:
            told.done(video.path, result, video_lines(video.path, result))
        board.finish(str(number))


async def _tag_pictures(
    pictures: Sequence[Picture], tagger: Tagger, board: CountBoard, told: _Told
) -> None:
    width = max((len(printable(str(picture))) for picture in pictures), default=0)
    async for picture, result in _in_order(pictures, tagger):
        name = str(picture)
        if isinstance(result, NoEndpointError | StoreError):
            raise result
        if isinstance(result, VLMEngineError):
            told.failed(name, _reason(picture, result))
        else:
            told.done(name, image_dict(result), picture_line(name, image_dict(result), width))
        board.finish()


async def _in_order(
    pictures: Sequence[Picture], tagger: Tagger
) -> AsyncIterator[tuple[Picture, ImageResult | VLMEngineError]]:
    """What comes of each, as many at once as the endpoints take."""
    ahead: deque[tuple[Picture, asyncio.Task[ImageResult | VLMEngineError]]] = deque()
    try:
        for picture in pictures:
            ahead.append((picture, asyncio.create_task(_look_at(picture, tagger))))
            while len(ahead) > 2 * tagger.slots:
                first, looking = ahead.popleft()
                yield first, await looking
        for picture, looking in ahead:
            yield picture, await looking
    finally:
        for _, looking in ahead:
            looking.cancel()
        await asyncio.gather(*(looking for _, looking in ahead), return_exceptions=True)


async def _look_at(picture: Picture, tagger: Tagger) -> ImageResult | VLMEngineError:
    try:
        with media_errors(str(picture), UNFORESEEN):
            return await tagger.tag_image(picture.source)
    except VLMEngineError as error:
        return error


def _reason(file: Video | Picture, error: VLMEngineError) -> str:
    """Without what is to be said of Stash's paths."""
    return f"{file}: there is no such file" if isinstance(error, MediaNotFoundError) else str(error)


class _Told:
    """Says what came of each file, and puts it into ``results`` where it is to be written as JSON.

    ``worst``: the exit code so far.
    """

    def __init__(self, bar: Bar, json_file: Path | None, results: dict[int, Any]) -> None:
        self.worst = DONE
        self._bar = bar
        self._json_file = json_file
        self._results = results

    def done(self, path: str, result: Mapping[str, Any], text: str) -> None:
        """A file that was tagged; ``text`` is for people."""
        self._bar.clear()
        if self._json_file is not None:
            self._results[len(self._results)] = {"path": path, **result}
        if str(self._json_file) != "-":
            show(text)

    def failed(self, path: str, reason: str) -> None:
        """A file that could not be; most reasons name it."""
        self._bar.clear()
        complain(printable(reason if path in reason else f"{path}: {reason}"))
        self.worst = SOME_FAILED
