"""Other copies of the plugin. Stash loads one plugin of an id; only its log names the others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from haven.setup.paths import PLUGIN_ID

_MOST_LEVELS = 4
_MOST_FOLDERS = 5000


def other_copies(plugins: Path, plugin_dir: Path) -> list[Path]:
    """Return the folders of copies below Stash's folder of plugins, in their order.

    ``plugin_dir``: this plugin's folder, which is left out. Folders deep down, and those that
    cannot be read, are skipped; so are links to folders, except those in ``plugins`` itself.
    """
    here = plugin_dir.resolve()
    return [folder for folder in sorted(_copies(plugins)) if folder.resolve() != here]


def _copies(plugins: Path) -> Iterator[Path]:
    tops = [plugins, *(path for path in _entries(plugins) if path.is_symlink() and path.is_dir())]
    for top in tops:
        for number, (folder, folders, files) in enumerate(os.walk(top)):
            if any(name.lower() == f"{PLUGIN_ID}.yml" for name in files):
                yield Path(folder)
            if len(Path(folder).relative_to(top).parts) >= _MOST_LEVELS:
                folders.clear()
            if number >= _MOST_FOLDERS:
                break


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []
