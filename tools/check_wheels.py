"""Checks that the lock files have a wheel for every Python and platform that the plugin runs on,
that the package index has the same files, and how much room all of them take.

Needs the package registry. Run it by ``make check-wheels``.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from packaging import tags

from haven.setup.requirements import lock_of, read_lock, read_requirements
from tools.lock import FILES, PYTHONS, text_of

MOST_MB = 300
PLATFORMS = {
    "Debian, x86-64": [*(f"manylinux_2_{minor}_x86_64" for minor in range(28, 16, -1))],
    "Debian, arm64": [*(f"manylinux_2_{minor}_aarch64" for minor in range(28, 16, -1))],
    "Alpine, x86-64": ["musllinux_1_2_x86_64", "musllinux_1_1_x86_64"],
    "Alpine, arm64": ["musllinux_1_2_aarch64", "musllinux_1_1_aarch64"],
    "Windows, x86-64": ["win_amd64"],
    "macOS 14, arm64": [*tags.mac_platforms((14, 0), "arm64")],
    "macOS 14, x86-64": [*tags.mac_platforms((14, 0), "x86_64")],
}


def main() -> int:
    """Print what is wrong, and the size of an installation here; return 1 if anything is."""
    faults = [fault for file in FILES for fault in (*faults_of_lock(file), *_faults_of_index(file))]
    for fault in faults:
        _say(fault)
    return 0 if _fits() and not faults else 1


def faults_of_lock(file: Path) -> Iterator[str]:
    """Yield what the lock file of a requirements file lacks, by itself and beside that."""
    packages = {package.name: package for package in read_lock(lock_of(file))}
    for requirement in read_requirements(file):
        package = packages.get(requirement.name)
        if package is None or not requirement.allows(package.version):
            yield f"{lock_of(file).name} has {package}, and {file.name} wants {requirement}"
    for python in PYTHONS:
        for platform in PLATFORMS:
            wanted = tags_of_pip(python, platform)
            for package in packages.values():
                if not package.has_wheel_for(wanted):
                    yield f"{package} has no wheel for Python {python} on {platform}"


def tags_of_pip(python: str, platform: str) -> set[str]:
    """Return the tags of the wheels that are installed there."""
    version = tuple(map(int, python.split(".")))
    name, platforms = f"cp{python.replace('.', '')}", PLATFORMS[platform]
    found = chain(
        tags.cpython_tags(version, platforms=platforms),
        tags.compatible_tags(version, name, platforms),
    )
    return set(map(str, found))


def _faults_of_index(file: Path) -> Iterator[str]:
    lock = lock_of(file)
    for package in read_lock(lock):
        if text_of(package.name, package.version) not in lock.read_text(encoding="utf-8"):
            yield f"{package}: the index has other wheels than {lock.name}"


def _fits() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--ignore-installed"]
        command += ["--disable-pip-version-check", "--only-binary", ":all:", "--target", folder]
        locks = [part for file in FILES for part in ("-r", str(lock_of(file)))]
        run = subprocess.run([*command, "--require-hashes", *locks], check=False)
        if run.returncode:
            return False
        sizes = (path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        size_mb = sum(sizes) / 1e6
    packages = {package for file in FILES for package in read_lock(lock_of(file))}
    _say(f"{len(packages)} packages, installed: {size_mb:.0f} MB of at most {MOST_MB} MB")
    return size_mb <= MOST_MB


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
