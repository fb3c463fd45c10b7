"""The pages inside Stash: pure parts under Node, types, and a harness page in Chromium."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from graphql import build_schema, parse, validate

import vlm_engine
from sandbox.plugin import install
from sandbox.stash_server.manifest import load
from tests.ui.programs import chromium, node

ROOT = Path(__file__).resolve().parents[2]
UI = ROOT / "ui"
SCHEMA = ROOT / "sandbox" / "stash_server" / "schema.graphql"
HARNESS = Path(__file__).parent / "harness"
MOST_BYTES = 15_000


def test_the_pure_parts_keep_their_promises():
    node("--test", "model")


def test_the_scripts_are_typed():
    node("node_modules/typescript/bin/tsc", "--project", "tsconfig.json")


@pytest.mark.parametrize("file", sorted(HARNESS.glob("*.test.js")), ids=lambda file: file.stem)
def test_the_places_in_stash_work_in_a_browser(file):
    node("--test", str(file), CHROMIUM=chromium())


def test_the_script_that_always_loads_is_small_and_closed():
    text = (UI / "haven.js").read_text(encoding="utf-8")
    assert len(text.encode()) <= MOST_BYTES
    code = re.sub(r"/\*.*?\*/", "", text, count=1, flags=re.DOTALL).strip()
    assert code.startswith("(function () {")
    assert code.endswith("})();")


def test_the_version_is_in_the_script_and_in_the_address_of_modules(tmp_path):
    text = (UI / "haven.js").read_text(encoding="utf-8")
    assert re.findall(r'VERSION = "([^"]+)"', text) == [vlm_engine.__version__]
    assert load(install(tmp_path / "plugin")).manifest.ui.assets == {
        f"/{vlm_engine.__version__}": "ui"
    }


def test_stash_finds_every_file_that_the_manifest_names(tmp_path):
    plugin = load(install(tmp_path / "plugin"))
    named = [*plugin.manifest.ui.javascript, *plugin.manifest.ui.css]
    assert named
    assert [name for name in named if not (plugin.folder / name).is_file()] == []
    assert (plugin.folder / "ui/app/tab.js").is_file()


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


def test_the_first_ten_minutes_name_what_the_pages_show():
    page = (ROOT / "docs" / "first-minutes.md").read_text(encoding="utf-8")
    texts = " ".join(
        path.read_text(encoding="utf-8")
        for path in (UI / "app" / "texts.js", UI / "app" / "tab.js", UI / "haven.js")
    )
    named = re.findall(r"(?<!\*)\*([^*\n]+)\*(?!\*)", page)
    assert len(named) > 10
    assert [name for name in named if name.lower() not in texts.lower()] == []
