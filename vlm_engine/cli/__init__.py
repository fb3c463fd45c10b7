"""``vlm-engine``: the engine from a terminal. It needs no Stash and knows nothing of it.

Each command has a module; ``arguments`` defines the options, ``running`` runs a command and
reports errors.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line, by default that of this process, and return its exit code.

    Usage errors leave by ``SystemExit`` with 2.
    """
    from vlm_engine.cli.running import run

    return run(sys.argv[1:] if arguments is None else arguments)
