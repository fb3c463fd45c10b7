"""The same job without Stash: ``haven_vlm_connector.py tag VIDEO… --endpoint URL --model NAME --tags "a,b,c"``."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from haven_tasks.progress import ProgressBoard
from haven_vlm_config import Settings
from haven_vlm_engine import SceneTagger
from haven_vlm_utility import RedactingFormatter
from vlm_engine.errors import ConfigError, NoEndpointError, StoreError, VLMEngineError
from vlm_engine.models.json_result import video_dict
from vlm_engine.types import Span, VideoResult

DONE, SOME_FAILED, WRONG_SETTINGS, NO_ENDPOINT, INTERRUPTED = 0, 1, 2, 3, 130
_EXIT_CODES = f"""\
exit codes: {DONE} every video was tagged; {SOME_FAILED} at least one could not be; {WRONG_SETTINGS} the command or a setting is \
wrong; {NO_ENDPOINT} no endpoint could do the work; {INTERRUPTED} interrupted"""
_BAR = 30


def parsers() -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """What may be written on the command line: the whole, and its command ``tag``."""
    top = argparse.ArgumentParser(prog="haven_vlm_connector.py", description="Haven VLM Connector without Stash.")
    tag = top.add_subparsers(dest="command", required=True).add_parser(
        "tag", help="find when tags apply in video files", epilog=_EXIT_CODES
    )
    tag.add_argument("videos", nargs="+", type=Path, metavar="VIDEO", help="a video file")
    tag.add_argument("--endpoint", action="append", default=[], metavar="URL", help="a server's address; may be given again")
    tag.add_argument("--model", default="", metavar="NAME", help="the model's name there; default: the one that is loaded")
    tag.add_argument("--tags", default="", metavar="A,B,C", help="what to look for, separated by commas")
    tag.add_argument("--frame-interval", default="", metavar="S", help="longest time between two looks, in seconds")
    tag.add_argument("--threshold", default="", metavar="P", help="how sure the model must be, from 0 to 1")
    tag.add_argument("--vr", default="", metavar="LAYOUT", help="they are VR videos: auto, or a layout like sbs-180")
    tag.add_argument("--json", type=Path, metavar="FILE", help="write everything that was found there; - for standard output")
    tag.add_argument("--quiet", action="store_true", help="no progress bar")
    tag.description = (
        "Prints when each tag applies. What is not given here comes from haven_vlm_config.py and"
        " haven_vlm_config.local.yaml. Answers are kept, so the same question is never paid for twice."
    )
    return top, tag


def run_command(arguments: Sequence[str], store_path: Path) -> int:
    """Runs one command line and returns its exit code. Usage errors leave by ``SystemExit`` with ``WRONG_SETTINGS``."""
    asked = parsers()[0].parse_args(arguments)
    handler = logging.StreamHandler()
    formatter = RedactingFormatter("%(levelname)s: %(message)s")
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    try:
        settings = Settings.load(task_args=_as_settings(asked))
        formatter.hide(settings.secrets())
        return asyncio.run(_tag(asked, settings, store_path))
    except (ConfigError, StoreError) as error:
        _complain(str(error))
        return WRONG_SETTINGS
    except NoEndpointError as error:
        _complain(str(error))
        return NO_ENDPOINT
    except KeyboardInterrupt:
        _complain("Interrupted. What was answered until now is kept; the same command goes on from there.")
        return INTERRUPTED


def _as_settings(asked: argparse.Namespace) -> dict[str, str]:
    return {
        "ENDPOINTS": ",".join(asked.endpoint),
        "MODEL": asked.model,
        "TAG_LIST": asked.tags,
        "VIDEO_FRAME_INTERVAL": asked.frame_interval,
        "VIDEO_THRESHOLD": asked.threshold,
        "VR_LAYOUT": asked.vr,
    }


async def _tag(asked: argparse.Namespace, settings: Settings, store_path: Path) -> int:
    bar = _Bar(shown=sys.stderr.isatty() and not asked.quiet)
    board = ProgressBoard(len(asked.videos), bar.draw)
    results: list[dict[str, Any]] = []
    worst = DONE
    async with SceneTagger(settings, store_path) as tagger:
        for number, video in enumerate(asked.videos):
            try:
                result = await tagger.tag(str(video), "", partial(board.advance, str(number)), vr=bool(asked.vr))
            except NoEndpointError:
                raise
            except VLMEngineError as error:
                bar.clear()
                _complain(f"{video}: {error}")
                worst = SOME_FAILED
            else:
                bar.clear()
                results.append({"path": str(video), **video_dict(result)})
                if asked.json is None or str(asked.json) != "-":
                    sys.stdout.write(table(video, result))
                    sys.stdout.flush()
            board.finish(str(number))
    bar.clear()
    _write_json(asked.json, results)
    return worst


def _write_json(target: Path | None, results: Sequence[dict[str, Any]]) -> None:
    if target is None:
        return
    text = json.dumps(results, ensure_ascii=False, indent=1) + "\n"
    if str(target) == "-":
        sys.stdout.write(text)
        return
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--json {target}: cannot be written: {error.strerror}") from error


def table(video: Path, result: VideoResult) -> str:
    """What was found in one video, as lines of text."""
    spans = sorted(
        (span for by_tag in result.info.spans.values() for own in by_tag.values() for span in own),
        key=lambda span: (span.start_s, span.tag),
    )
    coverage = result.coverage
    judged = f"{coverage.answered} of {coverage.asked} frames judged with {coverage.calls} calls"
    width = max([len("tag"), *(len(span.tag) for span in spans)])
    gaps = "".join(f"; nothing could be read from {_clock(start_s)} to {_clock(end_s)}" for start_s, end_s in result.gaps_s)
    head = f"{video} ({_clock(result.video.duration_s)}; {judged}{gaps})\n"
    if not spans:
        return head + "  none of the tags was found\n"
    title = f"  {'tag':<{width}}  {'start':>10}  {'end':>10}  confidence\n"
    return head + title + "".join(f"  {_row(span, width)}\n" for span in spans)


def _row(span: Span, width: int) -> str:
    confidence = "not told" if span.confidence is None else f"{span.confidence:.2f}"
    return f"{span.tag:<{width}}  {_clock(span.start_s):>10}  {_clock(span.end_s):>10}  {confidence}"


def _clock(seconds: float) -> str:
    tenths = round(seconds * 10)
    return f"{tenths // 36000}:{tenths // 600 % 60:02}:{tenths // 10 % 60:02}.{tenths % 10}"


def _complain(text: str) -> None:
    sys.stderr.write(f"{text}\n")


class _Bar:
    """One line on stderr that shows how far the work is. Nothing where stderr is no terminal."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown

    def draw(self, fraction: float) -> None:
        if self._shown:
            done = int(_BAR * fraction)
            sys.stderr.write(f"\r[{'#' * done}{'.' * (_BAR - done)}] {fraction:4.0%} ")
            sys.stderr.flush()

    def clear(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()
