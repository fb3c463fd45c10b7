"""Node and Chromium, where they are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")


def node(*arguments: str, patience_s: float = 300.0, **environment: str) -> None:
    """Run Node in ``tests/ui``, which must succeed. Skip the test where that is impossible."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("Node is not installed here")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    if [int(part) for part in version.stdout.strip("v\n").split(".")] < [20, 19]:
        pytest.skip(f"Node is {version.stdout.strip()}; 20.19 or later is needed")
    if not (HERE / "node_modules").exists():
        pytest.skip("the packages are not installed: npm ci --prefix tests/ui")
    done = subprocess.run(
        [program, *arguments],
        cwd=HERE,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=patience_s,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def chromium() -> str:
    """Return the path of Chromium. Skip the test where there is none."""
    path = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if path is None:
        pytest.skip("Chromium is not installed here")
    return path
