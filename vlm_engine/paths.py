"""Paths of another machine as this one has them: folders are replaced by whole names."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

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
