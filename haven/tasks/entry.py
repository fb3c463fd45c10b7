"""What Stash sends on standard input, or a command line, becomes one task.

Until the dependencies are there only the standard library is imported.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from haven.setup import SetupError
from haven.setup.bootstrap import ensure_dependencies
from haven.setup.paths import default_data_dir
from haven.setup.stash_log import StashLogHandler

PLUGIN_DIR = Path(__file__).resolve().parents[2]
_log = logging.getLogger(__name__)
_USAGE_ERROR = 2
_OWN = ("haven", "vlm_engine")


def main(arguments: Sequence[str]) -> int:
    """Runs what was asked for and returns the exit code."""
    warnings.filterwarnings(
        "ignore", module=r"PIL\."
    )  # what is odd about a picture that can be read, not saying which
    return run_for_terminal(arguments) if arguments else run_for_stash(sys.stdin.buffer.read())


def run_for_terminal(arguments: Sequence[str]) -> int:
    """Runs one command line. Exit codes: see its help."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        data_dir = default_data_dir(None)
        _get_ready(data_dir)
    except SetupError as error:
        sys.stderr.write(f"{error}\n")
        return _USAGE_ERROR
    from haven.tasks.command_line import run_command
    from haven.tasks.stash_run import DATABASE

    return run_command(arguments, data_dir / DATABASE)


def run_for_stash(sent: bytes) -> int:
    """Runs the task that Stash asked for; one JSON object on standard output says how it ended.

    Stash shows a task as finished whatever its exit code, so an error is also in the log and in ``error``.
    """
    log = StashLogHandler()
    logging.basicConfig(level=logging.INFO, handlers=[log], force=True)
    for (
        package
    ) in _OWN:  # whether debug lines are shown is for Stash to say; libraries would say too much
        logging.getLogger(package).setLevel(logging.DEBUG)
    with contextlib.redirect_stdout(
        sys.stderr
    ):  # a stray print of a library would spoil the one object
        sys.excepthook = _report_unforeseen(sys.__stdout__, log)
        output, error = _outcome(sent, log)
    if error:
        _log.error("%s", error)
    else:
        _log.info("%s", output)
    _answer(sys.stdout, output, error)
    log.flush_before_exit()
    return 1 if error else 0


def _outcome(sent: bytes, log: StashLogHandler) -> tuple[str | None, str | None]:
    """(end line, None) or (None, what went wrong)."""
    try:
        request = _request(sent)
        data_dir = default_data_dir(request["server_connection"].get("Dir"))
        _get_ready(data_dir, sent)
    except SetupError as error:
        return None, str(error)
    from haven.tasks.context import EXPECTED
    from haven.tasks.stash_run import run_task

    try:
        return run_task(request, data_dir, log), None
    except EXPECTED as error:
        return None, str(error)


def _get_ready(data_dir: Path, sent: bytes | None = None) -> None:
    """The packages are there from now on, and behind the plugin's own: a ``vlm_engine`` that is installed is another's."""
    ensure_dependencies(PLUGIN_DIR, data_dir, stdin=sent)
    sys.path.insert(0, str(PLUGIN_DIR))


def _request(sent: bytes) -> Mapping[str, Any]:
    wanted = "Standard input must hold the JSON object that Stash sends to a plugin"
    try:
        request = json.loads(sent)
    except (ValueError, RecursionError) as error:
        raise SetupError(f"{wanted}: {error}") from error
    if not isinstance(request, dict) or not isinstance(request.get("server_connection"), dict):
        raise SetupError(f'{wanted}, with "server_connection".')
    if not isinstance(request["server_connection"].get("Dir") or "", str) or not isinstance(
        request.get("args") or {}, dict
    ):
        raise SetupError(f'{wanted}; "args" is an object in it, and "Dir" text.')
    return request


def _answer(stream: Any, output: str | None, error: str | None) -> None:
    stream.write(json.dumps({"output": output} if error is None else {"error": error}))
    stream.flush()


def _report_unforeseen(stdout: Any, log: StashLogHandler) -> Any:
    """What Python calls for an error nobody expected: Stash's log gets the traceback, Stash itself an ``error``."""

    def report(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        _log.critical("This should not have happened:", exc_info=(kind, error, trace))
        _answer(stdout, None, f"{kind.__name__}: {error}")
        log.flush_before_exit()

    return report
