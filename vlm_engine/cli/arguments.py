"""What may be written after ``vlm-engine``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from math import nan
from pathlib import Path

from vlm_engine import __version__

DONE, SOME_FAILED, WRONG_SETTINGS, NO_ENDPOINT, INTERRUPTED = 0, 1, 2, 3, 130
_EXIT_CODES = f"""\
exit codes: {DONE} all is well; {SOME_FAILED} at least one file or endpoint is not; {WRONG_SETTINGS} the command or a setting \
is wrong; {NO_ENDPOINT} no endpoint could do the work; {INTERRUPTED} interrupted"""
PROFILES = ("plain", "lmstudio", "ollama", "llamacpp", "vllm", "sglang", "litellm")
PURPOSES = ("scan", "second look", "edge", "still")

_Add = Callable[[argparse.ArgumentParser], None]


def parsers() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The whole, and each command by its name."""
    top = argparse.ArgumentParser(
        prog="vlm-engine",
        description="Finds when your own tags apply in videos and pictures, by asking vision-language models.",
    )
    top.add_argument("--version", action="version", version=f"vlm-engine {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    made = {}
    for name, (summary, description, adds) in _COMMANDS.items():
        made[name] = commands.add_parser(
            name, help=summary, description=description, epilog=_EXIT_CODES
        )
        for add in adds:
            add(made[name])
    return top, made


def _settings(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="an EngineConfig as YAML; the other options go before it",
    )
    command.add_argument(
        "--endpoint",
        action="append",
        default=[],
        metavar="URL",
        help="a server's address; may be given again",
    )
    command.add_argument(
        "--api-key-env",
        metavar="NAME",
        help="the environment variable that holds the key of those servers",
    )
    command.add_argument(
        "--model",
        default="",
        metavar="NAME",
        help="the model's name there; default: the one that is loaded",
    )


def _tags(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--tags", default="", metavar="A,B,C", help="what to look for, separated by commas"
    )


def _tag(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="a video, a picture, or a folder of them",
    )
    command.add_argument(
        "--frame-interval",
        type=float,
        metavar="S",
        help="longest time between two looks, in seconds",
    )
    command.add_argument(
        "--threshold", type=_share, metavar="P", help="how sure a tag must be, from 0 to 1"
    )
    command.add_argument(
        "--vr", action="store_true", help="they are VR videos: look only at what one eye sees ahead"
    )
    command.add_argument(
        "--at-once",
        type=_count,
        default=4,
        metavar="N",
        help="files worked on at once (default: 4)",
    )
    command.add_argument(
        "--store",
        type=Path,
        metavar="FILE",
        help="where answers are kept; default: a file in your data folder",
    )
    command.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write everything that was found there; - for standard output",
    )
    command.add_argument("--quiet", action="store_true", help="no progress bar")


def _check(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="what was found as JSON")


def _prompt(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--for",
        dest="purpose",
        choices=PURPOSES,
        default="scan",
        help="why it is asked (default: scan)",
    )
    command.add_argument(
        "--time",
        type=float,
        metavar="S",
        default=0.0,
        help="the time of the frame in its video, in seconds",
    )
    command.add_argument(
        "--picture",
        type=Path,
        metavar="FILE",
        help="a picture to show the size of as it would be sent",
    )
    command.add_argument(
        "--body",
        action="store_true",
        help="only the request's body, byte for byte, --picture in it",
    )


def _serve(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--profile", choices=PROFILES, default="plain", help="whose ways it has (default: plain)"
    )
    command.add_argument(
        "--port", type=int, default=0, metavar="N", help="default: one that is free"
    )
    command.add_argument(
        "--model", default="", metavar="NAME", help="the name of its model (default: sandbox-vlm)"
    )
    command.add_argument(
        "--key", default="", metavar="KEY", help="the API key to ask for; default: none"
    )
    command.add_argument(
        "--latency", type=float, default=0.0, metavar="S", help="seconds that an answer takes"
    )
    command.add_argument(
        "--miss-rate",
        type=_share,
        default=0.0,
        metavar="P",
        help="how often it does not see what is there",
    )
    command.add_argument(
        "--false-alarm-rate",
        type=_share,
        default=0.0,
        metavar="P",
        help="how often it sees what is not",
    )


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("write a number from 1")
    return number


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = nan
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError("write a number from 0 to 1")
    return share


_COMMANDS: dict[str, tuple[str, str, tuple[_Add, ...]]] = {
    "tag": (
        "find when tags apply in videos, and which apply to pictures",
        "Prints when each tag applies in a video, and which apply to a picture. Answers are kept, so the same question is never "
        "paid for twice. Without --config and --endpoint the server is http://localhost:1234/v1.",
        (_tag, _settings, _tags),
    ),
    "check": (
        "try every endpoint: can it be reached, does it see, how much does it take",
        "Says of every endpoint whether it can be reached, which model answers and whether it sees pictures, how many requests "
        "it takes at once, and how it answers a test question; and where something is wrong, what to do about it.",
        (_settings, _check),
    ),
    "prompt": (
        "show exactly what a model would be asked",
        "Shows the request that an endpoint would be sent first: address, messages, schema, sampling parameters and the size of "
        "the picture. Sends nothing.",
        (_settings, _tags, _prompt),
    ),
    "serve-sandbox": (
        "run an endpoint that needs no model, to try things with",
        "Runs an endpoint on this machine that answers like a vision model behind a server that people use, until it is "
        "interrupted. It recognises what vlm_engine.testing.glyphs has drawn into a picture, and nothing else.",
        (_serve,),
    ),
}
