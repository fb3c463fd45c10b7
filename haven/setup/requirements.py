"""The packages that the plugin needs, and those that this Python lacks. ``requirements.txt`` lists
them; ``requirements.lock`` has the version of each that is installed, and of what they need.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Set
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from haven.setup import SetupError

# Packages that are imported under another name than they are installed under.
_IMPORT_NAMES = {"pillow": "PIL", "pyyaml": "yaml", "stashapp-tools": "stashapi"}
_LINE = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*((?:(?:>=|<=|==|!=|<|>)\s*[0-9][\w.]*\s*,?\s*)*)"
)
_BOUND = re.compile(r"(>=|<=|==|!=|<|>)\s*([0-9][\w.]*)")
_LOCKED = re.compile(r"([a-z0-9][a-z0-9-]*)==([0-9][\w.]*)")
_WHEEL = re.compile(r"# (\S+\.whl)")


@dataclass(frozen=True)
class Requirement:
    """A package, and the bounds of its version: pairs of operator and version."""

    name: str
    bounds: tuple[tuple[str, str], ...]

    @property
    def import_name(self) -> str:
        """Its name in ``import``."""
        return _IMPORT_NAMES.get(self.name, self.name.replace("-", "_"))

    def allows(self, version: str) -> bool:
        """Return True if ``version`` will do."""
        return all(_holds(version, operator, bound) for operator, bound in self.bounds)

    def __str__(self) -> str:
        return self.name + ",".join(operator + bound for operator, bound in self.bounds)


@dataclass(frozen=True)
class LockedPackage:
    """A package at the version that is installed, and the files of its wheels."""

    name: str
    version: str
    wheels: tuple[str, ...]

    def has_wheel_for(self, tags: Set[str]) -> bool:
        """Return True if a Python that takes wheels with these ``tags`` takes one of them."""
        return any(tags_of(wheel) & tags for wheel in self.wheels)

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"


def read_requirements(file: Path) -> tuple[Requirement, ...]:
    """Return the requirements in ``file``: one per line, a name and perhaps bounds; ``#`` begins a
    comment.

    Raise ``SetupError`` when the file is missing or has a line of another kind.
    """
    lines = [line.split("#")[0].strip() for line in _text(file).splitlines()]
    return tuple(_requirement(line, file) for line in lines if line)


def lock_of(file: Path) -> Path:
    """Return the lock file beside a ``requirements.txt``."""
    return file.with_suffix(".lock")


def read_lock(file: Path) -> tuple[LockedPackage, ...]:
    """Return the packages in a lock file: above each is a comment for each of its wheels.

    Raise ``SetupError`` when the file is missing.
    """
    packages, wheels = list[LockedPackage](), list[str]()
    for line in _text(file).splitlines():
        if wheel := _WHEEL.fullmatch(line):
            wheels.append(wheel[1])
        elif package := _LOCKED.match(line):
            packages.append(LockedPackage(package[1], package[2], tuple(wheels)))
            wheels.clear()
    return tuple(packages)


def fingerprint(file: Path) -> str:
    """Return a short text that differs for another ``requirements.txt``, or another lock file."""
    content = _text(file) + _text(lock_of(file))
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def tags_of(wheel: str) -> set[str]:
    """Return the tags in a wheel's file name, such as ``cp311-cp311-win_amd64``."""
    parts = wheel.removesuffix(".whl").split("-")[-3:]
    return {"-".join(tag) for tag in product(*(part.split(".") for part in parts))}


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise SetupError(
            f"{file} cannot be read ({error.strerror}). Install the plugin again."
        ) from error


def _requirement(line: str, file: Path) -> Requirement:
    match = _LINE.fullmatch(line)
    if not match:
        raise SetupError(
            f"{file}: {line!r} is not a package with versions. Install the plugin again."
        )
    return Requirement(match[1].lower().replace("_", "-"), tuple(_BOUND.findall(match[2])))


def lacking(requirements: Iterable[Requirement]) -> list[Requirement]:
    """Return those that cannot be imported here at a good version. Nothing is imported to find
    out.
    """
    return [requirement for requirement in requirements if not _is_there(requirement)]


def _is_there(requirement: Requirement) -> bool:
    import importlib.metadata
    import importlib.util

    if importlib.util.find_spec(requirement.import_name) is None:
        return False
    try:
        return requirement.allows(importlib.metadata.version(requirement.name))
    except importlib.metadata.PackageNotFoundError:
        return False


def _holds(version: str, operator: str, bound: str) -> bool:
    left, right = _order(version), _order(bound)
    return {
        ">=": left >= right,
        "<=": left <= right,
        "==": left == right,
        "!=": left != right,
        ">": left > right,
        "<": left < right,
    }[operator]


def _order(version: str) -> tuple[tuple[int, ...], bool]:
    """Return a sort key: the numbers at the beginning, with a pre-release before the release."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(number) for number in match[0].split(".")] if match else [0]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    suffix = version[match.end() :] if match else version
    return tuple(numbers), not re.match(r"[._-]?(a|b|c|rc|dev|alpha|beta|pre)", suffix)
