"""Settings that are one line of text, read without the packages that all settings need.

Names of control tags and the place of reports cannot be set on Stash's page. A program that needs
no others starts in a third of the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import haven_vlm_config
from haven.settings.overlay import read_overlay
from vlm_engine import ConfigError

LOCAL_FILE = "haven_vlm_config.local.yaml"


def plain_text(names: tuple[str, ...], data_dir: Path) -> Mapping[str, str]:
    """Return these settings by name, each from the last of constants, local file and overlay that
    has it as text.

    A file that cannot be read is skipped: a task says what is wrong with it.
    """
    layers = [vars(haven_vlm_config), _local_file(), _overlay(data_dir)]
    found: dict[str, str] = {}
    for layer in layers:
        for name in names:
            value = layer.get(name)
            if isinstance(value, str) and value.strip():
                found[name] = " ".join(value.split())
    return found


def _local_file() -> Mapping[str, Any]:
    path = Path(haven_vlm_config.__file__).parent / LOCAL_FILE
    if not path.exists():
        return {}
    from vlm_engine import parse_yaml

    try:
        data = parse_yaml(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, ConfigError):
        return {}
    return data if isinstance(data, Mapping) else {}


def _overlay(data_dir: Path) -> Mapping[str, Any]:
    try:
        return read_overlay(data_dir).settings
    except ConfigError:
        return {}
