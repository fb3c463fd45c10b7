"""A setting is added, and the version is raised, in one place: done to a copy of the project, with
the commands that a developer runs.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import vlm_engine
from sandbox.plugin import PARTS

ROOT = Path(__file__).resolve().parents[2]
FIELD = '''    blink_s: Seconds = Field(0.25, ge=0, le=9)
    """How long a blink of the camera may last. Shorter ones are ignored."""

    second_looks: bool'''
ROW = '    _of_engine("VIDEO_BLINK", "search.blink_s"),\n    _of_engine(\n        "VIDEO_THRESHOLD"'
TEXT = "How long a blink of the camera may last. Shorter ones are ignored."


def replace_once(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project, with one setting more in the engine and one row for it in the plugin."""
    for part in (*PARTS, "tools", "sandbox", "pyproject.toml"):
        if (ROOT / part).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / part, tmp_path / part, ignore=ignored)
        else:
            shutil.copy2(ROOT / part, tmp_path / part)
    replace_once(tmp_path / "vlm_engine/config/models.py", "    second_looks: bool", FIELD)
    old = '    _of_engine(\n        "VIDEO_THRESHOLD"'
    replace_once(tmp_path / "haven/settings/table.py", old, ROW)
    return tmp_path


def test_a_setting_is_one_row_and_make_docs(copy):
    assert "docs/settings.md rewritten" in run(copy, "-m", "tools.generated_docs")
    settings = (copy / "docs" / "settings.md").read_text(encoding="utf-8")
    assert f"| `VIDEO_BLINK` | `0.25` | {TEXT} |" in settings
    guide = (copy / "docs" / "USER_GUIDE.md").read_text(encoding="utf-8")
    assert f"| `blink_s` | number, from 0 to 9 | `0.25` | seconds | {TEXT} |" in guide
    constants = (copy / "haven_vlm_config.py").read_text(encoding="utf-8")
    assert f"# {TEXT}\nVIDEO_BLINK = 0.25\n" in constants
    for program in (["-m", "vlm_engine"], ["haven_vlm_connector.py"]):
        assert "--search-blink S" in run(copy, *program, "tag", "--help")
    (copy / "haven_vlm_config.local.yaml").write_text("VIDEO_BLINK: 0.5", encoding="utf-8")
    code = (
        "from haven.settings.settings import Settings; print(Settings.load().engine.search.blink_s)"
    )
    assert run(copy, "-c", code) == "0.5\n"
    refused = code.replace("load()", "load(task_args={'VIDEO_BLINK': '10'})")
    with pytest.raises(
        AssertionError, match="VIDEO_BLINK: Input should be less than or equal to 9"
    ):
        run(copy, "-c", refused)


def test_the_version_is_one_line_and_make_docs(copy):
    line = '__version__ = "{}"'
    replace_once(
        copy / "vlm_engine/__init__.py", line.format(vlm_engine.__version__), line.format("30.1.4")
    )
    said = run(copy, "-m", "tools.generated_docs")
    for path, count in (("ahavenvlmconnector.yml", 2), ("ui/haven.js", 1)):
        assert f"{path} rewritten" in said
        text = (copy / path).read_text(encoding="utf-8")
        assert text.count("30.1.4") == count
        assert vlm_engine.__version__ not in text
