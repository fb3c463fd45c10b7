"""Files as Stash knows them, and if this machine can read them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from haven.setup.paths import how_far
from vlm_engine import map_path


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file as Stash knows it; for a picture in a zip, the zip. ``size_bytes`` is 0 if Stash does
    not know it.
    """

    path: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class FileCheck:
    """The result for one file. ``here``: its path on this machine; ``fault``: why it cannot be
    read, or empty.
    """

    file: KnownFile
    here: str
    fault: str

    @property
    def is_readable(self) -> bool:
        """True if it can be read, and is the file that Stash knows."""
        return not self.fault


def check_file(file: KnownFile, rules: Iterable[tuple[str, str]]) -> FileCheck:
    """Read one byte of a file, where ``rules`` say that it is, and compare its size with Stash's.

    Block as long as its disk does. A caller that must not wait for a dead network share calls this
    for each file through ``vlm_engine.Readers``.
    """
    here = map_path(file.path, rules)
    try:
        with Path(here).open("rb") as content:
            content.read(1)
            size_bytes = os.fstat(content.fileno()).st_size
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return FileCheck(file, here, how_far(here) or reason)
    if file.size_bytes in (0, size_bytes):
        return FileCheck(file, here, "")
    sizes = f"it has {size_bytes} bytes, and Stash knows of {file.size_bytes}"
    return FileCheck(file, here, f"{sizes}: it is another file, or was changed since the last scan")
