"""What a command line writes: for people, and as JSON."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Sequence
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


def write_json(target: Path, results: Sequence[Any]) -> None:
    """``results`` into a file, or to standard output where ``target`` is "-". Raises ``ConfigError``: it cannot be written."""
    text = json.dumps(results, ensure_ascii=False, indent=1) + "\n"
    # Of a name that is not UTF-8, Python keeps the odd bytes as halves of characters, which JSON has escapes for.
    content = text.encode("utf-8", "backslashreplace")
    if str(target) == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        return
    try:
        target.write_bytes(content)
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
