"""``vlm-engine``: what the engine does, from a terminal. It needs no Stash and knows of none.

Each command has a module; ``arguments`` says what may be written, ``running`` what becomes of it
and of errors.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line, that of this process by default, and returns its exit code.

    Usage errors leave by ``SystemExit`` with 2. Nothing of the engine is imported before the
    command is understood.
    """
    from vlm_engine.cli.running import run

    return run(sys.argv[1:] if arguments is None else arguments)
