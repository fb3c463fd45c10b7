"""Set-up before the packages are there: installing them, Stash's log, the paths of files.

Only the standard library is used, here and in ``haven.setup``.
"""

from __future__ import annotations

from haven.setup import SetupError
from haven.setup.bootstrap import ensure_dependencies
from haven.setup.paths import default_data_dir, how_far
from haven.setup.processes import ending_with_parent
from haven.setup.stash_log import RedactingFormatter, StashLogHandler
from vlm_engine import map_path

__all__ = [
    "RedactingFormatter",
    "SetupError",
    "StashLogHandler",
    "default_data_dir",
    "ending_with_parent",
    "ensure_dependencies",
    "how_far",
    "map_path",
]
