"""Make the plugin's packages importable, before anything that needs them is imported."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import logging
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from haven.setup import SetupError, processes
from haven.setup.environment import Environment
from haven.setup.requirements import Requirement, lacking, read_requirements

_log = logging.getLogger(__name__)
_GUARD = "HAVEN_VLM_REEXECUTED"


class NotInstalledError(SetupError):
    """Packages are missing, and this process may not install them."""


def ensure_dependencies(
    plugin_dir: Path,
    data_dir: Path,
    *,
    stdin: bytes | None = None,
    argv: Sequence[str] | None = None,
    may_reexecute: bool = os.name == "posix",
    may_install: bool = True,
) -> None:
    """Return when every package in the plugin's ``requirements.txt`` can be imported at a good
    version.

    Missing packages come from PythonDepManager, else from a private environment in ``data_dir``,
    which is built if needed. To use that environment, this process is replaced by the
    environment's Python, which runs the same command line again; then this does not return. On
    Windows a process cannot be replaced: there the packages are put in front of ``sys.path``.

    ``stdin``: what was read from stdin; the new process reads it again.
    ``argv``: the command line without the interpreter, by default this process's.
    ``may_install``: False raises ``NotInstalledError`` where packages would have to be installed.

    Raise ``SetupError`` when the packages cannot be installed; its message says why and what to
    do.
    """
    file = plugin_dir / "requirements.txt"
    wanted = read_requirements(file)
    missing = lacking(wanted)
    if not missing:
        return
    _log.debug("Not here, or not at a version that will do: %s", ", ".join(map(str, missing)))
    if data_dir.resolve().is_relative_to(plugin_dir.resolve()):
        raise SetupError(
            f"{data_dir} is inside the plugin, where Stash takes every .yml file for a plugin. "
            "Name another folder."
        )
    try:
        environment = Environment.for_this_python(data_dir, file)
        _refuse_to_turn_in_circles(environment, missing)
        if not environment.is_complete and not may_install:
            _require_dep_manager(wanted, data_dir, file)
            return
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


def _require_dep_manager(wanted: Sequence[Requirement], data_dir: Path, file: Path) -> None:
    if not _known_to_dep_manager(wanted, data_dir, file):
        raise NotInstalledError(
            "The Python packages that the plugin needs are not installed yet. Start the task Check "
            "Set-up once: it installs them, which takes a few minutes."
        )


def _known_to_dep_manager(wanted: Sequence[Requirement], data_dir: Path, file: Path) -> bool:
    known = _recall(data_dir, file)
    _put_in_front(known)
    return bool(known) and not lacking(wanted)


def _from_dep_manager(wanted: Sequence[Requirement], data_dir: Path, file: Path) -> bool:
    if _known_to_dep_manager(wanted, data_dir, file):
        return True
    if not _can_install():
        return False
    _put_in_front(_install_by_dep_manager(wanted, data_dir, file))
    return not lacking(wanted)


def _put_in_front(folders: Iterable[str]) -> None:
    sys.path[:0] = folders
    importlib.invalidate_caches()


def _refuse_to_turn_in_circles(environment: Environment, missing: Sequence[Requirement]) -> None:
    """Raise if this process was replaced already. It keeps its number, so only it finds its number
    in the guard.
    """
    if os.environ.get(_GUARD) == str(os.getpid()):
        _check(environment, missing)


def _check(environment: Environment, missing: Sequence[Requirement]) -> None:
    if missing:
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


_log = logging.getLogger(__name__)
_LIMIT_S = 1800.0
# It takes no ranges. These versions are within those of requirements.txt, and have wheels for every
# Python since 3.11.
PINNED = {
    "aiohttp": "3.14.5",
    "av": "18.1.0",
    "numpy": "2.4.6",
    "pillow": "13.0.0",
    "pybase64": "1.5.1",
    "pydantic": "2.14.3",
    "pyyaml": "6.0.3",
    "stashapp-tools": "0.2.59",
}
# Runs in a process of its own: whatever it raises or prints, and however it ends, it takes nothing
# down with it.
_SCRIPT = """
import json, sys
before = set(sys.path)
from PythonDepManager import ensure_import
ensure_import(*sys.argv[2:])
with open(sys.argv[1], "w", encoding="utf-8") as file:
    json.dump([folder for folder in sys.path if folder not in before], file)
"""


def _can_install() -> bool:
    """Return True if PythonDepManager is there, and the git and pip that it runs."""
    modules = all(importlib.util.find_spec(module) for module in ("PythonDepManager", "pip"))
    return modules and shutil.which("git") is not None


def _recall(data_dir: Path, requirements: Path) -> list[str]:
    """Return the folders it gave last time for the same requirements; empty if there were none."""
    try:
        folders = json.loads(_memory(data_dir, requirements).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return (
        [folder for folder in folders if isinstance(folder, str) and Path(folder).is_dir()]
        if isinstance(folders, list)
        else []
    )


def _install_by_dep_manager(
    wanted: Sequence[Requirement], data_dir: Path, requirements: Path
) -> list[str]:
    """Let it install ``wanted``, and return the folders to import from; empty, with a line in the
    log, if it failed.
    """
    memory = _memory(data_dir, requirements)
    memory.parent.mkdir(parents=True, exist_ok=True)
    memory.unlink(missing_ok=True)
    _log.info(
        "PythonDepManager installs the packages that the plugin needs. This happens once, and "
        "takes a few minutes."
    )
    command = [
        sys.executable,
        "-P",
        "-c",
        _SCRIPT,
        str(memory),
        *(_spec(requirement) for requirement in wanted),
    ]
    outcome = processes.run(command, _report, limit_s=_LIMIT_S)
    folders = _recall(data_dir, requirements)
    if outcome.status != 0 or not folders:
        said = (
            _unframed(outcome.last_lines[-1])
            if outcome.last_lines
            else f"it ended with {outcome.status}"
        )
        _log.warning(
            "PythonDepManager could not install the packages (%s); the plugin does it itself.", said
        )
        return []
    return folders


def _memory(data_dir: Path, requirements: Path) -> Path:
    fingerprint = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:12]
    return data_dir / "python" / f"PythonDepManager-{fingerprint}.json"


def _spec(requirement: Requirement) -> str:
    package = (
        f"{requirement.name}=={PINNED[requirement.name]}"
        if requirement.name in PINNED
        else requirement.name
    )
    return f"{requirement.import_name}:{package}"


def _report(line: str) -> None:
    _log.info("%s", _unframed(line))


def _unframed(line: str) -> str:
    return re.sub(r"^\x01.\x02\s*", "", line)
