"""The code that a page of the docs shows, run as its reader would run it.

A block whose first line is a comment with a file's name (``# court.py``) is that file. A block of
Python that calls ``asyncio.run`` is a program of its own. All others are like the cells of a
notebook: one after the other, with what those before have left, and with ``await`` outside of
functions.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType
from typing import Any


@dataclass(frozen=True, slots=True)
class Snippet:
    """A block of a page. ``where``: the page and the line of the block's fence."""

    language: str
    text: str
    where: str

    @property
    def file_name(self) -> str | None:
        """The name of the file that it is, if it is one."""
        named = re.match(r"# ([\w.-]+\.\w+)\n", self.text)
        return named[1] if named else None

    @property
    def is_program(self) -> bool:
        """True for a whole program."""
        return self.language == "python" and "asyncio.run(" in self.text

    def at(self, addresses: Mapping[str, str]) -> Snippet:
        """Return the same with other addresses: {as printed: as used}."""
        text = self.text
        for printed, used in addresses.items():
            text = text.replace(printed, used)
        return replace(self, text=text)


def snippets(page: Path, *languages: str) -> list[Snippet]:
    """Return the blocks of a page in these languages, or in all, in their order."""
    text = page.read_text(encoding="utf-8")
    return [
        Snippet(
            block[1], block[2], f"{page.name}, line {text.count(chr(10), 0, block.start()) + 1}"
        )
        for block in re.finditer(r"^```(\w+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        if not languages or block[1] in languages
    ]


def write_files(blocks: Iterable[Snippet], folder: Path) -> list[Snippet]:
    """Write the blocks that are files into ``folder``, and return the others."""
    others = []
    for block in blocks:
        if block.file_name:
            (folder / block.file_name).write_text(block.text, encoding="utf-8")
        else:
            others.append(block)
    return others


def run_program(block: Snippet) -> dict[str, Any]:
    """Run a whole program, outside of an event loop, and return the names that it leaves."""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(_compiled(block), names)
    return names


async def run_cells(blocks: Iterable[Snippet], names: dict[str, Any]) -> None:
    """Run blocks as the cells of a notebook.

    ``names`` holds what there is before, and takes what they leave.
    """
    for block in blocks:
        outcome = eval(_compiled(block), names)
        if inspect.isawaitable(outcome):
            await outcome


def _compiled(block: Snippet) -> CodeType:
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code: CodeType = compile(block.text, block.where, "exec", flags=flags, dont_inherit=True)
    return code
