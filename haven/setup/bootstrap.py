"""Make the plugin's packages importable, before anything that needs them is imported."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from haven.setup import SetupError, dep_manager
from haven.setup.environment import Environment
from haven.setup.pip import explain
from haven.setup.requirements import Requirement, lacking, read_requirements

_log = logging.getLogger(__name__)
_GUARD = "HAVEN_VLM_REEXECUTED"


class NotInstalledError(SetupError):
    """Packages are missing, and this process may not install them."""


def ensure_dependencies(
    plugin_dir: Path,
    data_dir: Path,
    *,
    requirements: str = "requirements.txt",
    stdin: bytes | None = None,
    argv: Sequence[str] | None = None,
    may_reexecute: bool = os.name == "posix",
    may_install: bool = True,
) -> None:
    """Return when every package in a requirements file of the plugin can be imported at a good
    version.

    Missing packages come from PythonDepManager, else from a private environment in ``data_dir``,
    which is built if needed. To use that environment, this process is replaced by the
    environment's Python, which runs the same command line again; then this does not return. On
    Windows a process cannot be replaced: there the packages are put in front of ``sys.path``.

    ``requirements``: the name of that file; its lock file is beside it.
    ``stdin``: what was read from stdin; the new process reads it again.
    ``argv``: the command line without the interpreter, by default this process's.
    ``may_install``: False raises ``NotInstalledError`` where packages would have to be installed.

    Raise ``SetupError`` when the packages cannot be installed; its message says why and what to
    do.
    """
    file = plugin_dir / requirements
    wanted = read_requirements(file)
    environment = Environment.for_this_python(data_dir, file)
    is_replaced = may_reexecute and os.environ.get(_GUARD) == str(os.getpid())
    if is_replaced and environment.is_complete:  # what PYTHONPATH shows may be older
        _put_in_front([str(environment.packages)])
    missing = lacking(wanted)
    if not missing:
        return
    if is_replaced:
        _report_damage(environment, missing)
    _log.debug("Not here, or not at a version that will do: %s", ", ".join(map(str, missing)))
    if data_dir.resolve().is_relative_to(plugin_dir.resolve()):
        raise SetupError(
            f"{data_dir} is inside the plugin, where Stash takes every .yml file for a plugin. "
            "Name another folder."
        )
    try:
        if environment.is_complete or may_install:
            is_given = not environment.is_complete and _from_dep_manager(wanted, data_dir, file)
            if not is_given:
                _use(environment, stdin, argv, may_reexecute)
        else:
            _require_dep_manager(wanted, data_dir, environment)
    except OSError as error:
        raise SetupError(explain(error, environment.folder.parent)) from error
    missing = lacking(wanted)
    if missing:
        _report_damage(environment, missing)


def ensure_cluster_packages(plugin_dir: Path, data_dir: Path, *, may_install: bool = True) -> None:
    """Return when the packages for work over a cluster can be imported. They have an environment of
    their own, which is put in front of ``sys.path``; processes that are spawned get that, too.

    Raise ``SetupError`` as ``ensure_dependencies`` does.
    """
    ensure_dependencies(
        plugin_dir,
        data_dir,
        requirements="requirements-cluster.txt",
        may_reexecute=False,
        may_install=may_install,
    )


def _use(
    environment: Environment,
    stdin: bytes | None,
    argv: Sequence[str] | None,
    may_reexecute: bool,
) -> None:
    """Build the environment if needed, and go on in it."""
    environment.build()
    environment.note_use()
    if environment.is_venv and may_reexecute:
        _reexecute(environment, stdin, sys.orig_argv[1:] if argv is None else argv)
    _put_in_front([str(environment.packages)])


def _require_dep_manager(
    wanted: Sequence[Requirement], data_dir: Path, environment: Environment
) -> None:
    if _known_to_dep_manager(wanted, data_dir, environment.requirements):
        return
    if environment.is_being_built:
        raise NotInstalledError(
            "A task is installing the Python packages that the plugin needs, which takes a few "
            "minutes. Try again when it has finished."
        )
    raise NotInstalledError(
        "The Python packages that the plugin needs are not installed yet. Start the task Check "
        "Set-up once: it installs them, which takes a few minutes."
    )


def _known_to_dep_manager(wanted: Sequence[Requirement], data_dir: Path, file: Path) -> bool:
    known = dep_manager.recall(data_dir, file)
    _put_in_front(known)
    return bool(known) and not lacking(wanted)


def _from_dep_manager(wanted: Sequence[Requirement], data_dir: Path, file: Path) -> bool:
    if _known_to_dep_manager(wanted, data_dir, file):
        return True
    if not dep_manager.can_install():
        return False
    _put_in_front(dep_manager.install(wanted, data_dir, file))
    return not lacking(wanted)


def _put_in_front(folders: Iterable[str]) -> None:
    sys.path[:0] = folders
    importlib.invalidate_caches()


def _report_damage(environment: Environment, missing: Sequence[Requirement]) -> NoReturn:
    environment.spoil()
    raise SetupError(
        f"The packages in {environment.folder} are damaged: {', '.join(map(str, missing))} "
        "cannot be found."
        " Start the task again; they are then installed anew."
    )


def _reexecute(environment: Environment, stdin: bytes | None, argv: Sequence[str]) -> None:
    """Replace this process. Return if the system does not allow it (as on a disk mounted
    ``noexec``).
    """
    # PYTHONHOME is of the Python that is left: it would hide the environment's packages.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONHOME"}
    env[_GUARD] = str(os.getpid())
    if stdin is not None:
        with tempfile.TemporaryFile(dir=environment.folder) as file:
            file.write(stdin)
            file.seek(0)
            os.dup2(file.fileno(), 0)
    sys.stdout.flush()
    sys.stderr.flush()
    python = str(environment.python)
    try:
        os.execve(python, [python, *argv], env)
    except OSError as error:
        _log.debug("%s cannot be run (%s); its packages are imported from here.", python, error)
