"""Checks that every run-time dependency installs from wheels wherever Stash runs, and how much
room all of them take.

Needs the package registry. Run it by ``make check-wheels``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MOST_MB = 300
PLATFORMS = {
    "Alpine (musl)": ("musllinux_1_2_{arch}", "musllinux_1_1_{arch}"),
    "Debian (glibc)": ("manylinux_2_28_{arch}", "manylinux_2_17_{arch}", "manylinux2014_{arch}"),
}
ARCHITECTURES = ("x86_64", "aarch64")
PYTHONS = ("3.11", "3.12", "3.13", "3.14")


def main() -> int:
    """Prints a line per platform and the size of an installation here; 1 when anything is
    missing or too large.
    """
    resolved = all(
        _resolves(system, [tag.format(arch=arch) for tag in tags], python)
        for system, tags in PLATFORMS.items()
        for arch in ARCHITECTURES
        for python in PYTHONS
    )
    return 0 if resolved & _fits() else 1


def _resolves(system: str, platforms: list[str], python: str) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        platforms_wanted = [part for platform in platforms for part in ("--platform", platform)]
        run = _pip(
            "--dry-run",
            "--report",
            str(report),
            "--target",
            folder,
            "--python-version",
            python,
            *platforms_wanted,
        )
        label = f"{system}, {platforms[0].split('_', 3)[-1]}, Python {python}"
        if run.returncode:
            _say(f"{label}: FAILS: {run.stderr.strip().splitlines()[-1]}")
            return False
        wheels = json.loads(report.read_text())["install"]
        _say(f"{label}: {len(wheels)} wheels")
        return True


def _fits() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        run = _pip("--target", folder)
        if run.returncode:
            _say(f"installing here: FAILS: {run.stderr.strip().splitlines()[-1]}")
            return False
        size_mb = (
            sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()) / 1e6
        )
    _say(f"installed: {size_mb:.0f} MB of at most {MOST_MB} MB")
    return size_mb <= MOST_MB


def _pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--ignore-installed",
    ]
    return subprocess.run(
        [*command, "--only-binary", ":all:", *arguments, "-r", str(ROOT / "requirements.txt")],
        capture_output=True,
        text=True,
        check=False,
    )


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
