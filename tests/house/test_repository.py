"""The repository holds no media, one .yml, and few broad handlers."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from tools.lock import PYTHONS

ROOT = Path(__file__).resolve().parents[2]


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name]


def test_the_manifest_is_the_only_yml():
    """Stash takes every .yml for a plugin."""
    assert [path.name for path in tracked() if path.suffix == ".yml"] == ["ahavenvlmconnector.yml"]


def test_every_python_of_the_lock_is_tested_on_every_system():
    path = ROOT / ".github" / "workflows" / "tests.yaml"
    tests = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]["tests"]
    assert tuple(tests["strategy"]["matrix"]["python"]) == PYTHONS
    systems = {system.split("-")[0] for system in tests["strategy"]["matrix"]["system"]}
    assert systems == {"ubuntu", "windows", "macos"}


def test_no_media_and_nothing_large_is_committed():
    for path in tracked():
        is_media = path.suffix in {".mp4", ".mkv", ".webm", ".avi", ".ts", ".jpg", ".gif"}
        assert not is_media or path.name.endswith(".d.ts"), path
        assert path.stat().st_size < 600_000, path


BOUNDARIES = {
    "haven/tasks/batch.py": "around one scene or image: an unforeseen fault costs that item",
    "vlm_engine/files.py": "around libraries that read media: what they raise names the file",
    "vlm_engine/clients/base.py": "around one endpoint's question: it is asked of another",
    "vlm_engine/cluster/remote_store.py": "around a store call: its error goes to the worker",
    "vlm_engine/cluster/worker.py": "around work for a caller: its error goes there",
    "vlm_engine/tasks.py": "around what waits together: each error goes to its caller",
}


def test_only_the_boundaries_catch_everything():
    catching = [
        str(path.relative_to(ROOT))
        for path in tracked()
        if path.suffix == ".py" and path.parts[len(ROOT.parts)].startswith(("haven", "vlm_engine"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if line.strip().startswith(("except Exception", "except:"))
    ]
    assert {*catching} == {*BOUNDARIES}
