"""What the plugin needs before its packages are there: to get them, to speak to Stash's log, to find its files.

Only the standard library is used, here and in ``haven_utility``.
"""

from __future__ import annotations

from haven_utility.bootstrap import ensure_dependencies
from haven_utility.data_folder import default_data_dir
from haven_utility.errors import SetupError
from haven_utility.mapping import map_path
from haven_utility.missing import how_far
from haven_utility.parent import ending_with_parent
from haven_utility.stash_log import RedactingFormatter, StashLogHandler

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
