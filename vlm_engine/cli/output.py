"""What a command line writes: for people, and as JSON."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vlm_engine.errors import ConfigError

_WIDTH = 30


def take_any_name() -> None:
    """From now on nothing that is written for people fails because of its letters, as names of files from an old disk would:
    what the terminal's encoding lacks comes out as an escape."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def complain(text: str) -> None:
    """One message for a person, on standard error."""
    sys.stderr.write(f"{text}\n")


def let_go_of_output() -> None:
    """Nobody reads it any more, as behind ``| head``. Keeps Python from failing once more at its end, with what is left."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def json_file(target: Path | None) -> Iterator[dict[int, Any]]:
    """Gives a mapping to be filled with results; at the end these are written, in the order of its numbers.

    ``target``: the file; "-" is standard output; None: nothing is written. When the work ends in an error, or is interrupted,
    what there is until then is written. Raises ``ConfigError`` where it cannot be, before any work if possible.
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
    """Raises ``ConfigError`` where no file can be written there, and leaves everything as it was."""
    with _written(target):
        missing = not os.path.lexists(target)
        if missing or target.is_file() or target.is_dir():  # whoever reads a pipe would take it for the end
            target.open("ab").close()
        if missing:
            target.unlink()


def _write_json(target: Path, results: Sequence[Any]) -> None:
    text = json.dumps(results, ensure_ascii=False, indent=1) + "\n"
    # Of a name that is not UTF-8, Python keeps the odd bytes as halves of characters, which JSON has escapes for.
    content = text.encode("utf-8", "backslashreplace")
    if str(target) == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
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
