"""What a command line writes: for people, and as JSON."""

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
    """Standard output takes nothing more. ``is_closed``: nobody reads it, as behind ``| head``."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output cannot be written: {error.strerror or error}")
        self.is_closed = isinstance(error, BrokenPipeError)


def prepare_output() -> None:
    """From now on nothing that is written for people fails because of its letters, as names of
    files from an old disk would: what the terminal's encoding lacks comes out as an escape. A
    stream that was closed before takes everything.
    """
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _nowhere() -> IO[str]:
    return Path(os.devnull).open("w", encoding="utf-8")


class OneLine(logging.Formatter):
    """Each message on one line of the terminal, whatever the names in it are."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The line, without a traceback."""
        return printable(super().formatMessage(record))


def printable(text: str) -> str:
    """``text`` on one line, in which nothing commands the terminal: names of files, and what
    servers say, may hold anything.
    """
    return _COMMANDS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def show(text: str) -> None:
    """Lines for a person, on standard output. Raises ``OutputError``."""
    with _output():
        sys.stdout.write(text)
        sys.stdout.flush()


def show_bytes(content: bytes) -> None:
    """The same as they are."""
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
    """One message for a person, on standard error."""
    with suppress(OSError):  # nobody is there to be told
        sys.stderr.write(f"{text}\n")


def _let_go_of_output() -> None:
    """Keeps Python from failing once more at its end, with what is left."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def json_file(target: Path | None) -> Iterator[dict[int, Any]]:
    """Gives a mapping to be filled with results; at the end these are written, in the order of
    its numbers.

    ``target``: the file; "-" is standard output; None: nothing is written. When the work ends in
    an error, or is interrupted, what there is until then is written. Raises ``ConfigError``
    where it cannot be, before any work if possible.
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
    """Raises ``ConfigError`` where no file can be written there, and leaves everything as it
    was.
    """
    with _written(target):
        missing = not os.path.lexists(target)
        if (
            missing or target.is_file() or target.is_dir()
        ):  # whoever reads a pipe would take it for the end
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
    """One line on stderr that shows how far the work is. Nothing where it is not ``shown``."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown

    def draw(self, fraction: float) -> None:
        """So much of it is done."""
        if self._shown:
            done = int(_WIDTH * fraction)
            sys.stderr.write(f"\r[{'#' * done}{'.' * (_WIDTH - done)}] {fraction:4.0%} ")
            sys.stderr.flush()

    def clear(self) -> None:
        """Makes room for other lines."""
        if self._shown:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()
