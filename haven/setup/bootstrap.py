"""Sees to it that the packages can be imported, before anything that needs them is."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from haven.setup import dep_manager
from haven.setup.environment import Environment
from haven.setup.errors import SetupError
from haven.setup.requirements import Requirement, lacking, read_requirements

_log = logging.getLogger(__name__)
_GUARD = "HAVEN_VLM_REEXECUTED"


def ensure_dependencies(
    plugin_dir: Path,
    data_dir: Path,
    *,
    stdin: bytes | None = None,
    argv: Sequence[str] | None = None,
    may_reexecute: bool = os.name == "posix",
) -> None:
    """Returns when everything in the plugin's ``requirements.txt`` can be imported at a version that will do.

    What this Python lacks comes from PythonDepManager, else from a private environment in ``data_dir``, which is
    built if need be. To use that environment the process is replaced by the environment's Python, which runs the
    same command line again: then this does not return. ``stdin`` is what was read from stdin already; the new
    process reads it again. ``argv``: the command line without the interpreter, this process's by default.
    Where a process cannot be replaced (Windows), the environment's packages are put in front of ``sys.path``.

    Raises ``SetupError`` when the packages cannot be had; its message says why and what to do.
    """
    file = plugin_dir / "requirements.txt"
    wanted = read_requirements(file)
    missing = lacking(wanted)
    if not missing:
        return
    _log.debug("Not here, or not at a version that will do: %s", ", ".join(map(str, missing)))
    if data_dir.resolve().is_relative_to(plugin_dir.resolve()):
        raise SetupError(
            f"{data_dir} is inside the plugin, where Stash takes every .yml file for a plugin. Name another folder."
        )
    try:
        environment = Environment.for_this_python(data_dir, file)
        _refuse_to_turn_in_circles(environment, missing)
        if not environment.is_complete and _from_dep_manager(wanted, data_dir, file):
            return
        environment.build()
        environment.note_use()
        if environment.is_venv and may_reexecute:
            _reexecute(environment, stdin, sys.orig_argv[1:] if argv is None else argv)
        _put_in_front([str(environment.packages)])
    except OSError as error:
        raise SetupError(
            f"The packages that the plugin needs cannot be installed in {data_dir}: {error}"
        ) from error
    _check(environment, lacking(wanted))


def _from_dep_manager(wanted: Sequence[Requirement], data_dir: Path, file: Path) -> bool:
    known = dep_manager.recall(data_dir, file)
    if known:
        _put_in_front(known)
        if not lacking(wanted):
            return True
    if not dep_manager.can_work():
        return False
    _put_in_front(dep_manager.install(wanted, data_dir, file))
    return not lacking(wanted)


def _put_in_front(folders: Iterable[str]) -> None:
    sys.path[:0] = folders
    importlib.invalidate_caches()


def _refuse_to_turn_in_circles(environment: Environment, missing: Sequence[Requirement]) -> None:
    """A process that was replaced keeps its number, so only it finds its own number in the guard variable."""
    if os.environ.get(_GUARD) == str(os.getpid()):
        _check(environment, missing)


def _check(environment: Environment, missing: Sequence[Requirement]) -> None:
    if missing:
        environment.spoil()
        raise SetupError(
            f"The packages in {environment.folder} are damaged: {', '.join(map(str, missing))} cannot be found."
            " Start the task again; they are then installed anew."
        )


def _reexecute(environment: Environment, stdin: bytes | None, argv: Sequence[str]) -> None:
    """Replaces this process. Returns where the system does not let it (as on a disk mounted ``noexec``)."""
    if stdin is not None:
        with tempfile.TemporaryFile() as file:
            file.write(stdin)
            file.seek(0)
            os.dup2(file.fileno(), 0)
    sys.stdout.flush()
    sys.stderr.flush()
    python = str(environment.python)
    try:
        os.execve(python, [python, *argv], {**os.environ, _GUARD: str(os.getpid())})
    except OSError as error:
        _log.debug("%s cannot be run (%s); its packages are imported from here.", python, error)
