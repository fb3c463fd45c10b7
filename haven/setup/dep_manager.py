"""PythonDepManager, the plugin that installs packages for other plugins: used where it is there and able to."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from haven.setup import child
from haven.setup.requirements import Requirement

_log = logging.getLogger(__name__)
_LIMIT_S = 1800.0
# It takes no ranges. These versions are within those of requirements.txt, and have wheels for every Python since 3.11.
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
# Runs in a process of its own: whatever it raises or prints, and however it ends, it takes nothing down with it.
_SCRIPT = """
import json, sys
before = set(sys.path)
from PythonDepManager import ensure_import
ensure_import(*sys.argv[2:])
with open(sys.argv[1], "w", encoding="utf-8") as file:
    json.dump([folder for folder in sys.path if folder not in before], file)
"""


def can_work() -> bool:
    """Whether it is there, and with it the git and the pip that it runs."""
    modules = all(importlib.util.find_spec(module) for module in ("PythonDepManager", "pip"))
    return modules and shutil.which("git") is not None


def recall(data_dir: Path, requirements: Path) -> list[str]:
    """The folders it gave the last time for the same requirements; empty where there was none."""
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
    """Has it install ``wanted``, and gives the folders to import from; empty, with a line in the log, where it could not."""
    memory = _memory(data_dir, requirements)
    memory.parent.mkdir(parents=True, exist_ok=True)
    memory.unlink(missing_ok=True)
    _log.info(
        "PythonDepManager installs the packages that the plugin needs. This happens once, and takes a few minutes."
    )
    command = [
        sys.executable,
        "-P",
        "-c",
        _SCRIPT,
        str(memory),
        *(_spec(requirement) for requirement in wanted),
    ]
    outcome = child.run(command, _report, limit_s=_LIMIT_S)
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
