"""The start of the process: Stash's JSON on standard input, or a command line, becomes one task.

Only the standard library is imported until the dependencies are there.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from haven.setup import INCOMPLETE, SetupError
from haven.setup.bootstrap import NotInstalledError, ensure_dependencies
from haven.setup.paths import DATABASE, default_data_dir
from haven.setup.stash_log import StashLogHandler

if TYPE_CHECKING:
    from haven.pages.context import PageContext
    from vlm_engine import Section

PLUGIN_DIR = Path(__file__).resolve().parents[2]
_log = logging.getLogger(__name__)
_USAGE_ERROR = 2
_PAGES = "pages"
_PACKAGES = ("haven", "vlm_engine")
_ExceptHook = Callable[[type[BaseException], BaseException, TracebackType | None], None]


@dataclass(frozen=True, slots=True)
class StashRequest:
    """One task or operation as Stash starts it.

    ``connection``: how to reach Stash. ``arguments``: as they were sent, ``mode`` among them.
    """

    connection: Mapping[str, object]
    arguments: Mapping[str, object]

    @property
    def texts(self) -> Mapping[str, str]:
        """The arguments of a task as text. Lists and objects, which scripts send, become JSON."""
        return {
            name: json.dumps(value) if isinstance(value, list | dict) else str(value)
            for name, value in self.arguments.items()
        }

    @property
    def is_for_pages(self) -> bool:
        """True if one of the plugin's pages waits for the answer."""
        return self.arguments.get("mode") == _PAGES

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
    with _importing():
        from haven.tasks.command_line import run_command

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
    is_task = not isinstance(output, dict)
    if is_task:
        _log.log(logging.ERROR if error else logging.INFO, "%s", error or output)
    _answer(sys.stdout, output, error)
    if is_task:  # a page does not wait for the log
        log.flush_before_exit()
    return 1 if error else 0


def prepare_worker() -> None:
    """Prepare a process that looks at media for a task, and imports the task's main module.

    Standard output stays the task's, for its one JSON object. What the engine logs comes by way of
    the task; what libraries log there is dropped: as plain text it would look like faults.
    """
    os.dup2(2, 1)
    logging.basicConfig(handlers=[logging.NullHandler()])


def _outcome(sent: bytes, log: StashLogHandler) -> tuple[object, str | None]:
    """Return (end line or reply to a page, None) or (None, error)."""
    try:
        request = _request(sent)
        if request.is_for_pages:
            return _page_reply(request, sent, log), None
        data_dir = default_data_dir(request.config_dir or None)
        _prepare(data_dir, sent)
    except SetupError as error:
        return None, str(error)
    with _importing():
        from haven.tasks.failures import EXPECTED
        from haven.tasks.stash_run import run_task

    try:
        return run_task(request, data_dir, log), None
    except (*EXPECTED, SetupError) as error:
        return None, str(error)


def _page_reply(request: StashRequest, sent: bytes, log: StashLogHandler) -> object:
    """Return the reply to a page: always one of the contract, whatever goes wrong."""
    sys.excepthook = _log_unexpected(sys.__stdout__, log, for_pages=True)
    try:
        data_dir = default_data_dir(request.config_dir or None)
        _prepare(data_dir, sent, may_install=False)
    except NotInstalledError as error:
        return _page_failure("packages", str(error))
    except SetupError as error:
        return _page_failure("setup", str(error))
    with _importing():
        from haven.pages.context import PageContext
        from haven.pages.dispatch import answer

    with PageContext(request.connection, data_dir, _check_stash) as context:
        return answer(request.arguments, context)


@contextlib.contextmanager
def _importing() -> Iterator[None]:
    """Import without looking for garbage: what modules make stays until the end."""
    gc.disable()
    yield
    gc.freeze()
    gc.enable()


def _check_stash(context: PageContext) -> Sequence[Section]:
    from haven.tasks.check import sections_for_page

    return sections_for_page(context)


def _page_failure(code: str, message: str) -> object:
    return {"api": 1, "ok": False, "code": code, "message": message}


def _prepare(data_dir: Path, sent: bytes | None = None, *, may_install: bool = True) -> None:
    """Install missing packages. Put the plugin first: an installed ``vlm_engine`` is not ours."""
    ensure_dependencies(PLUGIN_DIR, data_dir, stdin=sent, may_install=may_install)
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
    return StashRequest(connection, arguments)


def _answer(stream: TextIO | None, output: object, error: str | None) -> None:
    if stream is not None:
        stream.write(json.dumps({"output": output} if error is None else {"error": error}))
        stream.flush()


def _log_unexpected(
    stdout: TextIO | None, log: StashLogHandler, *, for_pages: bool = False
) -> _ExceptHook:
    """Return Python's hook for unexpected errors: it logs the traceback and answers Stash."""

    def report(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        _log.critical("Unexpected error:", exc_info=(kind, error, trace))
        message = f"{kind.__name__}: {error}"
        is_incomplete = issubclass(kind, ImportError | SyntaxError)
        if is_incomplete:
            message = f"{INCOMPLETE} ({message})"
        if for_pages:
            code = "updating" if is_incomplete else "unexpected"
            _answer(stdout, _page_failure(code, message), None)
            log.flush_before_exit()
            os._exit(0)  # Stash drops the output of a process that fails
        if is_incomplete:
            _log.error("%s", message)
        _answer(stdout, None, message)
        log.flush_before_exit()

    return report
