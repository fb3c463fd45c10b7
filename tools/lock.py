"""Writes the lock files: one version of every package that the plugin installs, with the hash of
each of its wheels. That for a cluster has the same version of what is in both.

Needs the package registry. Run it by ``make lock``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from haven.setup.requirements import lock_of, tags_of

ROOT = Path(__file__).resolve().parent.parent
FILES = (ROOT / "requirements.txt", ROOT / "requirements-cluster.txt")
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
SYSTEMS = (
    {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"},
    {"sys_platform": "win32", "platform_system": "Windows", "os_name": "nt"},
    {"sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix"},
)
_HEADER = """\
# What the plugin installs, made by make lock from {}: one version of each package for
# every Python and platform, and the hashes of its wheels in the order of their names.
"""
_JSON = "application/vnd.pypi.simple.v1+json"
_PROCESSORS = ("x86_64", "amd64", "aarch64", "arm64", "universal2")


@dataclass(frozen=True)
class Wheel:
    """A file that the index has, and its hash."""

    name: str
    sha256: str


def main() -> int:
    """Write the lock files. Return 1, and say why, where packages do not fit together."""
    if sys.version_info[:2] != tuple(map(int, PYTHONS[0].split("."))):
        _say(f"Run it with Python {PYTHONS[0]}: later ones take packages that it cannot.")
        return 1
    versions: dict[str, str] = {}
    for file in FILES:
        versions = resolved(file, versions)
        parts = [text_of(name, version) for name, version in sorted(versions.items())]
        header = _HEADER.format(file.name)
        lock_of(file).write_text(header + "".join(parts), encoding="utf-8")
        _say(f"{lock_of(file).name}: {len(versions)} packages")
    return 0


def resolved(file: Path, fixed: Mapping[str, str]) -> dict[str, str]:
    """Return the versions that pip takes of what ``file`` requires, for all Pythons and systems;
    those in ``fixed`` where it has them. Raise ``CalledProcessError``.
    """
    elsewhere: set[str] = set()
    while True:
        packages = _report(file, fixed, elsewhere)
        versions = {str(canonicalize_name(data["name"])): data["version"] for data in packages}
        more = {line for data in packages for line in _needed(data.get("requires_dist", []))}
        lacking = {
            line for line in more if canonicalize_name(Requirement(line).name) not in versions
        }
        if not lacking:
            return versions
        elsewhere |= lacking


def _report(file: Path, fixed: Mapping[str, str], more: Iterable[str]) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        report, constraints = Path(folder) / "report.json", Path(folder) / "constraints.txt"
        lines = [f"{name}=={version}\n" for name, version in fixed.items()]
        constraints.write_text("".join(lines), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run"]
        command += ["--disable-pip-version-check", "--ignore-installed", "--report", str(report)]
        command += ["--only-binary", ":all:", "-r", str(file), *more, "-c", str(constraints)]
        subprocess.run(command, check=True)
        installed = json.loads(report.read_text(encoding="utf-8"))["install"]
    return [package["metadata"] for package in installed]


def _needed(lines: Iterable[str]) -> Iterator[str]:
    """Yield the requirements of a package that hold for some Python on some system."""
    for requirement in map(Requirement, lines):
        marker, requirement.marker = requirement.marker, None
        places = (
            {**system, "python_version": python, "extra": ""}
            for python, system in product(PYTHONS, SYSTEMS)
        )
        if marker is None or any(map(marker.evaluate, places)):
            yield str(requirement)


def text_of(name: str, version: str) -> str:
    """Return the lines of the lock file for a package."""
    files = sorted(wheels(name, version), key=lambda wheel: wheel.name)
    hashes = [f"    --hash=sha256:{wheel.sha256}" for wheel in files]
    names = "".join(f"# {wheel.name}\n" for wheel in files)
    return names + " \\\n".join([f"{name}=={version}", *hashes]) + "\n"


def wheels(name: str, version: str) -> Iterator[Wheel]:
    """Yield the wheels of a package that one of ``PYTHONS`` takes on a processor of 64 bits."""
    request = urllib.request.Request(f"{index()}/{name}/", headers={"Accept": _JSON})
    with urllib.request.urlopen(request, timeout=60) as reply:
        files = json.load(reply)["files"]
    for file in files:
        is_version = file["filename"].split("-")[1] == version
        if file["filename"].endswith(".whl") and is_version and is_taken(file["filename"]):
            yield Wheel(file["filename"], file["hashes"]["sha256"])


def index() -> str:
    """Return the address of the index that pip asks."""
    command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return done.stdout.strip().rstrip("/")
    from pip._internal.models.index import PyPI

    return str(PyPI.simple_url)


def is_taken(wheel: str) -> bool:
    """Return True for a wheel that one of ``PYTHONS`` takes on a processor of 64 bits."""
    return any(_fits(*tag.split("-")) for tag in tags_of(wheel))


def _fits(python: str, abi: str, platform: str) -> bool:
    minors = [int(version.partition(".")[2]) for version in PYTHONS]
    if abi == "abi3":
        is_python = int(python.removeprefix("cp3")) <= max(minors)
    else:
        is_python = (python, abi) in {("py3", "none"), *((f"cp3{n}", f"cp3{n}") for n in minors)}
    return is_python and (platform == "any" or platform.endswith(_PROCESSORS))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
