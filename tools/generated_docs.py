"""Rewrites the parts of the docs that follow from the code: ``make docs``.

Such a part stands between ``<!-- NAME: made by make docs -->`` and ``<!-- end of NAME -->``.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import yaml

from haven.tasks.command_line import parsers
from tools.engine_api import MODULES, module_section
from tools.engine_options import CALLS, GROUPS, arguments_table, options_table
from tools.example_report import excerpt
from vlm_engine import VLMEngine
from vlm_engine.cli import arguments
from vlm_engine.config import templates

ROOT = Path(__file__).resolve().parent.parent
PAGES = (
    "README.md",
    *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").glob("*.md"))),
)


def settings_table() -> str:
    """Every constant of ``haven_vlm_config.py``: its name, its default, and the comment above it."""
    rows = ["| setting | default | what it does |", "|---|---|---|"]
    for name, default, comment in constants():
        rows.append(f"| `{name}` | {_cell(default)} | {comment.replace('|', '&#124;')} |")
    return "\n".join(rows)


def constants() -> Iterator[tuple[str, str, str]]:
    """(name, default as Python, comment above) of each constant that a user may set, in their order."""
    source = (ROOT / "haven_vlm_config.py").read_text(encoding="utf-8")
    lines, comment = source.splitlines(), ""
    for node in ast.parse(source).body:
        target = (
            node.targets[0]
            if isinstance(node, ast.Assign)
            else node.target
            if isinstance(node, ast.AnnAssign)
            else None
        )
        if not isinstance(target, ast.Name) or not target.id.isupper() or target.id.startswith("_"):
            continue
        assert isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
        comment = _comment_above(lines, node.lineno) or comment
        yield target.id, ast.unparse(node.value), comment


def _comment_above(lines: list[str], number: int) -> str:
    found: list[str] = []
    for line in reversed(lines[: number - 1]):
        if not line.startswith("# "):
            break
        found.insert(0, line[2:])
    return " ".join(found)


def _cell(default: str) -> str:
    return f"`{default}`" if len(default) < 70 else "see the file"


def page_table() -> str:
    """The settings of Stash's page, in the order in which Stash shows them."""
    manifest = yaml.safe_load((ROOT / "ahavenvlmconnector.yml").read_text(encoding="utf-8"))
    settings = manifest["settings"]
    rows = ["| on Stash's page | what it does |", "|---|---|"]
    rows += [
        f"| {settings[key]['displayName']} | {settings[key]['description'].strip()} |"
        for key in sorted(settings)
    ]
    return "\n".join(rows)


def command_line_help() -> str:
    """What ``haven_vlm_connector.py tag --help`` prints on a terminal of 100 columns."""
    _, tag = parsers()
    tag.formatter_class = partial(argparse.HelpFormatter, width=100)
    return f"```text\n{tag.format_help()}```"


def engine_help(command: str) -> str:
    """What ``vlm-engine COMMAND --help`` prints on a terminal of 100 columns."""
    parser = arguments.parsers()[1][command]
    parser.formatter_class = partial(argparse.HelpFormatter, width=100)
    return f"```text\n{parser.format_help()}```"


def fields_table() -> str:
    """What may stand in braces in a text of the user's."""
    rows = ["| field | what it stands for |", "|---|---|"]
    return "\n".join(
        [*rows, *(f"| `{{{name}}}` | {meaning} |" for name, meaning in templates.FIELDS.items())]
    )


def layers_line() -> str:
    """The engine's layers from the top down, as import-linter holds them."""
    return " > ".join(f"`{layer}`" for layer in engine_layers())


def engine_layers() -> list[str]:
    """The layers of the engine in ``pyproject.toml``; neighbours within one are divided by ``|``."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    return next(
        [str(layer) for layer in contract["layers"]]
        for contract in contracts
        if "containers" in contract
    )


PARTS: Mapping[str, Callable[[], str]] = {
    "settings": settings_table,
    "page settings": page_table,
    "command line": command_line_help,
    "engine tag": partial(engine_help, "tag"),
    "engine check": partial(engine_help, "check"),
    "engine prompt": partial(engine_help, "prompt"),
    "engine serve": partial(engine_help, "serve-sandbox"),
    "fields": fields_table,
    "report": excerpt,
    "layers": layers_line,
    **{f"options {name}": partial(options_table, group) for name, group in GROUPS.items()},
    **{f"arguments {name}": partial(arguments_table, getattr(VLMEngine, name)) for name in CALLS},
    **{f"api {module}": partial(module_section, module) for module in MODULES},
}


def rewritten(text: str) -> str:
    """A page with all its generated parts made anew. ``KeyError``: a part has no maker."""

    def fresh(match: re.Match[str]) -> str:
        return f"{match['start']}\n{PARTS[match['name']]()}\n{match['end']}"

    pattern = r"(?P<start><!-- (?P<name>[\w. ]+): made by make docs -->)\n.*?(?P<end><!-- end of (?P=name) -->)"
    return re.sub(pattern, fresh, text, flags=re.DOTALL)


def main() -> None:
    """Rewrites every page in place and says which changed."""
    for page in PAGES:
        path = ROOT / page
        before = path.read_text(encoding="utf-8")
        after = rewritten(before)
        if after != before:
            path.write_text(after, encoding="utf-8")
            sys.stdout.write(f"{page} rewritten\n")


if __name__ == "__main__":
    main()
