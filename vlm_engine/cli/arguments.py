"""The options of a command line: of ``vlm-engine``, or of a program that brings its own
configuration.
"""

from __future__ import annotations

import argparse
import logging
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from vlm_engine import __version__
from vlm_engine.cli.output import OneLine
from vlm_engine.errors import ConfigError
from vlm_engine.vr import checked_layout

if TYPE_CHECKING:
    from vlm_engine.config.models import EngineConfig

DONE, SOME_FAILED, WRONG_SETTINGS, NO_ENDPOINT, INTERRUPTED = 0, 1, 2, 3, 130
_EXIT_CODES = (
    f"exit codes: {DONE} success; {SOME_FAILED} at least one file or endpoint failed; "
    f"{WRONG_SETTINGS} the command or a setting is wrong; {NO_ENDPOINT} no endpoint could do the "
    f"work; {INTERRUPTED} interrupted"
)
PROFILES = ("plain", "lmstudio", "ollama", "llamacpp", "vllm", "sglang", "litellm")
UNSOUND = (
    *("dropped", "blind", "stale", "swapping", "gibberish"),
    *("refusing", "refusal-field", "filtered"),
    *("shrinking", "enlarging", "thinking", "overthinking", "wrong-model"),
)
PURPOSES = ("scan", "second look", "edge", "still")
_SHORT_OPTIONS = {
    "search.frame_interval_s": "--frame-interval",
    "default_rule.threshold": "--threshold",
}
_NO_OPTIONS = ("default_rule.renamed", "video.vr_layout")

_Add = Callable[[argparse.ArgumentParser], None]


@dataclass(frozen=True, slots=True)
class Program:
    """A program with commands of the engine.

    ``config`` makes the configuration that the options change; it is given the parsed command
    line. None: ``--config`` names a file with it.
    """

    name: str = "vlm-engine"
    description: str = (
        "Finds when your own tags apply in videos and pictures, by asking vision-language models."
    )
    commands: Sequence[str] = ("tag", "check", "prompt", "serve-sandbox")
    config: Callable[[Namespace], EngineConfig] | None = None
    config_source: str = "Without --config and --endpoint the server is http://localhost:1234/v1."
    formatter: logging.Formatter = field(
        default_factory=lambda: OneLine("%(levelname)s: %(message)s")
    )


def parsers(
    program: Program | None = None,
) -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """Return the parser of the whole program (by default ``vlm-engine``), and of each command by
    its name.
    """
    program = program or Program()
    top = argparse.ArgumentParser(prog=program.name, description=program.description)
    top.add_argument("--version", action="version", version=f"{program.name} {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    made = {}
    for name in program.commands:
        summary, description, adds = _COMMANDS[name]
        if name == "tag":
            description = f"{description} {program.config_source}"
        made[name] = commands.add_parser(
            name, help=summary, description=description, epilog=_EXIT_CODES
        )
        for add in adds:
            if add is not _config_file or program.config is None:
                add(made[name])
    return top, made


def parsed(program: Program, arguments: Sequence[str]) -> Namespace:
    """Return the parsed command line. Usage errors leave by ``SystemExit``."""
    return parsers(program)[0].parse_args(list(_layouts_joined(arguments)))


def engine_options() -> dict[str, str]:
    """Return the settings of the engine that have an option of their own, each with its option.

    These are all settings of the search, of videos, of images and of the default rule, and every
    number of the others.
    """
    from vlm_engine.config.by_name import GROUPS

    options = {}
    for group in ("search", "video", "image", "default_rule", "model", "engine"):
        for key, info in GROUPS[group].model_fields.items():
            name = f"{group}.{key}"
            if name in _NO_OPTIONS or (
                group in ("model", "engine") and not {int, float} & _kinds(info.annotation)
            ):
                continue
            prefix = {"model": "", "engine": "", "default_rule": "rule-"}.get(group, f"{group}-")
            long = f"--{prefix}{key.removesuffix('_s').replace('_', '-')}"
            options[name] = _SHORT_OPTIONS.get(name, long)
    return options


def _kinds(kind: Any) -> set[Any]:
    """Return a type with all types in it."""
    return {kind}.union(*map(_kinds, get_args(kind)))


def _layouts_joined(arguments: Sequence[str]) -> Iterator[str]:
    """Yield the arguments, with ``--vr LAYOUT`` as one. After ``--vr``, what is no layout is a
    path.
    """
    left = iter(arguments)
    for argument in left:
        if argument != "--vr":
            yield argument
            continue
        following = next(left, None)
        if following is not None and _is_layout(following):
            yield f"--vr={following}"
        else:
            yield "--vr="
            yield from [] if following is None else [following]


def _is_layout(text: str) -> bool:
    try:
        return bool(checked_layout(text))
    except ValueError:
        return False


# --- the options ---


def _config_file(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--config", type=Path, metavar="FILE", help="an EngineConfig as YAML; options override it"
    )


def _endpoints(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--endpoint",
        action="extend",
        default=[],
        type=_addresses,
        metavar="URL",
        help="the address of a server; may be given several times",
    )
    command.add_argument(
        "--api-key-env",
        metavar="NAME",
        help="the environment variable that holds the key of those servers",
    )
    command.add_argument(
        "--model", default="", metavar="NAME", help="the model's name; default: the loaded model"
    )


def _tags(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--tags",
        default=[],
        type=_tag_list,
        metavar="A,B,C",
        help='what to look for, separated by commas; "Foul: a player hits; Goal: the ball is in" '
        "says what they mean",
    )


def _tag(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="a video, a picture, a zip of pictures, or a folder of them",
    )
    command.add_argument(
        "--vr",
        nargs="?",
        type=_layout,
        metavar="LAYOUT",
        help="they are VR videos: send only the view ahead of one eye; auto, or a layout like "
        "sbs-180",
    )
    command.add_argument(
        "--at-once",
        type=_count,
        metavar="N",
        help="files to work on at once; default: 4 videos, and as many pictures as the endpoints "
        "take; as many as the workers take of a cluster",
    )
    command.add_argument(
        "--cluster",
        type=partial(_parsed_setting, "engine.cluster"),
        metavar="ADDRESS",
        help="spread the files over a Dask cluster: the address of its scheduler, such as "
        "tcp://host:8786; local:4 starts 4 workers here",
    )
    command.add_argument(
        "--store",
        type=Path,
        metavar="FILE",
        help="the file that keeps the answers; default: a file in your data folder",
    )
    command.add_argument(
        "--json", type=Path, metavar="FILE", help="write all results there; - for standard output"
    )
    command.add_argument("--quiet", action="store_true", help="no progress bar")
    command.add_argument(
        "--no-check",
        dest="check",
        action="store_false",
        help="use endpoints whatever their answers about two test pictures would be",
    )


def _engine_settings(command: argparse.ArgumentParser) -> None:
    from vlm_engine.config.by_name import description_of, setting_field

    group = command.add_argument_group("settings of the engine")
    for name, option in engine_options().items():
        info = setting_field(name)
        group.add_argument(
            option,
            dest=name,
            default=argparse.SUPPRESS,
            type=partial(_setting, name),
            metavar="S" if "seconds" in {*_kinds(info.annotation), *info.metadata} else "VALUE",
            help=description_of(name).partition(". ")[0].rstrip(".").replace("%", "%%"),
        )


def _check(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "paths",
        nargs="*",
        type=Path,
        metavar="PATH",
        help="videos, pictures and folders, to forecast how long it takes to tag them",
    )
    command.add_argument(
        "--frames",
        type=_count,
        metavar="N",
        help="ask about so many frames of these videos in every style, and say which is best",
    )
    command.add_argument(
        "--store",
        type=Path,
        metavar="FILE",
        help="the file that keeps the answers; default: a file in your data folder",
    )
    command.add_argument("--json", action="store_true", help="print the results as JSON")


def _prompt(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--for",
        dest="purpose",
        choices=PURPOSES,
        default="scan",
        help="the purpose of the question (default: scan)",
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
        help="a picture, to show the size in which it would be sent",
    )
    command.add_argument(
        "--body",
        action="store_true",
        help="only the body of the request, byte for byte, with --picture in it",
    )


def _serve(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--profile",
        choices=PROFILES,
        default="plain",
        help="the server to imitate (default: plain)",
    )
    command.add_argument(
        "--unsound",
        choices=UNSOUND,
        metavar="KIND",
        help=f"what it gets wrong (default: nothing): {', '.join(UNSOUND)}",
    )
    command.add_argument("--port", type=int, default=0, metavar="N", help="default: a free port")
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
        help="how often it misses a tag that is there, from 0 to 1",
    )
    command.add_argument(
        "--false-alarm-rate",
        type=_share,
        default=0.0,
        metavar="P",
        help="how often it sees a tag that is not there, from 0 to 1",
    )


