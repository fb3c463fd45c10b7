"""The pages inside Stash: pure parts under Node, types, and a harness page in Chromium."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from graphql import build_schema, parse, validate

import vlm_engine

ROOT = Path(__file__).resolve().parents[2]
UI, HERE = ROOT / "ui", Path(__file__).parent
SCHEMA = ROOT / "sandbox" / "stash_server" / "schema.graphql"
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
MOST_BYTES = 15_000


def node(*arguments: str, **environment: str) -> None:
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
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_pure_parts_keep_their_promises():
    node("--test", "model")


def test_the_scripts_are_typed():
    node("node_modules/typescript/bin/tsc", "--project", "tsconfig.json")


def test_the_places_in_stash_work_in_a_browser():
    chromium = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if chromium is None:
        pytest.skip("Chromium is not installed here")
    node("--test", "harness", CHROMIUM=chromium)


def test_the_script_that_always_loads_is_small_and_closed():
    text = (UI / "haven.js").read_text(encoding="utf-8")
    assert len(text.encode()) <= MOST_BYTES
    code = re.sub(r"/\*.*?\*/", "", text, count=1, flags=re.DOTALL).strip()
    assert code.startswith("(function () {")
    assert code.endswith("})();")


def test_the_version_in_the_script_is_the_plugin_s():
    text = (UI / "haven.js").read_text(encoding="utf-8")
    assert re.findall(r'VERSION = "([^"]+)"', text) == [vlm_engine.__version__]


def test_every_request_to_stash_is_one_that_stash_knows():
    schema = build_schema(SCHEMA.read_text(encoding="utf-8"))
    documents = [
        document
        for path in (UI / "app").glob("*.js")
        for document in re.findall(r"gql`(.*?)`", path.read_text(encoding="utf-8"), re.DOTALL)
    ]
    assert documents
    assert [fault for one in documents for fault in validate(schema, parse(one))] == []


def test_classes_of_the_style_sheet_carry_the_plugin_s_name():
    text = (UI / "haven.css").read_text(encoding="utf-8")
    selectors = re.findall(r"^([^@{}]+)\{", text, re.MULTILINE)
    assert selectors
    assert [one for one in selectors if ".haven-" not in one] == []
