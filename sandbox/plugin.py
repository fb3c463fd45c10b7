"""The plugin as a user has it installed: its files copied into a folder of their own, with the user's settings beside them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_PARTS = (
    "ahavenvlmconnector.yml",
    "requirements.txt",
    "haven_vlm_connector.py",
    "haven_vlm_config.py",
    "haven_vlm_engine.py",
    "haven_media_handler.py",
    "haven_vlm_utility.py",
    "haven_config",
    "haven_stash",
    "haven_tasks",
    "haven_utility",
    "vlm_engine",
)


def install(folder: Path, settings: Mapping[str, Any] | None = None) -> Path:
    """Copies the plugin to ``folder``, which must not exist, and writes ``settings`` as its local file. Returns ``folder``."""
    folder.mkdir(parents=True)
    for part in _PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / part)
    if settings is not None:  # JSON is YAML
        (folder / "haven_vlm_config.local.yaml").write_text(json.dumps(settings, indent=1), encoding="utf-8")
    return folder
