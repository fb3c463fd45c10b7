"""PythonDepManager, the plugin of Stash's community that installs packages for other plugins."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from haven.setup import processes
from haven.setup.pip import pip_environment
from haven.setup.requirements import Requirement, fingerprint, lock_of, read_lock

_log = logging.getLogger(__name__)
_LIMIT_S = 1800.0
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


def can_install() -> bool:
    """Return True if PythonDepManager is there, and the git and pip that it runs."""
    modules = all(importlib.util.find_spec(module) for module in ("PythonDepManager", "pip"))
    return modules and shutil.which("git") is not None


def recall(data_dir: Path, requirements: Path) -> list[str]:
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


def install(wanted: Sequence[Requirement], data_dir: Path, requirements: Path) -> list[str]:
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
    versions = {package.name: package.version for package in read_lock(lock_of(requirements))}
    specs = [_spec(requirement, versions) for requirement in wanted]
    command = [sys.executable, "-P", "-c", _SCRIPT, str(memory), *specs]
    env = pip_environment([sys.executable, "-P", "-m", "pip"])
    outcome = processes.run(command, _report, limit_s=_LIMIT_S, env=env)
    folders = recall(data_dir, requirements)
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
    python = hashlib.sha256(sys.version.encode()).hexdigest()[:4]
    name = f"PythonDepManager-{fingerprint(requirements)}-{python}.json"
    return data_dir / "python" / name


def _spec(requirement: Requirement, versions: Mapping[str, str]) -> str:
    # It takes no ranges.
    version = versions.get(requirement.name)
    package = f"{requirement.name}=={version}" if version else requirement.name
    return f"{requirement.import_name}:{package}"


def _report(line: str) -> None:
    _log.info("%s", _unframed(line))


def _unframed(line: str) -> str:
    return re.sub(r"^\x01.\x02\s*", "", line)
