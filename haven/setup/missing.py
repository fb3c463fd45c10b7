"""Why a file is not where it should be, for whoever has to mend the path."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

_MOST_LOOKED_AT = 10_000
_MARKS = ("/.dockerenv", "/run/.containerenv")
_OF_WINDOWS = re.compile(r"[A-Za-z]:([\\/]|$)|\\\\")


def how_far(path: str) -> str:
    """Which part of a path exists: "/media exists, /media/sports does not". Asks the disk; empty where all of it exists."""
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
    """A hint where something of almost that name is there."""
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
