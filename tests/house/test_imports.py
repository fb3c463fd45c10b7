"""Each room uses only its libraries; import-linter holds the imports between rooms
(``pyproject.toml``).
"""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

import vlm_engine

ROOT = Path(__file__).resolve().parents[2]
ROOMS = (
    "haven/tasks",
    "haven/pages",
    "haven/report",
    "haven/stash",
    "haven/tagger.py",
    "haven/items.py",
    "haven/settings",
    "haven/setup",
    "vlm_engine",
)


def files_of(*places: str) -> list[Path]:
    paths = [ROOT / place for place in places]
    return [
        file for path in paths for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])
    ]


@functools.cache
def imported_by(path: Path) -> frozenset[str]:
    """Return the top-level modules that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module.split(".")[0])
    return frozenset(names)


@pytest.mark.parametrize("path", files_of("haven/setup"), ids=lambda path: path.name)
def test_setup_needs_the_standard_library_only(path):
    assert imported_by(path) - sys.stdlib_module_names <= {"haven", "vlm_engine"}


def test_what_setup_takes_from_the_engine_needs_the_standard_library_only():
    modules = {
        node.module
        for path in files_of("haven/setup")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("vlm_engine")
    }
    command = [sys.executable, "-S", "-c", f"import {', '.join(modules)}"]  # -S: no packages
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize(
    ("module", "only_in"),
    [
        ("av", {"vlm_engine/video", "vlm_engine/pictures/heif.py"}),
        ("distributed", {"vlm_engine/cluster"}),
        ("aiohttp", {"vlm_engine/clients", "vlm_engine/testing"}),
        ("sqlite3", {"vlm_engine/store", "haven/stash/journal"}),
        ("stashapi", {"haven/stash"}),
        ("requests", {"haven/stash"}),
        ("haven_vlm_config", {"haven/settings"}),
    ],
)
def test_a_library_is_used_in_its_room_only(module, only_in):
    users = [
        path.relative_to(ROOT).as_posix()
        for path in files_of(*ROOMS)
        if module in imported_by(path)
    ]
    assert users, f"nothing imports {module}"
    for user in users:
        assert any(user == place or user.startswith(f"{place}/") for place in only_in), (
            f"{user} imports {module}"
        )


def test_the_plugin_uses_public_names_of_the_engine_only():
    """Allow the names of ``vlm_engine`` itself, and the engine's command line."""
    for path in files_of("haven"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert not any(alias.name.startswith("vlm_engine") for alias in node.names), path
            module = str(node.module) if isinstance(node, ast.ImportFrom) else ""
            if module.startswith("vlm_engine") and not module.startswith("vlm_engine.cli"):
                assert module == "vlm_engine", f"{path} imports {module}"
                assert {alias.name for alias in node.names} <= {*vlm_engine.__all__}, path


def test_every_public_name_of_the_engine_is_there():
    assert [name for name in vlm_engine.__all__ if not hasattr(vlm_engine, name)] == []


def test_no_room_imports_a_door():
    for path in files_of("haven", "vlm_engine"):
        assert not {name for name in imported_by(path) if name.startswith("haven_")} - {
            "haven_vlm_config"
        }, path


@pytest.mark.parametrize("module", ["search", "spans.py", "prompt.py", "reply"])
def test_thinking_does_no_input_or_output(module):
    for file in files_of(f"vlm_engine/{module}"):
        assert not imported_by(file) & {
            "asyncio",
            "aiohttp",
            "av",
            "PIL",
            "sqlite3",
            "time",
            "random",
        }, file


def test_the_architecture_page_lists_the_rooms_in_order():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page[page.index("| room | what lives there |") :].partition("\n\n")[0]
    assert re.findall(r"^\| `([^`]+?)/?`", table, re.MULTILINE) == list(ROOMS)
