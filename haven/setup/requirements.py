"""The packages that the plugin needs, and those that this Python lacks. ``requirements.txt`` is
the only list.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from haven.setup import SetupError

# Packages that are imported under another name than they are installed under.
_IMPORT_NAMES = {"pillow": "PIL", "pyyaml": "yaml", "stashapp-tools": "stashapi"}
_LINE = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*((?:(?:>=|<=|==|!=|<|>)\s*[0-9][\w.]*\s*,?\s*)*)"
)
_BOUND = re.compile(r"(>=|<=|==|!=|<|>)\s*([0-9][\w.]*)")


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


def read_requirements(file: Path) -> tuple[Requirement, ...]:
    """Return the requirements in ``file``: one per line, a name and perhaps bounds; ``#`` begins a
    comment.

    Raise ``SetupError`` when the file is missing or has a line of another kind.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise SetupError(
            f"{file} cannot be read ({error.strerror}). Install the plugin again."
        ) from error
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    return tuple(_requirement(line, file) for line in lines if line)


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
