"""The plugin as a user has it installed: in a folder of its own, with the user's settings beside it."""

from __future__ import annotations

import atexit
import compileall
import json
import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tools import package


def install(folder: Path, settings: Mapping[str, Any] | None = None) -> Path:
    """Copies the plugin to ``folder``, which must not exist, and writes ``settings`` as its local file. Returns ``folder``.

    It is as after its first task: with the byte code that Python keeps beside the modules.
    """
    shutil.copytree(_compiled(), folder)
    if settings is not None:  # JSON is YAML
        (folder / "haven_vlm_config.local.yaml").write_text(json.dumps(settings, indent=1), encoding="utf-8")
    return folder


@cache
def _compiled() -> Path:
    """The plugin in a folder of this process's own, compiled once: that takes longer than all else a start needs."""
    own = tempfile.TemporaryDirectory(prefix="haven-plugin-")
    atexit.register(own.cleanup)
    folder = package.install(Path(own.name) / "plugin")
    compileall.compile_dir(folder, quiet=1)
    return folder
