"""The start of the process: Stash's JSON on standard input, or a command line, becomes one task.

Only the standard library is imported until the dependencies are there.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TextIO

from haven.setup import SetupError
from haven.setup.bootstrap import ensure_dependencies
from haven.setup.paths import default_data_dir
from haven.setup.stash_log import StashLogHandler

PLUGIN_DIR = Path(__file__).resolve().parents[2]
_log = logging.getLogger(__name__)
_USAGE_ERROR = 2
_PACKAGES = ("haven", "vlm_engine")
_ExceptHook = Callable[[type[BaseException], BaseException, TracebackType | None], None]


@dataclass(frozen=True, slots=True)
class StashRequest:
    """One task as Stash starts it.

    ``connection``: how to reach Stash. ``arguments``: those of the task, ``mode`` among them.
    """

    connection: Mapping[str, object]
    arguments: Mapping[str, str]

    @property
    def config_dir(self) -> str:
        """The folder of Stash's configuration, or ""."""
        return str(self.connection.get("Dir") or "")


def main(arguments: Sequence[str]) -> int:
    """Run a command line, or the task that Stash sends. Return the exit code."""
    # Pillow warns of oddities in pictures that it can read, without naming the picture.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    return run_for_terminal(arguments) if arguments else run_for_stash(sys.stdin.buffer.read())


def run_for_terminal(arguments: Sequence[str]) -> int:
    """Run one command line. Its help lists the exit codes."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        data_dir = default_data_dir(None)
        _prepare(data_dir)
    except SetupError as error:
        sys.stderr.write(f"{error}\n")
        return _USAGE_ERROR
    from haven.tasks.command_line import run_command
    from haven.tasks.stash_run import DATABASE

    return run_command(arguments, data_dir / DATABASE)


def run_for_stash(sent: bytes) -> int:
    """Run the task that Stash sent. One JSON object on standard output says how it ended.

    Stash shows a task as finished whatever its exit code, so an error is also logged.
    """
    log = StashLogHandler()
    logging.basicConfig(level=logging.INFO, handlers=[log], force=True)
    for package in _PACKAGES:  # Stash decides whether to show debug lines; libraries log too much
        logging.getLogger(package).setLevel(logging.DEBUG)
    # A stray print of a library would spoil the one JSON object.
    with contextlib.redirect_stdout(sys.stderr):
        sys.excepthook = _log_unexpected(sys.__stdout__, log)
        output, error = _outcome(sent, log)
    if error:
        _log.error("%s", error)
    else:
        _log.info("%s", output)
    _answer(sys.stdout, output, error)
    log.flush_before_exit()
    return 1 if error else 0


def _outcome(sent: bytes, log: StashLogHandler) -> tuple[str | None, str | None]:
    """Return (end line, None) or (None, error)."""
    try:
        request = _request(sent)
        data_dir = default_data_dir(request.config_dir or None)
        _prepare(data_dir, sent)
    except SetupError as error:
        return None, str(error)
    from haven.tasks.failures import EXPECTED
    from haven.tasks.stash_run import run_task

    try:
        return run_task(request, data_dir, log), None
    except EXPECTED as error:
        return None, str(error)


def _prepare(data_dir: Path, sent: bytes | None = None) -> None:
    """Install missing packages. Put the plugin first: an installed ``vlm_engine`` is not ours."""
    ensure_dependencies(PLUGIN_DIR, data_dir, stdin=sent)
    sys.path.insert(0, str(PLUGIN_DIR))


def _request(sent: bytes) -> StashRequest:
    expected = "Standard input must hold the JSON object that Stash sends to a plugin"
    try:
        request = json.loads(sent)
    except (ValueError, RecursionError) as error:
        raise SetupError(f"{expected}: {error}") from error
    if not isinstance(request, dict) or not isinstance(request.get("server_connection"), dict):
        raise SetupError(f'{expected}, with "server_connection".')
    connection, arguments = request["server_connection"], request.get("args") or {}
    if not isinstance(connection.get("Dir") or "", str) or not isinstance(arguments, dict):
        raise SetupError(f'{expected}; "args" is an object in it, and "Dir" text.')
    return StashRequest(connection, {str(key): str(value) for key, value in arguments.items()})


def _answer(stream: TextIO | None, output: str | None, error: str | None) -> None:
    if stream is not None:
        stream.write(json.dumps({"output": output} if error is None else {"error": error}))
        stream.flush()


def _log_unexpected(stdout: TextIO | None, log: StashLogHandler) -> _ExceptHook:
    """Return Python's hook for unexpected errors: it logs the traceback and answers Stash."""

    def report(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        _log.critical("Unexpected error:", exc_info=(kind, error, trace))
        _answer(stdout, None, f"{kind.__name__}: {error}")
        log.flush_before_exit()

    return report
