"""Stash's own pages beside other plugins, and with a plugin whose Python does not work."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.stash.conftest import PLUGIN, Arena
from tests.ui.programs import chromium, node

OTHERS = Path(__file__).parent / "other_plugins"
_PYTHON = "mutation($path: String!) { configureGeneral(input: {pythonPath: $path}) { pythonPath } }"


@pytest.fixture
def scene(arena, pages) -> dict[str, str]:
    """The environment of a test in a browser."""
    return {"PAGES": pages, "SCENE": arena.scene(arena.videos[0]).id}


@pytest.fixture
def others(arena) -> Iterator[None]:
    """Two other plugins that patch the same places, for as long as the test lasts."""
    placed = []
    for script in OTHERS.glob("*.js"):
        folder = arena.stash.plugins / script.stem
        folder.mkdir()
        shutil.copy(script, folder)
        manifest = {"name": script.stem, "ui": {"javascript": [script.name]}}
        (folder / f"{script.stem}.yml").write_text(json.dumps(manifest), encoding="utf-8")
        placed.append(folder)
    arena.stash.ask("mutation { reloadPlugins }")
    yield
    for folder in placed:
        shutil.rmtree(folder)
    arena.stash.ask("mutation { reloadPlugins }")


@pytest.mark.usefixtures("others")
def test_two_plugins_that_patch_the_same_places_change_nothing(scene):
    node("--test", "others/plugins.test.js", CHROMIUM=chromium(), **scene)


@contextmanager
def unusable(arena: Arena) -> Iterator[None]:
    """What Stash logs about the plugin's operations meanwhile is not a refused request."""
    yield
    arena.first_line = len(arena.stash.log())


def test_pages_say_that_the_plugin_s_python_does_not_work(arena, scene, tmp_path):
    path = chromium()
    failing = tmp_path / "python"
    failing.write_text("#!/bin/sh\necho 'no such library' >&2\nexit 3\n", encoding="utf-8")
    failing.chmod(0o755)
    arena.stash.ask(_PYTHON, {"path": str(failing)})
    try:
        with unusable(arena):
            node("--test", "others/broken.test.js", CHROMIUM=path, **scene)
    finally:
        arena.stash.ask(_PYTHON, {"path": sys.executable})


def test_pages_say_that_a_file_of_the_plugin_is_missing(arena, scene, tmp_path):
    path = chromium()
    entry = arena.stash.plugins / PLUGIN / "haven_vlm_connector.py"
    shutil.move(entry, tmp_path / "entry")
    try:
        with unusable(arena):
            node("--test", "others/broken.test.js", CHROMIUM=path, **scene)
    finally:
        shutil.move(tmp_path / "entry", entry)
