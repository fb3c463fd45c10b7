"""The plugin's data folder, and paths of Stash as this machine has them."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import unicodedata
from pathlib import Path

from haven.setup import SetupError

DATA_DIR_VARIABLE = "HAVEN_VLM_DATA_DIR"
PLUGIN_ID = "ahavenvlmconnector"
DATABASE = "haven.sqlite3"
"""The file in the data folder that holds the answers and the journal."""
_FOLDER_NAME = "haven_vlm_connector"


def default_data_dir(stash_dir: str | None) -> Path:
    """Return the folder for everything that must outlive an update of the plugin. Make it if
    needed.

    ``HAVEN_VLM_DATA_DIR`` names it. Otherwise it is beside Stash's configuration (``stash_dir``),
    or, without Stash, where programs of this user keep data. It is never inside the plugin: Stash
    takes every .yml there for a plugin.

    Raise ``SetupError`` if it cannot be written.
    """
    folder = _chosen(stash_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SetupError(
            f"Nothing can be written to {folder} ({error.strerror or error}). Let the user that "
            "runs this write there,"
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


_MOST_LOOKED_AT = 10_000
_MARKS = ("/.dockerenv", "/run/.containerenv")
_OF_WINDOWS = re.compile(r"[A-Za-z]:([\\/]|$)|\\\\")


def how_far(path: str) -> str:
    """Return which part of a path exists: "/media exists, /media/sports does not"; "" if all does.
    Ask the disk.
    """
    if os.name != "nt" and _OF_WINDOWS.match(path):
        return "it is a path of Windows, and this machine runs something else"
    missing = Path(path)
    for there in missing.parents:
        if _exists(there):
            if _exists(missing):
                return ""
            begins = (
                f"{there} exists, {missing} does not"
                if there != Path(there.anchor)
                else f"{missing} does not exist"
            )
            return begins + _nearly(there, missing.name) + _container(there)
        missing = there
    return f"{missing} does not exist" if not _exists(missing) else ""


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (
        OSError,
        ValueError,
    ):  # a folder on the way that may not be entered; a name that no file can have
        return False


def _nearly(folder: Path, name: str) -> str:
    """Return a hint if something of almost that name exists."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for _, entry in zip(range(_MOST_LOOKED_AT), entries, strict=False)]
    except OSError as error:
        return f" (or cannot be seen: {error.strerror})"
    if name in names:
        return ": it is a link that leads nowhere"
    alike = next((each for each in names if _plain(each) == _plain(name)), None)
    return f", but {folder / alike} does" if alike else ""


def _plain(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _container(there: Path) -> str:
    is_outermost = len(there.parts) <= 2
    marked = is_outermost and any(Path(mark).exists() for mark in _MARKS)
    return (
        "; this runs in a container, which has only the folders that are mounted into it"
        if marked
        else ""
    )
