"""Output of a command line: text for people, and JSON."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from vlm_engine.errors import ConfigError

_WIDTH = 30
UNFORESEEN = "this should not have happened"
# Controls, ends of lines and paragraphs, and what turns the direction of writing.
_COMMANDS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class OutputError(Exception):
    """Standard output cannot be written. ``is_closed``: its reader has left, as with ``| head``."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output cannot be written: {error.strerror or error}")
        self.is_closed = isinstance(error, BrokenPipeError)


def prepare_output() -> None:
    """Make sure that no name of a file makes output fail: what the terminal cannot show becomes an
    escape.

    A stream that was closed before takes everything.
    """
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _nowhere() -> IO[str]:
    return Path(os.devnull).open("w", encoding="utf-8")


class OneLine(logging.Formatter):
    """Formatter that puts each message on one line of the terminal, whatever names are in it."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line, without a traceback."""
        return printable(super().formatMessage(record))


def printable(text: str) -> str:
    """Return ``text`` on one line, without anything that commands the terminal: names can hold
    anything.
    """
    return _COMMANDS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def show(text: str) -> None:
    """Write lines for a person to standard output. Raise ``OutputError``."""
    with _output():
        sys.stdout.write(text)
        sys.stdout.flush()


def show_bytes(content: bytes) -> None:
    """Write bytes to standard output. Raise ``OutputError``."""
    with _output():
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.flush()


@contextmanager
def _output() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        _let_go_of_output()
        raise OutputError(error) from error


def complain(text: str) -> None:
    """Write one message for a person to standard error."""
    with suppress(OSError):  # nobody is there to be told
        sys.stderr.write(f"{text}\n")


def _let_go_of_output() -> None:
    """Keep Python from failing once more at its end, with what is left."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def json_file(target: Path | None) -> Iterator[dict[int, Any]]:
    """Give a mapping to fill with results. At the end they are written, in the order of its
    numbers.

    ``target``: the file; "-" is standard output; None: nothing is written. If the work ends in an
    error or is interrupted, the results until then are written. Raise ``ConfigError`` if it cannot
    be written, before any work if possible.
    """
    if target is not None and str(target) != "-":
        _try_out(target)
    results: dict[int, Any] = {}
    complete = False
    try:
        yield results
        complete = True
    finally:
        if target is not None and (complete or results):
            _write_json(target, [results[number] for number in sorted(results)])


def _try_out(target: Path) -> None:
    """Raise ``ConfigError`` if no file can be written there. Leave everything as it was."""
    with _written(target):
        missing = not os.path.lexists(target)
        if (
            missing or target.is_file() or target.is_dir()
        ):  # the reader of a pipe would take it for the end
            target.open("ab").close()
        if missing:
            target.unlink()


def _write_json(target: Path, results: Sequence[Any]) -> None:
    text = json.dumps(results, ensure_ascii=False, indent=1) + "\n"
    # Of a name that is not UTF-8, Python keeps the odd bytes as halves of characters, which JSON
    # has escapes for.
    content = text.encode("utf-8", "backslashreplace")
    if str(target) == "-":
        show_bytes(content)
        return
    with _written(target):
        target.write_bytes(content)


@contextmanager
def _written(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(f"--json {target}: cannot be written: {error.strerror}") from error


class Bar:
    """A progress bar on one line of stderr; nothing unless ``visible``."""

    def __init__(self, *, visible: bool) -> None:
        self._visible = visible

    def draw(self, fraction: float) -> None:
        """Show the fraction that is done."""
        if self._visible:
            done = int(_WIDTH * fraction)
            sys.stderr.write(f"\r[{'#' * done}{'.' * (_WIDTH - done)}] {fraction:4.0%} ")
            sys.stderr.flush()

    def clear(self) -> None:
        """Make room for other lines."""
        if self._visible:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()
