"""docs/architecture.md is short, and what it says of the engine's rooms follows from what
import-linter enforces.
"""

from __future__ import annotations

import re
from pathlib import Path

from tools.generated_docs import engine_layers

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def first_column(heading: str) -> set[str]:
    """Return the names in the first column of the table with this heading."""
    table = PAGE[PAGE.index(f"| {heading} |") :].partition("\n\n")[0]
    cells = re.findall(r"^\| (`[^|]+`) \|", table, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_it_is_two_pages_with_one_drawing():
    assert len(PAGE.split()) <= 1300, (
        "move what is deep to a page of its own, as docs/journal.md and docs/pool.md are"
    )
    assert len(re.findall(r"^```", PAGE, re.MULTILINE)) == 2
    assert "![" not in PAGE


def test_every_room_of_the_engine_has_its_row():
    enforced = {room for layer in engine_layers() for room in layer.split(" | ")}
    assert first_column("room of the engine") == enforced


def test_every_room_in_the_drawing_exists():
    drawing = PAGE.split("```")[1]
    rooms = re.findall(r"\b([a-z]+)/", drawing)
    assert len(rooms) >= 5
    for room in rooms:
        assert (ROOT / "vlm_engine" / room).is_dir(), room
    for room in re.findall(r"\bhaven\.(\w+)", drawing):
        assert (ROOT / "haven" / room).is_dir() or (ROOT / "haven" / f"{room}.py").is_file(), room


def test_every_file_that_the_page_names_exists():
    for path in re.findall(r"`(\w+/[\w./]+\.(?:py|md))`", PAGE):
        assert (ROOT / path).is_file(), path


def test_ten_questions_are_answered_by_two_files_at_most():
    heading, _, table = PAGE.partition("## Questions an engineer asks\n")[2].partition(
        "|---|---|\n"
    )
    assert "question" in heading
    rows = table.splitlines()
    assert len(rows) == 10
    for row in rows:
        files = re.findall(r"`([^`]+)`", row)
        assert 1 <= len(files) <= 2, row
        assert [name for name in files if not (ROOT / name).is_file()] == [], row
