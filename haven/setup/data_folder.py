"""The folder for the plugin's own data."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from haven.setup.errors import SetupError

DATA_DIR_VARIABLE = "HAVEN_VLM_DATA_DIR"
_FOLDER_NAME = "haven_vlm_connector"


def default_data_dir(stash_dir: str | None) -> Path:
    """The folder for everything that must outlive an update of the plugin; it is made if need be.

    ``HAVEN_VLM_DATA_DIR`` names it; else it is beside Stash's configuration (``stash_dir``), or, without Stash,
    where programs of this user keep their data. Never inside the plugin: Stash takes every .yml there for a plugin.

    Raises ``SetupError`` where it cannot be written to.
    """
    folder = _chosen(stash_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SetupError(
            f"Nothing can be written to {folder} ({error.strerror or error}). Let the user that runs this write there,"
            f" or name another folder in the environment variable {DATA_DIR_VARIABLE}."
        ) from error
    return folder


def _chosen(stash_dir: str | None) -> Path:
    named = os.environ.get(DATA_DIR_VARIABLE, "").strip()
    if named:
        return Path(named).expanduser().absolute()
    if stash_dir:
        return Path(stash_dir).absolute() / _FOLDER_NAME
    return _user_data() / _FOLDER_NAME


def _user_data() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":  # noqa: RET505  (mypy knows platforms by their branches)
        return Path.home() / "Library" / "Application Support"
    else:
        return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
