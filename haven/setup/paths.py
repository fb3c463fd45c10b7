"""The plugin's data folder, and paths of Stash as this machine has them."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
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


_DRIVE = re.compile(r"[A-Za-z]:(?=[\\/]|$)")
_SHARE = re.compile(r"\\\\|//(?=[^/])")
_LONG = re.compile(r"(?:\\\\|//)[?.][\\/](?:(?P<share>UNC)[\\/])?", re.IGNORECASE)


class PathKind(Enum):
    """Kind of a path, by its beginning."""

    RELATIVE = "nothing"
    ABSOLUTE = "/"
    DRIVE = "D:"
    SHARE = "//server/share"


_ROOT = {PathKind.DRIVE: 1, PathKind.SHARE: 2}  # how many parts ".." cannot leave


@dataclass(frozen=True, slots=True)
class Place:
    """A path in parts, without ``.``, ``..`` and empty parts."""

    kind: PathKind
    parts: tuple[str, ...]

    @property
    def is_windows(self) -> bool:
        """True for a drive letter or a network share."""
        return self.kind in (PathKind.DRIVE, PathKind.SHARE)

    def keys(self, platform: str = sys.platform) -> tuple[str, ...]:
        """Return its parts so that equal ones name the same: capitals do not count on Windows and
        Macs.
        """
        same = (unicodedata.normalize("NFC", part) for part in self.parts)
        folds = self.is_windows or platform == "darwin"
        return tuple(part.lower() if folds else part for part in same)

    def is_below(self, folder: Place, platform: str = sys.platform) -> bool:
        """Return True if it begins with ``folder`` and stays there: relative paths may begin with
        ``..``.
        """
        length = len(folder.parts)
        begins_so = self.keys(platform)[:length] == folder.keys(platform)
        is_inside = self.parts[length : length + 1] != ("..",)
        return folder.kind is self.kind and begins_so and is_inside


def map_path(path: str, rules: Iterable[tuple[str, str]], platform: str = sys.platform) -> str:
    r"""Return ``path`` with the longest beginning that a rule has for it replaced; unchanged if
    none fits.

    A beginning fits whole folder names only. In paths with a drive letter or of a network share,
    both slashes are the same, and so are capital and small letters, as on a Mac; ``\\?\``
    before them changes nothing. An accent may be one character or two. A path that ``..`` leads
    out of a beginning is not below it. The result has the slashes of the rule's target.
    """
    rule = rule_for(path, rules, platform)
    if rule is None:
        return path
    start, target = rule
    mapped = _joined(target, place_of(path).parts[len(place_of(start).parts) :])
    return path if mapped is None else mapped


def rule_for(
    path: str, rules: Iterable[tuple[str, str]], platform: str = sys.platform
) -> tuple[str, str] | None:
    """Return the rule that ``map_path`` uses for ``path``; None if none fits."""
    place = place_of(path)
    fitting = [
        (len(start.parts), rule)
        for start, rule in ((place_of(rule[0]), rule) for rule in rules if rule[0])
        if place.is_below(start, platform)
    ]
    # Of two rules for one beginning the first counts: max() keeps it.
    return max(fitting, key=lambda fit: fit[0])[1] if fitting else None


def place_of(path: str) -> Place:
    """Return ``path`` in parts. A drive letter is one, and so is the name of a server."""
    long = _LONG.match(path)
    if long:
        path = ("\\\\" if long["share"] else "") + path[long.end() :]
    if _DRIVE.match(path):
        kind = PathKind.DRIVE
    elif _SHARE.match(path):
        kind = PathKind.SHARE
    else:
        kind = PathKind.ABSOLUTE if path.startswith("/") else PathKind.RELATIVE
    # Elsewhere than on Windows a backslash is a letter like any other in a file's name.
    slashes = r"[\\/]" if kind in (PathKind.DRIVE, PathKind.SHARE) else "/"
    return Place(kind, _straight(re.split(slashes, path), kind))


def _straight(parts: Iterable[str], kind: PathKind) -> tuple[str, ...]:
    kept: list[str] = []
    for part in parts:
        if part in ("", "."):
            continue
        if part != ".." or (kind is PathKind.RELATIVE and kept[-1:] in ([], [".."])):
            kept.append(part)
        else:
            del kept[max(_ROOT.get(kind, 0), len(kept) - 1) :]
    return tuple(kept)


def _joined(target: str, rest: tuple[str, ...]) -> str | None:
    """Return ``rest`` below ``target``; None if a name in it would become a folder and a name."""
    place = place_of(target)
    slash = "/" if "/" in target or not (place.is_windows or "\\" in target) else "\\"
    if slash == "\\" and any("\\" in part for part in rest):
        return None
    bare = target.rstrip("/\\" if place.is_windows or slash == "\\" else "/")
    return target if not rest and bare else bare + slash + slash.join(rest)


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
