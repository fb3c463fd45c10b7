"""Names and docstrings use the field's words, and a line has at most 100 columns."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("vlm_engine", "haven", "sandbox", "tools", "benchmarks", "examples")
NAMES = {
    *("Part", "Panel", "Judge", "Room", "Sheet", "Sheets", "Lots", "Together", "Looks", "Turn"),
    *("Line", "Keeper", "Attempt", "Belief", "Chain", "Runs", "Ledger", "Memory", "Memories"),
    *("Look", "Told", "Hold", "Held", "Errand", "Shift", "Ours", "Standing", "RunBook", "TagBook"),
    *("Manners", "told", "own", "how", "asked", "shown", "lots", "portions", "settle", "crew"),
    *("mending", "make_sound", "leaves_it", "looks", "manners", "errand", "ours"),
}
OPENINGS = {
    *("What", "How", "Who", "Whoever", "Whether", "Those", "Which", "That"),
    *("When", "Where", "Whose"),
}
STORED = {"asked": ("vlm_engine/types.py", "haven/stash/")}
"""Names that stored files and the public API keep, and where."""


def faults(path: Path) -> Iterator[str]:
    """Yield every name, docstring and line that breaks a rule."""
    text, name = path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()
    names = NAMES - {word for word, places in STORED.items() if name.startswith(places)}
    tokens = [*tokenize.generate_tokens(io.StringIO(text).readline)]
    for before, token, after in zip(["", *tokens], tokens, [*tokens[1:], ""], strict=False):
        is_used_only = getattr(before, "string", "") == "." or (
            getattr(after, "string", "") == "=" and getattr(before, "string", "") in {"(", ","}
        )  # an attribute or a keyword argument; the name is the definition's fault
        if token.type == tokenize.NAME and token.string in names and not is_used_only:
            yield f"{path}:{token.start[0]}: the name {token.string}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
            words = (ast.get_docstring(node) or "").split()
            if words and words[0].rstrip(",.:") in OPENINGS:
                yield f"{path}:{getattr(node, 'lineno', 1)}: a docstring that opens with {words[0]}"
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > 100:
            yield f"{path}:{number}: a line of {len(line)} columns"


@pytest.mark.parametrize("folder", FOLDERS)
def test_names_and_docstrings_use_plain_words(folder):
    paths = (ROOT / folder).rglob("*.py")
    assert [fault for path in paths for fault in faults(path)] == []
