"""What the plugin needs before its packages are there: to get them, to speak to Stash's log, to find its files.

Only the standard library is used, here and in ``haven.setup``.
"""

from __future__ import annotations

from haven.setup.bootstrap import ensure_dependencies
from haven.setup.data_folder import default_data_dir
from haven.setup.errors import SetupError
from haven.setup.mapping import map_path
from haven.setup.missing import how_far
from haven.setup.parent import ending_with_parent
from haven.setup.stash_log import RedactingFormatter, StashLogHandler

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
