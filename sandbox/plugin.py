"""The plugin as a user has it installed: in a folder of its own, with the user's settings beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools import package


def install(folder: Path, settings: Mapping[str, Any] | None = None) -> Path:
    """Copies the plugin to ``folder``, which must not exist, and writes ``settings`` as its local file. Returns ``folder``."""
    package.install(folder)
    if settings is not None:  # JSON is YAML
        (folder / "haven_vlm_config.local.yaml").write_text(json.dumps(settings, indent=1), encoding="utf-8")
    return folder