# --- their values ---


def _setting(name: str, text: str) -> Any:
    try:
        return _parsed_setting(name, text)
    except argparse.ArgumentTypeError as fault:
        raise argparse.ArgumentTypeError(f"{fault} (it is {text!r})") from None


def _addresses(text: str) -> Any:
    from vlm_engine.config.one_line import addresses_in

    entries = [
        {"base_url": entry} if isinstance(entry, str) else entry for entry in addresses_in(text)
    ]
    return _parsed_setting("model.multiplexer_endpoints", entries)


def _parsed_setting(name: str, value: Any) -> Any:
    from vlm_engine.config.by_name import parse_setting

    try:
        return parse_setting(name, value, "")
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error).partition(": ")[2]) from None


def _tag_list(text: str) -> list[Any]:
    """Return the tags as a file has them: each a name, or a name with its description."""
    from vlm_engine.config.one_line import tags_in
    from vlm_engine.config.wording import clean_tags, split_tags

    try:
        entries = tags_in(text)
        clean_tags(split_tags(entries)[0])
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not entries:
        raise argparse.ArgumentTypeError('name what to look for, like "Foul,Goal"')
    return entries


def _layout(text: str) -> str:
    try:
        return text and checked_layout(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


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
        "Prints when each tag applies in a video, and which tags apply to a picture. Answers are "
        "kept, so no question is paid"
        " for twice.",
        (_tag, _config_file, _endpoints, _tags, _engine_settings),
    ),
    "check": (
        "try every endpoint and this machine: do answers fit pictures, what do they cost",
        "Asks every endpoint about test pictures, at most ten, and says which model answers, "
        "whether its answers fit the pictures, how many requests it takes at once, and what "
        "pictures and answers cost; then what this machine has; and where something is wrong, "
        "what to do about it. It takes half a minute, and never more than one.",
        (_config_file, _endpoints, _tags, _check),
    ),
    "prompt": (
        "show exactly what a model would be asked",
        "Shows the first request that an endpoint would get: address, messages, schema, sampling "
        "parameters and the size of "
        "the picture. Sends nothing.",
        (_config_file, _endpoints, _tags, _prompt),
    ),
    "serve-sandbox": (
        "run an endpoint that needs no model, to try things with",
        "Runs an endpoint on this machine that answers like a vision model behind a server that "
        "people use, until it is "
        "interrupted. It recognises what vlm_engine.testing.glyphs has drawn into a picture, the "
        "shapes of the check's test pictures, and nothing else.",
        (_serve,),
    ),
}
