"""Who may import whom among the plugin's files; the engine's own layers are held by import-linter."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

ROOMS = {
    "haven_vlm_connector": ("haven_vlm_connector.py", "haven_tasks"),
    "haven_report": ("haven_report",),
    "haven_media_handler": ("haven_media_handler.py", "haven_stash"),
    "haven_vlm_engine": ("haven_vlm_engine.py",),
    "haven_vlm_config": ("haven_vlm_config.py", "haven_config"),
    "haven_vlm_utility": ("haven_vlm_utility.py", "haven_utility"),
    "vlm_engine": ("vlm_engine",),
}
"""Each front and the package behind it."""

MAY_IMPORT = {
    "haven_vlm_connector": {
        "haven_media_handler",
        "haven_vlm_engine",
        "haven_report",
        "haven_vlm_config",
        "haven_vlm_utility",
        "vlm_engine",
    },
    "haven_report": {"haven_media_handler", "haven_vlm_config", "haven_vlm_utility", "vlm_engine"},
    "haven_media_handler": {"haven_vlm_config", "haven_vlm_utility", "vlm_engine"},
    "haven_vlm_engine": {"haven_vlm_config", "haven_vlm_utility", "vlm_engine"},
    "haven_vlm_config": {"vlm_engine"},
    "haven_vlm_utility": set(),
    "vlm_engine": set(),
}


def files_of(room: str) -> list[Path]:
    found: list[Path] = []
    for part in ROOMS[room]:
        path = ROOT / part
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return found


def imported_by(path: Path) -> set[str]:
    """The top-level modules that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module.split(".")[0])
    return names


def room_of(module: str) -> str | None:
    for room, parts in ROOMS.items():
        if module in {part.removesuffix(".py") for part in parts}:
            return room
    return None


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_entered_from_above_only(room: str) -> None:
    for path in files_of(room):
        for module in imported_by(path):
            other = room_of(module)
            assert other in {None, room} | MAY_IMPORT[room], f"{path.relative_to(ROOT)} imports {module}"


@pytest.mark.parametrize("path", files_of("haven_vlm_utility"), ids=lambda path: path.name)
def test_the_utility_needs_the_standard_library_only(path: Path) -> None:
    foreign = {name for name in imported_by(path) if name not in sys.stdlib_module_names and room_of(name) != "haven_vlm_utility"}
    assert foreign <= ({"PythonDepManager"} if path.name == "dep_manager.py" else set())


@pytest.mark.parametrize(
    ("module", "only_in"),
    [
        ("av", {"vlm_engine/video", "vlm_engine/pictures/heif.py"}),
        ("aiohttp", {"vlm_engine/clients", "vlm_engine/sandbox"}),
        ("sqlite3", {"vlm_engine/store", "haven_stash/journal"}),
        ("stashapi", {"haven_stash"}),
        ("requests", {"haven_stash"}),
    ],
)
def test_a_library_is_used_in_its_room_only(module: str, only_in: set[str]) -> None:
    users = [path.relative_to(ROOT).as_posix() for room in ROOMS for path in files_of(room) if module in imported_by(path)]
    assert users, f"nothing imports {module}"
    for user in users:
        assert any(user == place or user.startswith(f"{place}/") for place in only_in), f"{user} imports {module}"


@pytest.mark.parametrize("module", ["search", "spans.py", "prompt.py", "reply"])
def test_thinking_does_no_input_or_output(module: str) -> None:
    path = ROOT / "vlm_engine" / module
    for file in path.rglob("*.py") if path.is_dir() else [path]:
        assert not imported_by(file) & {"asyncio", "aiohttp", "av", "PIL", "sqlite3", "time", "random"}, file


def test_the_rooms_are_as_the_page_on_architecture_says() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page[page.index("| room | what lives there | may use |") :].partition("\n\n")[0]
    rows = [row.strip("| ").split(" | ") for row in table.splitlines()[2:]]
    order = [room_of(re.findall(r"`(\w+)", row[0])[0]) for row in rows]
    assert order == list(MAY_IMPORT), "the rooms stand in another order"
    for room, (names, _, may_use) in zip(MAY_IMPORT, rows, strict=True):
        assert set(re.findall(r"`([\w.]+)/?`", names)) == set(ROOMS[room])
        told = set(re.findall(r"`(\w+)`", may_use))
        below = set(list(MAY_IMPORT)[list(MAY_IMPORT).index(room) + 1 :])
        assert (below if may_use == "every room below" else told) == MAY_IMPORT[room], room
