"""Where files are: a path of Stash's as this machine sees it, and the folder for the plugin's own data."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from haven_utility.errors import SetupError

DATA_DIR_VARIABLE = "HAVEN_VLM_DATA_DIR"
_FOLDER_NAME = "haven_vlm_connector"


def map_path(path: str, rules: Iterable[tuple[str, str]]) -> str:
    """``path`` with the prefix of the first rule that fits it replaced; unchanged where none fits.

    A prefix fits whole folder names only. In paths that begin with a drive letter or a network share both
    slashes are one, and so are capitals and small letters. The result has the slashes of the rule's target.
    """
    for prefix, target in rules:
        rest = _below(prefix, path)
        if rest is not None:
            return _joined(target, rest)
    return path


def _is_windows(path: str) -> bool:
    return bool(re.match(r"[A-Za-z]:(?=[\\/]|$)|\\\\|//(?=[^/])", path))


def _kind(path: str) -> str:
    return "windows" if _is_windows(path) else "absolute" if path.startswith("/") else "relative"


def _parts(path: str) -> list[str]:
    # Elsewhere than on Windows a backslash is a letter like any other in a file's name.
    return [part for part in re.split(r"[\\/]" if _is_windows(path) else "/", path) if part]


def _below(prefix: str, path: str) -> list[str] | None:
    """What ``path`` has below ``prefix``, part by part; None where it is not below it."""
    if not prefix or _kind(prefix) != _kind(path):
        return None
    start, parts = _parts(prefix), _parts(path)
    head = parts[: len(start)]
    if _is_windows(path):
        start, head = [part.casefold() for part in start], [part.casefold() for part in head]
    return parts[len(start) :] if head == start else None


def _joined(target: str, rest: list[str]) -> str:
    slash = "/" if "/" in target or not (_is_windows(target) or "\\" in target) else "\\"
    if not rest:
        return target
    return target.rstrip("/\\" if slash == "\\" or _is_windows(target) else "/") + slash + slash.join(rest)


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
