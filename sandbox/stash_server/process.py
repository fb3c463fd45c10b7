"""One run of a plugin's process: its stdin, its framed log on stderr, its result on stdout."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

LEVELS = {"t": "trace", "d": "debug", "i": "info", "w": "warning", "e": "error", "p": "progress"}
_LONGEST_LINE = 64 * 1024 - 1  # Go's bufio.Scanner gives up on 64 KiB without a newline
_LAST_WORDS_S = 5.0  # for output from before the end; a child may hold the pipe longer
_LAST_WORDS_OF_THE_KILLED_S = 0.5


class LogLine(NamedTuple):
    """A line of the plugin's log: trace, debug, info, warning or error."""

    level: str
    text: str


@dataclass(frozen=True)
class Outcome:
    """End of a run.

    ``output`` is the raw text when stdout held no result; ``exit_code`` is negative for a signal.
    """

    output: Any
    error: str | None
    exit_code: int


class PluginProcess:
    """A process that was started. ``OSError``: it could not be.

    ``on_log`` and ``on_progress`` are called from the thread that reads its stderr.
    """

    def __init__(
        self,
        command: Sequence[str],
        payload: Mapping[str, Any],
        *,
        folder: Path,
        environment: Mapping[str, str],
        on_log: Callable[[LogLine], None],
        on_progress: Callable[[float], None],
        default_level: str = "error",
    ) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=folder, env=dict(environment)
        )
        self._on_log, self._on_progress, self._default_level = on_log, on_progress, default_level
        self._text, self._killed = "", False
        self._settled = threading.Event()
        self._feeder = threading.Thread(
            target=self._feed, args=(json.dumps(payload).encode(),), daemon=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        for thread in (self._feeder, self._reader, self._listener):
            thread.start()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL to this process, not to its children."""
        self._killed = True
        self._process.kill()
        self._settled.set()

    def has_ended(self, within_s: float) -> bool:
        """Return True once it has closed its stdout, or was killed. Waits at most ``within_s``."""
        return self._settled.wait(within_s)

    def wait(self) -> Outcome:
        """Return once the process has ended and stdout is closed, also by children that inherited
        it.

        After ``kill`` children are not waited for.
        """
        self._settled.wait()
        code = self._process.wait()
        for thread in (self._reader, self._listener):
            thread.join(_LAST_WORDS_OF_THE_KILLED_S if self._killed else _LAST_WORDS_S)
        output, error = _result(self._text)
        if code and error is None:
            error = f"signal: {-code}" if code < 0 else f"exit status {code}"
        return Outcome(output, error, code)

    def _read(self) -> None:
        with _pipe(self._process.stdout) as stdout:
            self._text = stdout.read().decode(errors="replace")
        self._settled.set()

    def _feed(self, data: bytes) -> None:
        """All of stdin; a process that does not want it may close it."""
        stdin = _pipe(self._process.stdin)
        try:
            with stdin:
                stdin.write(data)
        except BrokenPipeError:
            return

    def _listen(self) -> None:
        """Read the log until it ends, or until a line is longer than the server can hold: then the
        pipe closes.
        """
        with _pipe(self._process.stderr) as stderr:
            while line := stderr.readline(_LONGEST_LINE + 1):
                if len(line) > _LONGEST_LINE and not line.endswith(b"\n"):
                    return
                text = line.decode(errors="replace").removesuffix("\n").removesuffix("\r")
                if text:
                    self._take(text)

    def _take(self, text: str) -> None:
        level = (
            LEVELS.get(text[1])
            if len(text) > 3 and text[0] == "\x01" and text[2] == "\x02"
            else None
        )
        if level is None:
            self._on_log(LogLine(self._default_level, text))
            return
        message = text[3:].strip()
        if level != "progress":
            self._on_log(LogLine(level, message))
            return
        try:
            self._on_progress(float(message))
        except ValueError:
            self._on_log(LogLine("error", f"Error parsing progress value '{message}'"))


def _result(text: str) -> tuple[Any, str | None]:
    """Read ``{"output": …, "error": …}`` as the server does; anything else is the output itself."""
    try:
        data = json.loads(text)
    except ValueError:
        return text, None
    if data is None:
        return None, None
    if not isinstance(data, dict) or not isinstance(data.get("error"), str | None):
        return text, None
    return data.get("output"), data.get("error")


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise AssertionError("every stream of the process is a pipe")
    return pipe
