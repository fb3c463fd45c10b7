"""What the repository may hold."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name]


def test_the_manifest_is_the_only_yml_because_stash_takes_every_yml_for_a_plugin() -> None:
    assert [path.name for path in tracked() if path.suffix == ".yml"] == ["ahavenvlmconnector.yml"]


def test_no_media_and_nothing_large_is_committed() -> None:
    for path in tracked():
        assert path.suffix not in {".mp4", ".mkv", ".webm", ".avi", ".ts", ".jpg", ".gif"}, path
        assert path.stat().st_size < 600_000, path


def test_only_one_place_in_the_plugin_catches_everything() -> None:
    catching = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in tracked()
        if path.suffix == ".py" and path.parts[len(ROOT.parts)].startswith(("haven_", "vlm_engine"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if line.strip().startswith(("except Exception", "except:"))
    ]
    assert len(catching) == 1, catching
    assert catching[0].startswith("haven_tasks/batch.py")
