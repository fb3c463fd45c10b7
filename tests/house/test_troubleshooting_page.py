"""The first help of docs/troubleshooting.md: for a plugin that Stash cannot even start."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_it_begins_with_what_does_not_start() -> None:
    assert PAGE.index("## It does not even start") < PAGE.index("\n## Endpoints")


@pytest.mark.parametrize(
    "sign",
    [
        "9009",
        "fork/exec",
        "executable file not found",
        "Microsoft Store",
        "Docker",
        "Synology",
        "Troubleshooting Mode",
        "needs Python 3.11 or later",
        "Python Executable Path",
    ],
)
def test_every_sign_of_a_python_that_is_not_there_is_named(sign: str) -> None:
    assert sign in section("It does not even start")


def test_the_words_of_the_entry_point_are_those_on_the_page() -> None:
    assert "needs Python 3.11 or later" in (ROOT / "haven_vlm_connector.py").read_text(
        encoding="utf-8"
    )


def test_the_small_context_of_lm_studio_is_named() -> None:
    (row,) = [line for line in section("Endpoints").splitlines() if "LM Studio loads" in line]
    assert "Context Length" in row
