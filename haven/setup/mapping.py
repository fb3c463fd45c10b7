"""A path as Stash has it becomes one of this machine's, by rules of (beginning there, beginning here)."""

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


class _Kind(Enum):
    """How a path begins."""

    RELATIVE = "nothing"
    ABSOLUTE = "/"
    DRIVE = "D:"
    SHARE = "//server/share"


_ROOT = {_Kind.DRIVE: 1, _Kind.SHARE: 2}  # how many parts ".." cannot leave


@dataclass(frozen=True, slots=True)
class _Place:
    """A path taken apart, without ``.``, ``..`` and empty parts."""

    kind: _Kind
    parts: tuple[str, ...]

    @property
    def is_windows(self) -> bool:
        return self.kind in (_Kind.DRIVE, _Kind.SHARE)


def map_path(path: str, rules: Iterable[tuple[str, str]], platform: str = sys.platform) -> str:
    """``path`` with the longest beginning that a rule has for it replaced; unchanged where none fits.

    A beginning fits whole folder names only. In paths that begin with a drive letter or a network share both slashes are
    one, and capitals and small letters as well, which they also are on a Mac; ``\\\\?\\`` before them changes nothing. An
    accent is the same in one character and in two. What ``..`` leads out of a beginning is not below it. The result has
    the slashes of the rule's target.
    """
    rules = [(prefix, target) for prefix, target in rules if prefix]
    if not rules:
        return path
    place = _place(path)
    folds = place.is_windows or platform == "darwin"
    fitting = [
        (len(start.parts), target)
        for start, target in ((_place(prefix), target) for prefix, target in rules)
        if start.kind is place.kind and _is_below(place.parts, start.parts, folds)
    ]
    # Of two rules for one beginning the first counts: max() keeps it.
    length, target = max(fitting, key=lambda rule: rule[0], default=(0, ""))
    mapped = _joined(target, place.parts[length:]) if fitting else None
    return path if mapped is None else mapped


def _is_below(parts: tuple[str, ...], start: tuple[str, ...], folds: bool) -> bool:
    """Whether ``parts`` begin with ``start`` and stay there: those of a relative path may begin with ``..``."""
    beginning, rest = parts[: len(start)], parts[len(start) :]
    return _key(beginning, folds) == _key(start, folds) and rest[:1] != ("..",)


def _place(path: str) -> _Place:
    long = _LONG.match(path)
    if long:
        path = ("\\\\" if long["share"] else "") + path[long.end() :]
    if _DRIVE.match(path):
        kind = _Kind.DRIVE
    elif _SHARE.match(path):
        kind = _Kind.SHARE
    else:
        kind = _Kind.ABSOLUTE if path.startswith("/") else _Kind.RELATIVE
    # Elsewhere than on Windows a backslash is a letter like any other in a file's name.
    slashes = r"[\\/]" if kind in (_Kind.DRIVE, _Kind.SHARE) else "/"
    return _Place(kind, _straight(re.split(slashes, path), kind))


def _straight(parts: Iterable[str], kind: _Kind) -> tuple[str, ...]:
    kept: list[str] = []
    for part in parts:
        if part in ("", "."):
            continue
        if part != ".." or (kind is _Kind.RELATIVE and kept[-1:] in ([], [".."])):
            kept.append(part)
        else:
            del kept[max(_ROOT.get(kind, 0), len(kept) - 1) :]
    return tuple(kept)


def _key(parts: Iterable[str], folds: bool) -> list[str]:
    same = [unicodedata.normalize("NFC", part) for part in parts]
    return [part.lower() for part in same] if folds else same


def _joined(target: str, rest: tuple[str, ...]) -> str | None:
    """``rest`` below ``target``; None where a name in it would become a folder and a name."""
    place = _place(target)
    slash = "/" if "/" in target or not (place.is_windows or "\\" in target) else "\\"
    if slash == "\\" and any("\\" in part for part in rest):
        return None
    bare = target.rstrip("/\\" if place.is_windows or slash == "\\" else "/")
    return target if not rest and bare else bare + slash + slash.join(rest)
