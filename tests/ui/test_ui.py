"""The pages inside Stash: pure parts under Node, types, and a harness page in Chromium."""

from __future__ import annotations

import re
from pathlib import Path

from graphql import build_schema, parse, validate

import vlm_engine
from tests.ui.programs import chromium, node

ROOT = Path(__file__).resolve().parents[2]
UI = ROOT / "ui"
SCHEMA = ROOT / "sandbox" / "stash_server" / "schema.graphql"
MOST_BYTES = 15_000


def test_the_pure_parts_keep_their_promises():
    node("--test", "model")


def test_the_scripts_are_typed():
    node("node_modules/typescript/bin/tsc", "--project", "tsconfig.json")


def test_the_places_in_stash_work_in_a_browser():
    node("--test", "harness", CHROMIUM=chromium())


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
