"""pip, as it is run here: with what the user set to reach packages, and nothing that the user set to put them elsewhere."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Sequence

from haven.setup import child

_ASK_LIMIT_S = 60.0
# Where packages come from, and how they are reached. All else (target, prefix, user, dry-run, no-deps, constraint …) would
# send them somewhere else, or have only some of them installed.
_KEPT = frozenset(
    "index-url extra-index-url no-index find-links trusted-host proxy cert client-cert timeout default-timeout retries"
    " keyring-provider cache-dir no-cache-dir use-feature use-deprecated".split()
)
_SET = {
    "PIP_CONFIG_FILE": os.devnull,  # none of pip's files is read
    "PIP_NO_INPUT": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_ROOT_USER_ACTION": "ignore",
}
_LINE = re.compile(r"(?P<section>global|install|:env:)\.(?P<key>[\w-]+)=(?P<value>.*)")
_ORDER = ("global", "install", ":env:")  # a later one goes before an earlier one


def environment(pip: Sequence[str]) -> dict[str, str]:
    """The environment for ``pip`` (the command that starts it): this process's, without pip's settings but for those kept."""
    found = {section: dict[str, str]() for section in _ORDER}
    for line in child.run(
        [*pip, "config", "list"], limit_s=_ASK_LIMIT_S, kept_lines=1000
    ).last_lines:
        told = _LINE.fullmatch(line)
        if told and told["key"] in _KEPT:
            found[told["section"]][told["key"]] = _value(told["value"])
    kept = {
        f"PIP_{key.upper().replace('-', '_')}": value
        for section in _ORDER
        for key, value in found[section].items()
    }
    others = {
        name: value for name, value in os.environ.items() if not name.upper().startswith("PIP_")
    }
    return {**others, **kept, **_SET}


def _value(shown: str) -> str:
    """A value as ``pip config list`` shows it. Several, which are lines in a file, are words in the environment."""
    try:
        return " ".join(str(ast.literal_eval(shown)).split("\n")).strip()
    except (SyntaxError, ValueError):
        return shown
