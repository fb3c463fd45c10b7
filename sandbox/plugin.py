"""The plugin as a user has it installed: in a folder of its own, with the user's settings beside
it.
"""

from __future__ import annotations

import atexit
import compileall
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PLUGIN_ID = "ahavenvlmconnector"
PARTS = (
    f"{PLUGIN_ID}.yml",
    "requirements.txt",
    "requirements.lock",
    "requirements-cluster.txt",
    "requirements-cluster.lock",
    "LICENSE",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs",
    "examples",
    "haven_vlm_connector.py",
    "haven_vlm_config.py",
    "haven_vlm_engine.py",
    "haven_media_handler.py",
    "haven_vlm_utility.py",
    "haven",
    "ui",
    "vlm_engine",
)


def files(root: Path = ROOT) -> Iterator[Path]:
    """Every file of the plugin, relative to the repository in ``root``."""
    for part in PARTS:
        source = root / part
        found = sorted(source.rglob("*")) if source.is_dir() else [source]
        yield from (
            path.relative_to(root)
            for path in found
            if path.is_file() and "__pycache__" not in path.parts
        )


def install(folder: Path, settings: Mapping[str, Any] | None = None) -> Path:
    """Copy the plugin to ``folder``, which must not exist, and writes ``settings`` as its local
    file. Returns ``folder``.

    It is as after its first task: with the byte code that Python keeps beside the modules.
    """
    shutil.copytree(_compiled(), folder)
    if settings is not None:  # JSON is YAML
        (folder / "haven_vlm_config.local.yaml").write_text(
            json.dumps(settings, indent=1), encoding="utf-8"
        )
    return folder


@cache
def _compiled() -> Path:
    """Return the plugin in a folder of this process's own, compiled once: that takes longer than
    all else a start needs.
    """
    temporary = tempfile.TemporaryDirectory(prefix="haven-plugin-")
    atexit.register(temporary.cleanup)
    folder = _copy(Path(temporary.name) / "plugin")
    compileall.compile_dir(folder, quiet=1)
    return folder


def _copy(folder: Path) -> Path:
    """Copy the plugin to ``folder``, which must not exist. Return ``folder``."""
    folder.mkdir(parents=True)
    for path in files():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, folder / path)
    return folder
