"""The first help of docs/troubleshooting.md: for a plugin that Stash cannot start."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
SIGNS = (
    "9009",
    "fork/exec",
    "executable file not found",
    "Microsoft Store",
    "Docker",
    "Synology",
    "Troubleshooting Mode",
    "needs Python 3.11 or later",
    "Python Executable Path",
)


def test_the_page_begins_with_the_signs_of_a_missing_python() -> None:
    start, _, rest = PAGE.partition("## The plugin does not start\n")
    assert "\n## " not in start
    section = rest.partition("\n## ")[0]
    assert [sign for sign in SIGNS if sign not in section] == []
    assert "needs Python 3.11 or later" in (ROOT / "haven_vlm_connector.py").read_text("utf-8")


def test_the_small_context_of_lm_studio_is_named() -> None:
    (row,) = [line for line in PAGE.splitlines() if "LM Studio loads" in line]
    assert "Context Length" in row
